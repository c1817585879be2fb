"""Some of the devices of `benchmarks.scale`, in one process: the real client, without a camera.

Reads a `Job`, says that it is ready, starts when a second line comes, and ends with its standard
input. What happens is told on standard output, a `Report` a line, with times of the system's
steady clock.

Of a device there is here what synchronises: session, trust, transport, the opened list. How many
devices fetch and open a list at the same time is limited, for they share two cores and one memory;
that, and that equal pieces are held once, is all that is not as on a device.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol.watchlist import Watchlist, rows
from edge.trust.client import NOTHING_YET, Trust
from edge.trust.view import View
from edge.watchlist.delivery import Delivery, SealedList
from edge.watchlist.transport import ListTransport


class Member(msgspec.Struct, frozen=True):
    """A device: its id, and its X25519 key."""

    name: str
    opening: bytes


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do.

    Attributes:
        port: of the broker, on loopback.
        root: root metadata of the fleet.
        folder: where the devices keep what they have verified.
        list_id: the list they obey.
        turns: so many of them fetch and open a list at a time.
        members: the devices.
    """

    port: int
    root: bytes
    folder: str
    list_id: str
    turns: int
    members: list[Member]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a device.

    Attributes:
        what: "ready" is of the whole worker; "state": a signed state was taken in; "whole": a list
            was verified and opened; "trouble": something failed, and is tried again.
        at: when, seconds.
        device: its id.
        version: of the list.
        digest: SHA-256 of the list's head as it is signed, hex.
        content: SHA-256 of the opened list's rows, hex.
        checking: processor seconds that finding `content` took; no device does that.
        reason: of the trouble.
    """

    what: Literal["ready", "connected", "state", "whole", "trouble"]
    at: float
    device: str = ""
    version: int = 0
    digest: str = ""
    content: str = ""
    checking: float = 0.0
    reason: str = ""


def content_digest(watchlist: Watchlist) -> str:
    """Return the SHA-256 of every row of a list, in the order of ids, hex."""
    ordered = sorted(watchlist.entries, key=lambda entry: entry.id)
    table = rows(msgspec.structs.replace(watchlist, entries=ordered))
    return hashlib.sha256(table.tobytes()).hexdigest()


class Device:
    """What synchronises, of a device. A `ListKeeper` that judges nothing."""

    def __init__(
        self,
        job: Job,
        member: Member,
        turns: threading.Semaphore,
        pieces: dict[str, bytes],
        say: Callable[[Report], None],
    ) -> None:
        """Make a device; nothing happens before `start`.

        Args:
            job: of the worker.
            member: who this is.
            turns: taken while a list is fetched and opened.
            pieces: name to ciphertext, held once for all devices of the worker.
            say: takes reports, from any thread.
        """
        self._name = member.name
        self._turns = turns
        self._pieces = pieces
        self._say = say
        self._sealed: SealedList | None = None
        broker = BrokerConfig(port=job.port, username=member.name)
        self._link = Link(broker, f"lethe-{member.name}")
        self._link.on_connected(lambda: self._tell("connected"))
        self._trust = Trust(
            self._link,
            broker.topic_root,
            job.root,
            Path(job.folder) / member.name,
            on_change=self._changed,
        )
        key = X25519PrivateKey.from_private_bytes(member.opening)
        self._transport = ListTransport(self, list_id=job.list_id, device=member.name, key=key)
        self._trust.follow("list", self._in_turn)
        self._trust.follow("state", lambda _view: self._tell("state"))

    def start(self) -> None:
        """Connect, and follow what the broker brings."""
        self._trust.start()
        self._link.start()

    def disconnect(self) -> None:
        """Leave the broker; what is being opened ends with the process."""
        self._link.close()

    def offer(self, delivery: Delivery) -> None:
        """Take a list, and tell what it holds."""
        at, began = time.monotonic(), time.thread_time()
        content = content_digest(delivery.watchlist)
        sealed = delivery.sealed
        held = {
            name: self._pieces.setdefault(name, piece) for name, piece in sealed.segments.items()
        }
        self._sealed = msgspec.structs.replace(sealed, segments=held)
        self._say(
            Report(
                what="whole",
                at=at,
                device=self._name,
                version=delivery.watchlist.version,
                digest=sealed.digest,
                content=content,
                checking=time.thread_time() - began,
            )
        )

    def withdraw(self, reason: str) -> None:
        """Tell that there is no list any more: none is withdrawn here."""
        self._tell("trouble", reason)

    def stored(self) -> SealedList | None:
        """Return what came last."""
        return self._sealed

    def _in_turn(self, view: View) -> None:
        with self._turns:
            self._transport(view)

    def _changed(self) -> None:
        reason = self._trust.reason
        if reason and reason != NOTHING_YET:
            self._tell("trouble", reason)

    def _tell(self, what: Literal["connected", "state", "trouble"], reason: str = "") -> None:
        self._say(Report(what=what, at=time.monotonic(), device=self._name, reason=reason))


def main() -> None:
    """Be the devices of a job until standard input ends."""
    logging.basicConfig(level=logging.ERROR)
    speaking = threading.Lock()

    def say(report: Report) -> None:
        line = msgspec.json.encode(report) + b"\n"
        with speaking, contextlib.suppress(BrokenPipeError):  # then standard input ends, too
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    turns, pieces = threading.Semaphore(job.turns), dict[str, bytes]()
    devices = [Device(job, member, turns, pieces, say) for member in job.members]
    say(Report(what="ready", at=time.monotonic()))
    if sys.stdin.buffer.readline():
        for device in devices:
            device.start()
        sys.stdin.buffer.read()
    for device in devices:
        device.disconnect()


if __name__ == "__main__":
    main()
