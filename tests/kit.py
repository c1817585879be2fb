"""What several tests build: an owner with a list, a device's configuration, a recording proxy."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.config import BrokerConfig
from edge.files import private_folder
from edge.identity import registration
from edge.vision.engine import Vision
from fleet import broker as bringing
from fleet import lists, setup
from fleet.enrol import enrol
from fleet.owner import Owner
from fleet.repository import Repository
from tests.fleet_kit import authorisation

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Research data: never part of the project."""


def make_owner(
    folder: Path, vision: Vision, *photos: Path, strangers: int = 0, state: Path | None = None
) -> Owner:
    """An owner who has enrolled photos, and people whom nobody has ever seen.

    The fleet lies beside its folder; its one device is camera-1, whose state lies there too.
    """
    fleet = folder.with_name(f"{folder.name}-fleet")
    state = private_folder(state or folder.parent / "state")
    setup.found(fleet, registration(state, "camera-1"))
    owner = lists.begin(folder, "gate", authorisation(), fleet=fleet)
    until = owner.owned.authorisation.not_after
    random = np.random.default_rng(11)
    made_up = [random.normal(size=vision.dimension).astype(np.float32) for _ in range(strangers)]
    people = [(photo.stem, enrol(vision, [photo])) for photo in photos]
    people += [(f"stranger-{i}", [v / np.linalg.norm(v)]) for i, v in enumerate(made_up)]
    for label, embeddings in people:
        owner.add(label, embeddings, embedder=vision.embedder_id, not_before=0, not_after=until)
    return owner


def publish(owner: Owner, port: int) -> None:
    assert owner.owned.fleet
    fleet = Path(owner.owned.fleet)
    make = lists.draft(owner, lists.known_devices(owner, None))
    lists.issue_here(owner, make, embedder="none", dimension=128)
    bringing.publish(Repository.existing(fleet), BrokerConfig(port=port))


def write_config(folder: Path, source: object, port: int, owner: Owner, **vision: object) -> Path:
    path = folder / "lethe.toml"
    root = json.dumps(f"{owner.owned.fleet}/root.json")
    lines = [
        "[device]", 'id = "camera-1"', 'state_dir = "state"',
        "[camera]", f"source = {json.dumps(str(source))}",
        "[fleet]", f"root = {root}",
        "[watchlist]", 'id = "gate"',
        "[broker]", f"port = {port}",
        "[vision]", *(f"{key} = {json.dumps(str(value))}" for key, value in vision.items()),
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


class Recorder:
    """What a client has sent through `recording_proxy`."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def publications(self) -> list[tuple[str, bytes]]:
        """Topic and payload of each PUBLISH packet (MQTT 3.1.1, section 3.3)."""
        found = []
        for kind, body in self._packets():
            if kind >> 4 == 3:
                size = int.from_bytes(body[:2], "big")
                payload = body[2 + size + (2 if kind & 6 else 0) :]
                found.append((body[2 : 2 + size].decode(), payload))
        return found

    def packets(self) -> list[int]:
        """First byte of each packet: its type and flags."""
        return [kind for kind, _ in self._packets()]

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        at, data = 0, bytes(self.sent)
        while at < len(data):
            kind, length, shift = data[at], 0, 0
            at += 1
            while True:
                byte = data[at]
                length |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
            yield kind, data[at : at + length]
            at += length


@contextlib.contextmanager
def recording_proxy(port: int) -> Iterator[tuple[int, Recorder]]:
    """A TCP proxy on loopback that records everything its client sends, from outside of it."""
    recorder, stop = Recorder(), threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [server]

    def pump(source: socket.socket, sink: socket.socket, record: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if record:
                    recorder.sent += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                client, _ = server.accept()
                broker = socket.create_connection(("127.0.0.1", port))
                sockets.extend((client, broker))
                for arguments in ((client, broker, True), (broker, client, False)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1], recorder
    finally:
        stop.set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
