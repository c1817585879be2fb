"""Many devices that follow one long list through one mosquitto: time, bytes, processor, memory.

    python -m benchmarks.scale [--devices 1000] [--entries 10000] [--json FILE]

Needs mosquitto, and runs it on loopback with the configuration and the access rules that ship;
without TLS. The fleet, its list, its keys are real; each device is the real client with a key of
its own (`benchmarks.scale_worker`), and counts as whole when the list that it verified and opened
is, row by row, the one that its owner signed.

All devices connect at once. Then: everybody gets the list from nothing; one entry is changed;
the timestamp is signed anew, as it must be every few days. docs/scale.md says what follows.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from rich import box
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from benchmarks.broker import Meter, cpu_seconds, mosquitto, peak_bytes
from benchmarks.scale_worker import Job, Member, Report, content_digest
from edge.config import BrokerConfig
from edge.protocol.party import party
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from fleet import broker as bringing
from fleet import lists, setup
from fleet.release import Release
from fleet.repository import ROOT, Repository

LIST, DIMENSION = "gate", 128
HERE = Path(__file__).resolve().parents[1]
A_WORKER = 250
"""Devices a process: paho waits with select(), which takes no descriptor above 1,023."""
END_S = 60.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step took, for all devices together unless it says otherwise.

    Attributes:
        name: what happened.
        seconds: from its beginning until the last device was done.
        median: of the devices, seconds until each was done.
        p95: the same, 95th percentile.
        connected: seconds until the last device was connected; 0 where all were.
        broker_cpu: processor seconds of the broker.
        broker_peak: the most memory the broker has held so far, bytes.
        sent: bytes from the broker, as it counts them: MQTT without TCP and TLS.
        received: bytes to the broker.
        device_cpu: processor seconds of the devices, without what checks them.
        troubles: what failed and was tried again, reason to number.
    """

    name: str
    seconds: float
    median: float
    p95: float
    connected: float
    broker_cpu: float
    broker_peak: int
    sent: int
    received: int
    device_cpu: float
    troubles: dict[str, int]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        devices: number of them.
        entries: of the list.
        workers: processes that the devices run in.
        turns: devices that fetch and open a list at the same time.
        messages: retained at the broker.
        held: bytes of their payloads.
        prepare: seconds to make keys, sign, encrypt, wrap.
        publish: seconds to bring it to the broker.
        steps: what was measured.
    """

    devices: int
    entries: int
    workers: int
    turns: int
    messages: int
    held: int
    prepare: float
    publish: float
    steps: list[Step]


# --- The fleet -----------------------------------------------------------------------------------


class Fleet:
    """A fleet of many devices, and its list."""

    def __init__(self, folder: Path, devices: int, entries: int) -> None:
        """Make keys and people; nothing is signed yet."""
        self._folder = folder / "fleet"
        self.members: list[Member] = []
        parties = []
        for number in range(1, devices + 1):
            key, name = X25519PrivateKey.generate(), f"camera-{number}"
            self.members.append(Member(name, key.private_bytes_raw()))
            parties.append(party(name, Ed25519PrivateKey.generate().public_key(), key.public_key()))
        setup.found(self._folder, *parties)
        now = int(time.time())
        authorisation = Authorisation(
            reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=now,
            not_after=now + 24 * 3600, area=None, devices=[m.name for m in self.members],
            profile="fixed", max_entries=entries, fpir_target=0.001,
        )  # fmt: skip
        self._owner = lists.begin(folder / "owner", LIST, authorisation, fleet=self._folder)
        self._random = np.random.default_rng(1)
        self._people = [self._person(now) for _ in range(entries)]
        self.version = 0
        self.digest = self.content = ""

    @property
    def root(self) -> bytes:
        """What devices are given of it."""
        return (self._folder / ROOT).read_bytes()

    def sign(self) -> None:
        """Encrypt and sign the next version of the list."""
        draft = lists.draft(self._owner, lists.known_devices(self._owner, None))

        def filled(watchlist: Watchlist) -> Release:
            whole = msgspec.structs.replace(watchlist, entries=self._people)
            self.version, self.content = whole.version, content_digest(whole)
            return draft(whole)

        lists.issue_here(self._owner, filled, embedder="none", dimension=DIMENSION)
        role = Repository.existing(self._folder).roles[f"watchlist/{LIST}"].signed
        (self.digest,) = (info.hashes["sha256"] for info in role.targets.values())

    def change(self) -> None:
        """Give one person another template."""
        index = int(self._random.integers(len(self._people)))
        before = self._people[index]
        after = self._person(before.not_before)
        self._people[index] = msgspec.structs.replace(before, templates=after.templates)

    def refresh(self) -> None:
        """Sign snapshot and timestamp anew, as `lethe fleet refresh`."""
        repository = Repository.existing(self._folder)
        repository.seal_state(force=True)
        repository.save()

    def publish(self, port: int) -> None:
        """Bring the state to the broker."""
        broker = BrokerConfig(port=port, username="fleet")
        bringing.publish(Repository.existing(self._folder), broker)

    def retained(self) -> tuple[int, int]:
        """Return the number of messages that the broker holds of it, and their bytes."""
        repository = Repository.existing(self._folder)
        sizes = [len(repository.content(path)) for path in repository.paths()]
        return len(sizes), sum(sizes)

    def _person(self, now: int) -> Entry:
        vector = self._random.normal(size=DIMENSION).astype(np.float32)
        return Entry(
            id=secrets.token_hex(16),
            not_before=now,
            not_after=now + 24 * 3600,
            templates=[quantise(vector / np.linalg.norm(vector))],
        )


# --- The devices ---------------------------------------------------------------------------------


class Crowd:
    """The processes that the devices run in."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scale_worker"],
                cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for _ in jobs
        ]  # fmt: skip
        for process, job in zip(self._processes, jobs, strict=True):
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()
            self._tell(process, msgspec.json.encode(job) + b"\n")

    def start(self) -> None:
        """Let all devices connect."""
        for process in self._processes:
            self._tell(process, b"go\n")

    def cpu(self) -> float:
        """Return the processor seconds of all devices."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def close(self) -> None:
        """Stop all devices; what does not end is ended."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @staticmethod
    def _tell(process: subprocess.Popen[bytes], line: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.reports.put(msgspec.json.decode(line, type=Report))
        self.reports.put(None)  # it has ended


class Bench:
    """Everything together, and what is measured of it."""

    def __init__(
        self,
        fleet: Fleet,
        crowd: Crowd,
        meter: Meter,
        broker: int,
        progress: Progress,
        until: float,
    ) -> None:
        self._fleet = fleet
        self._crowd = crowd
        self._meter = meter
        self._broker = broker
        self._progress = progress
        self._until = until
        self._counted = meter.read()

    def ready(self, workers: int) -> None:
        """Wait until every process has made its devices."""
        waiting = workers
        while waiting:
            waiting -= self._next("making devices").what == "ready"

    def step(self, name: str, begin: Callable[[], None], done: Callable[[Report], bool]) -> Step:
        """Measure from `begin` until `done` has held for a report of each device."""
        devices = len(self._fleet.members)
        sent, received = self._counted
        broker, crowd = cpu_seconds(self._broker), self._crowd.cpu()
        finished: dict[str, float] = {}
        troubles: dict[str, int] = {}
        checking = connected = 0.0
        bar = self._progress.add_task(name, total=devices)
        began = time.monotonic()
        begin()
        while len(finished) < devices:
            report = self._next(f"{name}: {len(finished)} of {devices} done, failed: {troubles}")
            checking += report.checking
            if report.at < began:
                continue  # the end of the step before
            if report.what == "connected":
                connected = report.at - began
            elif report.what == "trouble":
                troubles[report.reason] = troubles.get(report.reason, 0) + 1
            elif done(report):
                finished.setdefault(report.device, report.at - began)
                self._progress.update(bar, completed=len(finished))
        self._counted = self._meter.read()
        times = sorted(finished.values())
        return Step(
            name=name,
            seconds=times[-1],
            median=statistics.median(times),
            p95=times[int(0.95 * (len(times) - 1))],
            connected=connected,
            broker_cpu=cpu_seconds(self._broker) - broker,
            broker_peak=peak_bytes(self._broker),
            sent=self._counted[0] - sent,
            received=self._counted[1] - received,
            device_cpu=self._crowd.cpu() - crowd - checking,
            troubles=troubles,
        )

    def whole(self, report: Report) -> bool:
        """Whether a device holds what was signed; ends the run where it holds something else."""
        if report.what != "whole" or report.version != self._fleet.version:
            return False
        if (report.digest, report.content) != (self._fleet.digest, self._fleet.content):
            raise SystemExit(f"{report.device}: the list is not the one that was signed")
        return True

    def _next(self, so_far: str) -> Report:
        try:
            report = self._crowd.reports.get(timeout=max(0.0, self._until - time.monotonic()))
        except queue.Empty:
            raise SystemExit(f"not done within --limit seconds; {so_far}") from None
        if report is None:
            raise SystemExit(f"a process with devices has ended: see above; {so_far}")
        return report


def measure(
    devices: int, entries: int, *, turns: int = 16, limit: float = 1800.0, console: Console
) -> Result:
    """Run everything once.

    Args:
        devices: number of them.
        entries: of the list.
        turns: so many devices fetch and open a list at the same time.
        limit: seconds after which it is given up.
        console: shows progress.
    """
    until = time.monotonic() + limit
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        progress = stack.enter_context(
            Progress(
                *Progress.get_default_columns()[:2],
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
            )
        )
        began = time.monotonic()
        fleet = Fleet(folder, devices, entries)
        fleet.sign()
        prepared = time.monotonic()
        port, pid = stack.enter_context(mosquitto(folder))
        publishing = time.monotonic()
        fleet.publish(port)
        published = time.monotonic()
        messages, held = fleet.retained()
        meter = stack.enter_context(contextlib.closing(Meter(port)))
        workers = max(min(4, devices), -(-devices // A_WORKER))
        jobs = [
            Job(
                port=port,
                root=fleet.root,
                folder=str(folder / "devices"),
                list_id=LIST,
                turns=max(1, turns // workers),
                members=fleet.members[number::workers],
            )
            for number in range(workers)
        ]
        crowd = stack.enter_context(contextlib.closing(Crowd(jobs)))
        bench = Bench(fleet, crowd, meter, pid, progress, until)
        bench.ready(workers)
        steps = [bench.step("the list from nothing", crowd.start, bench.whole)]
        fleet.change()
        fleet.sign()
        steps.append(bench.step("one entry changed", lambda: fleet.publish(port), bench.whole))
        fleet.refresh()
        steps.append(
            bench.step(
                "timestamp signed anew",
                lambda: fleet.publish(port),
                lambda report: report.what == "state",
            )
        )
    return Result(
        devices=devices,
        entries=entries,
        workers=workers,
        turns=max(1, turns // workers) * workers,
        messages=messages,
        held=held,
        prepare=prepared - began,
        publish=published - publishing,
        steps=steps,
    )


def show(result: Result, console: Console) -> None:
    """Print a run as a table."""
    devices = result.devices
    console.print(
        f"{devices:,} devices in {result.workers} processes, {result.turns} fetch and open at a "
        f"time; {result.entries:,} entries; {result.messages:,} retained messages of "
        f"{result.held:,} bytes, made in {result.prepare:.1f} s, "
        f"published in {result.publish:.1f} s"
    )
    table = Table("", *(step.name for step in result.steps), box=box.SIMPLE)

    def row(title: str, of: Callable[[Step], str]) -> None:
        table.add_row(title, *map(of, result.steps))

    row("all done after", lambda s: f"{s.seconds:.1f} s")
    row("devices: median, 95 of 100", lambda s: f"{s.median:.1f} s, {s.p95:.1f} s")
    row("all connected after", lambda s: f"{s.connected:.1f} s" if s.connected else "before")
    row("broker CPU", lambda s: f"{s.broker_cpu:.2f} s")
    row("broker CPU a device", lambda s: f"{1000 * s.broker_cpu / devices:.2f} ms")
    row("device CPU, each", lambda s: f"{1000 * s.device_cpu / devices:.0f} ms")
    row("out of the broker", lambda s: f"{s.sent:,} B")
    row("out of the broker, a device", lambda s: f"{s.sent / devices:,.0f} B")
    row("into the broker, a device", lambda s: f"{s.received / devices:,.0f} B")
    row("broker's memory, peak", lambda s: f"{s.broker_peak / 1e6:.0f} MB")
    row("failed and tried again", lambda s: str(sum(s.troubles.values())))
    console.print(table)
    for step in result.steps:
        for reason, count in step.troubles.items():
            console.print(f"{step.name}: {count} × {reason}")


def _end(number: int, _frame: object) -> None:
    """End as with an error: broker, devices and files go."""
    raise SystemExit(128 + number)


def main() -> None:
    """Measure, and print what a reader needs to judge it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument(
        "--turns", type=int, default=16,
        help="devices that fetch and open a list at the same time; all are connected",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=1800.0, help="give up after so many seconds")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False)
    result = measure(
        options.devices, options.entries,
        turns=options.turns, limit=options.limit, console=Console(stderr=True),
    )  # fmt: skip
    show(result, console)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))


if __name__ == "__main__":
    main()
