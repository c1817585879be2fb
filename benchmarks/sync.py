"""What keeping a list in step costs: bytes on the wire, and time against a copy of the same bytes.

    python -m benchmarks.sync [--entries 10000] [--changes 20] [--rounds 9]

Needs mosquitto, and runs it with the configuration that ships. The device is the real client up to
the opened list; between it and the broker a proxy counts every byte of TCP payload, both ways.
Then, round by round and by turns, a device synchronises from nothing, and a plain MQTT client
copies the same bytes, from the same broker into a file: as one message, and as the same messages.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from demo.broker import free_port
from edge.config import BrokerConfig
from edge.files import private_folder
from edge.identity import opening_key, registration
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.trust.client import Trust
from edge.watchlist.delivery import Delivery, SealedList
from edge.watchlist.transport import ListTransport
from fleet import broker as bringing
from fleet import lists, setup
from fleet.owner import Owner
from fleet.repository import ROOT, Repository

DIMENSION = 128
CONF = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto" / "lethe.conf"


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """Run a mosquitto on loopback with the configuration that ships, and yield its port."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n{CONF.read_text()}\n"
        f"persistence_location {folder}/\n"
    )
    process = subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


class Meter:
    """A TCP proxy that counts payload, both ways."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._count = threading.Lock()
        self.bytes = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> int:
        """Return what was counted since the last time."""
        with self._count:
            counted, self.bytes = self.bytes, 0
        return counted

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            broker = socket.create_connection(("127.0.0.1", self._port))
            for pair in ((client, broker), (broker, client)):
                for each in pair:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._count:
                    self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class Keeper:
    """Takes what the transport brings; judges nothing."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.delivery: Delivery | None = None

    def offer(self, delivery: Delivery) -> None:
        """Take a list."""
        with self.changed:
            self.delivery = delivery
            self.changed.notify()

    def withdraw(self, reason: str) -> None:
        """Refuse to: none is withdrawn here."""
        raise AssertionError(reason)

    def stored(self) -> SealedList | None:
        """Return what came last."""
        return self.delivery and self.delivery.sealed

    def wait(self, version: int) -> None:
        """Wait for a version."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.delivery and self.delivery.watchlist.version == version, 60
            ), "did not come"


class Bench:
    """A fleet with one device and a long list."""

    def __init__(self, folder: Path, entries: int) -> None:
        self.folder = folder
        self.state = private_folder(folder / "state")
        self.fleet = setup.found(folder / "fleet", registration(self.state, "camera-1"))
        now = int(time.time())
        self.owner: Owner = lists.begin(
            folder / "owner",
            "gate",
            Authorisation(
                reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=now,
                not_after=now + 3600, area=None, devices=["camera-1"], profile="fixed",
                max_entries=entries + 1, fpir_target=0.001,
            ),
            fleet=self.fleet,
        )  # fmt: skip
        vectors = np.random.default_rng(1).normal(size=(entries, DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.people = [_entry(vector, now) for vector in vectors]
        self.version = 0

    def publish(self, port: int) -> None:
        """Sign the next version and bring it to the broker."""
        draft = lists.draft(self.owner, lists.known_devices(self.owner, None))

        def filled(watchlist: Watchlist) -> lists.Release:
            return draft(msgspec.structs.replace(watchlist, entries=self.people))

        lists.issue_here(self.owner, filled, embedder="e", dimension=DIMENSION)
        bringing.publish(Repository.existing(self.fleet), BrokerConfig(port=port))
        self.version += 1

    def device(self, port: int, keeper: Keeper, folder: Path) -> tuple[Link, Trust]:
        """Return a device's session and trust, not started."""
        link = Link(BrokerConfig(port=port), f"lethe-{secrets.token_hex(4)}")
        trust = Trust(link, "lethe", (self.fleet / ROOT).read_bytes(), folder)
        trust.follow(
            "list",
            ListTransport(keeper, list_id="gate", device="camera-1", key=opening_key(self.state)),
        )
        return link, trust


def _entry(vector: np.ndarray, now: int) -> Entry:
    return Entry(
        id=secrets.token_hex(16),
        not_before=now,
        not_after=now + 3600,
        templates=[quantise(vector)],
    )


def wire(bench: Bench, port: int, changes: int) -> tuple[int, list[int], list[int]]:
    """Return bytes of a full synchronisation, of each entry added, of each revoked."""
    meter, keeper = Meter(port), Keeper()
    link, trust = bench.device(meter.port, keeper, bench.folder / "metered")
    trust.start()
    link.start()
    keeper.wait(bench.version)
    time.sleep(0.3)  # what follows it: the end of the subscriptions
    full, added, revoked = meter.take(), [], []
    draw = np.random.default_rng(2)
    for _ in range(changes):
        vector = draw.normal(size=DIMENSION).astype(np.float32)
        bench.people = [*bench.people, _entry(vector / np.linalg.norm(vector), int(time.time()))]
        bench.publish(port)
        keeper.wait(bench.version)
        time.sleep(0.3)
        added.append(meter.take())
        gone = int(draw.integers(len(bench.people)))
        bench.people = [person for i, person in enumerate(bench.people) if i != gone]
        bench.publish(port)
        keeper.wait(bench.version)
        time.sleep(0.3)
        revoked.append(meter.take())
    trust.close()
    link.close()
    return full, added, revoked


def synchronise(bench: Bench, port: int, number: int) -> float:
    """Return seconds from nothing to the opened list."""
    keeper = Keeper()
    link, trust = bench.device(port, keeper, bench.folder / f"fresh-{number}")
    began = time.perf_counter()
    trust.start()
    link.start()
    keeper.wait(bench.version)
    elapsed = time.perf_counter() - began
    trust.close()
    link.close()
    return elapsed


def ask(link: Link, topic: str) -> None:
    """Ask for retained messages, without acknowledgement."""
    link.request([topic])


def copy(port: int, topic: str, messages: int, file: Path, *, acknowledged: bool) -> float:
    """Return seconds in which a client copies retained messages into a file.

    Args:
        port: of the broker.
        topic: of the messages.
        messages: how many there are.
        file: where they go.
        acknowledged: with QoS 1, the one that loses nothing; otherwise with QoS 0, as a list's
            pieces are asked for.
    """
    link = Link(BrokerConfig(port=port), f"copy-{secrets.token_hex(4)}")
    done, left = threading.Event(), messages
    with file.open("wb") as out:

        def take(_topic: str, payload: bytes) -> None:
            nonlocal left
            out.write(payload)
            left -= 1
            if not left:
                out.flush()
                done.set()

        if acknowledged:
            link.subscribe(topic, take, 64 * 1024 * 1024)
        else:
            link.route(topic, take, 64 * 1024 * 1024)
            link.on_connected(partial(ask, link, topic))
        began = time.perf_counter()
        link.start()
        assert done.wait(60)
        elapsed = time.perf_counter() - began
    link.close()
    return elapsed


def put(port: int, messages: dict[str, bytes]) -> None:
    """Publish retained messages."""
    taken, connected = threading.Semaphore(0), threading.Event()
    link = Link(BrokerConfig(port=port), "put")
    link.on_acknowledged(lambda _: taken.release())
    link.on_connected(connected.set)
    link.start()
    assert connected.wait(10)
    for topic, content in messages.items():
        link.publish(topic, content, retain=True)
        assert taken.acquire(timeout=30)
    link.close()


def main() -> None:
    """Measure, and print what a reader needs to judge it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as name, mosquitto(Path(name)) as port:
        folder = Path(name)
        bench = Bench(folder, options.entries)
        bench.publish(port)
        full, added, revoked = wire(bench, port, options.changes)
        table = Table("bytes on the wire, both ways", "median", "largest", box=box.SIMPLE)
        table.add_row(f"{options.entries} entries from nothing", f"{full:,}", f"{full:,}")
        for what, counts in (("one added", added), ("one revoked", revoked)):
            table.add_row(what, f"{statistics.median(counts):,.0f}", f"{max(counts):,}")
        console.print(table)
        kept = folder / "fleet" / "retained"
        same = [file.read_bytes() for file in sorted(kept.rglob("*")) if file.is_file()]
        put(port, {"copy/one": b"".join(same)})
        put(port, {f"copies/{i}": content for i, content in enumerate(same)})
        file = folder / "copy"

        def copying(topic: str, messages: int, acknowledged: bool) -> Callable[[int], float]:
            return lambda _: copy(port, topic, messages, file, acknowledged=acknowledged)

        steps: dict[str, Callable[[int], float]] = {
            "list: synchronised, verified, opened": lambda n: synchronise(bench, port, n),
            "copy: the same messages, QoS 1": copying("copies/#", len(same), True),
            "copy: the same messages, QoS 0": copying("copies/#", len(same), False),
            "copy: one message": copying("copy/one", 1, False),
        }
        runs: dict[str, list[float]] = {what: [] for what in steps}
        for number in range(options.rounds):
            for what, step in steps.items():
                runs[what].append(step(number))
    table = Table("time from connecting", "median", "best", "list ÷", "best ÷", box=box.SIMPLE)
    ours = next(iter(runs.values()))
    for what, times in runs.items():
        table.add_row(
            what,
            f"{statistics.median(times) * 1000:.0f} ms",
            f"{min(times) * 1000:.0f} ms",
            f"{statistics.median(ours) / statistics.median(times):.2f}",
            f"{min(ours) / min(times):.2f}",
        )
    console.print(table)
    console.print(
        f"{len(same)} messages, {sum(map(len, same)):,} bytes; topics: {topics.trust('lethe', '…')}"
    )


if __name__ == "__main__":
    main()
