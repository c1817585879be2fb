"""A fleet with its keys, lists that its signers sign, and a device that follows them."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.config import BrokerConfig
from edge.files import private_folder
from edge.identity import opening_key, registration
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.list_key import new_key
from edge.protocol.watchlist import Authorisation, Purpose, Watchlist
from edge.trust.client import Trust
from edge.watchlist.transport import ListTransport
from fleet import broker, devices, keys, release, setup
from fleet.repository import RETAINED, Repository

ROOT = "lethe"
_templates: dict[str, Path] = {}


def authorisation(**changes: object) -> Authorisation:
    now = int(time.time())
    fields = {
        "reference": "test 1",
        "purpose": Purpose.CONSENTED_ACCESS,
        "not_before": now - 10,
        "not_after": now + 3600,
        "area": None,
        "devices": ["camera-1"],
        "profile": "fixed",
        "max_entries": 100,
        "fpir_target": 0.001,
    }
    return Authorisation(**(fields | changes))


def listing(version=1, entries=(), *, list_id="gate", dimension=16, **changes) -> Watchlist:
    now = int(time.time())
    basis = authorisation(**changes)
    return Watchlist(
        id=list_id, version=version, issued=now, expires=basis.not_after, embedder="e",
        dimension=dimension, authorisation=basis, entries=list(entries),
    )  # fmt: skip


class Fleet:
    """A fleet's folder and everyone who has a key; cameras 1 and 2, lists gate and other."""

    def __init__(self, folder: Path) -> None:
        """Copy a fleet that was made once: making keys and files takes half a second."""
        shutil.copytree(_template(), folder)
        self.base = folder
        self.folder = folder / "fleet"
        self.key = new_key()
        self.people = [keys.read_party(folder / f"signer-{i}" / "signer.json") for i in range(3)]
        self.last: release.Release | None = None

    @property
    def root(self) -> bytes:
        return (self.folder / "root.json").read_bytes()

    def state(self, device: str = "camera-1") -> Path:
        return self.base / device

    def opening_key(self, device: str = "camera-1") -> X25519PrivateKey:
        return opening_key(self.state(device))

    @contextlib.contextmanager
    def change(self):
        """The repository, sealed and saved at the end."""
        repository = Repository.existing(self.folder)
        yield repository
        repository.seal_state()
        repository.save()

    def signed(self, draft: release.Release, count: int = 2) -> release.Release:
        for number in range(count):
            ring = keys.Keyring(self.base / f"signer-{number}")
            keyid = keys.public_key(self.people[number].sign).keyid
            draft = release.sign(draft, ring.signers([keyid]))
        return draft

    def issue(self, watchlist: Watchlist, *, signatures=2, urgent=False, key=None) -> None:
        """Have a version signed and taken by the fleet."""
        draft = release.draft(
            watchlist,
            key or self.key,
            devices.read(self.folder / "devices.json"),
            urgent=urgent,
            last=self.last,
        )
        self.last = self.signed(draft, signatures)
        with self.change() as repository:
            release.hand_over(self.last, repository)

    def withdraw(self, version: int) -> None:
        draft = release.draft_withdrawal(listing(version))
        with self.change() as repository:
            release.hand_over(self.signed(draft), repository)

    def publish(self, port: int, **options: bool) -> broker.Summary:
        return broker.publish(Repository.existing(self.folder), BrokerConfig(port=port), **options)

    def retained(self) -> dict[str, bytes]:
        """Everything that lies at the broker, by path."""
        folder = self.folder / RETAINED
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }


def _template() -> Path:
    if "base" not in _templates:
        base = Path(tempfile.mkdtemp(prefix="lethe-test-fleet-"))
        atexit.register(shutil.rmtree, base, ignore_errors=True)
        repository = setup.init(base / "fleet")
        for device in ("camera-1", "camera-2"):
            state = private_folder(base / device)
            setup.add_device(repository, registration(state, device))
        signers = [keys.make_signer(base / f"signer-{i}", f"signer-{i}", None) for i in range(3)]
        for name in ("gate", "other"):
            setup.add_list(repository, name, [keys.public_key(s.sign) for s in signers], 2)
        repository.seal_state()
        repository.save()
        _templates["base"] = base
    return _templates["base"]


class Keeper:
    """Takes what the transport brings, as `Watchlists` does, and judges nothing."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.deliveries = []
        self.withdrawn = []

    def offer(self, delivery):
        with self.changed:
            self.deliveries.append(delivery)
            self.changed.notify_all()

    def withdraw(self, reason):
        with self.changed:
            self.withdrawn.append(reason)
            self.deliveries.append(None)
            self.changed.notify_all()

    def stored(self):
        last = self.deliveries[-1] if self.deliveries else None
        return last and last.sealed

    @property
    def version(self):
        """Of the list in force."""
        last = self.deliveries[-1] if self.deliveries else None
        return last and last.watchlist.version


class Follower:
    """A device as far as its trust goes: session, metadata, the list it obeys."""

    def __init__(self, fleet: Fleet, port: int, *, device="camera-1", list_id="gate", link=None):
        self.keeper = Keeper()
        self.changed = self.keeper.changed
        self.link = link or Link(BrokerConfig(port=port), f"lethe-{device}")
        self.trust = Trust(
            self.link, ROOT, fleet.root, fleet.state(device) / "trust", on_change=self._notify
        )
        self.trust.follow(
            "list",
            ListTransport(
                self.keeper, list_id=list_id, device=device, key=fleet.opening_key(device)
            ),
        )

    def __enter__(self):
        self.trust.start()
        self.link.start()
        return self

    def __exit__(self, *_):
        self.trust.close()
        self.link.close()

    def _notify(self):
        with self.changed:
            self.changed.notify_all()

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait for whatever a device does on its own threads."""
        patience = time.monotonic() + 60
        with self.changed:
            while not condition():
                assert time.monotonic() < patience, (self.trust.reason, self.keeper.version)
                self.changed.wait(0.02)  # not everything that changes is told

    def wait_for_version(self, version) -> None:
        self.wait(lambda: self.keeper.version == version)
        self.wait(lambda: not self.trust.reason)

    def wait_for_reason(self, part: str) -> None:
        self.wait(lambda: part in self.trust.reason)


class Intruder:
    """Someone who may publish what they like: the broker's operator."""

    def __init__(self, port: int) -> None:
        self._link = Link(BrokerConfig(port=port), "intruder")
        self._taken = threading.Semaphore(0)
        connected = threading.Event()
        self._link.on_connected(connected.set)
        self._link.on_acknowledged(lambda _: self._taken.release())
        self._link.start()
        assert connected.wait(10)

    def put(self, path: str, content: bytes) -> None:
        self._link.publish(topics.trust(ROOT, path), content, retain=True)
        assert self._taken.acquire(timeout=60)

    def close(self) -> None:
        self._link.close()


replace = msgspec.structs.replace
