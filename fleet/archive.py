"""Events in a file of JSON Lines, each checked before it is written, none twice.

A line is `{"received": …, "event": {…}}`. Beside the file lies `<name>.cursor`: how far it was
read and what had come until then (`fleet.ledger`), so that the next start goes on from there. What
was written after the cursor is read again; a last line that a crash left unfinished is cut off. An
event is acknowledged to the broker only when it is on the disk.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edge import limits
from edge.config import BrokerConfig
from edge.errors import ConfigError, StorageUnavailable
from edge.files import write_atomically
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.event import rfc3339
from fleet.events import Reader, Received, device_of
from fleet.ledger import Keys, Ledger


class Cursor(msgspec.Struct, kw_only=True):
    """How far an archive was read.

    Attributes:
        offset: bytes of the archive.
        ledger: what had come until then.
    """

    offset: int = 0
    ledger: Ledger = msgspec.field(default_factory=Ledger)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an archive, or an event as it came, on a line of its own.

    Attributes:
        number: from 1.
        message: the event's bytes.
        received: when it came, seconds since 1970; None if the line does not say.
    """

    number: int
    message: bytes
    received: float | None


class Archive:
    """An archive that is added to. For one process."""

    def __init__(self, path: Path, keys: Keys, *, now: Callable[[], float] = time.time) -> None:
        """Open or make it.

        Raises:
            ConfigError: the cursor is damaged.
            StorageUnavailable: it cannot be written.
        """
        self._path = path
        self._cursor_path = path.with_name(path.name + ".cursor")
        self._now = now
        self._cursor = self._read_cursor()
        self._reader = Reader(keys, ledger=self._cursor.ledger, now=now)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            self._catch_up()
        except OSError as error:
            raise StorageUnavailable(f"{path}: cannot be opened: {error.strerror}") from error

    @property
    def ledger(self) -> Ledger:
        """What has come."""
        return self._reader.ledger

    def add(self, message: bytes, device: str | None = None) -> Received:
        """Check an event and write it if it is taken.

        Raises:
            StorageUnavailable: the disk is full or not writable.
        """
        before = msgspec.json.encode(self._reader.ledger)
        now = self._now()
        received = self._reader.receive(message, device=device, at=now)
        if received.event is None or not received.trusted:
            return received
        line = msgspec.json.encode({"received": rfc3339(now), "event": received.event.document})
        try:
            os.pwrite(self._file, line + b"\n", self._cursor.offset)
            os.fdatasync(self._file)
        except OSError as error:
            self._reader.ledger = msgspec.json.decode(before, type=Ledger)
            raise StorageUnavailable(f"{self._path}: {error.strerror}") from error
        self._cursor.offset += len(line) + 1
        return received

    def save(self) -> None:
        """Write the cursor.

        Raises:
            StorageUnavailable: the disk is full or not writable; the next start reads more again.
        """
        self._cursor.ledger = self._reader.ledger
        write_atomically(self._cursor_path, msgspec.json.encode(self._cursor))

    def close(self) -> None:
        """Write the cursor and close the file."""
        try:
            self.save()
        finally:
            os.close(self._file)

    def _read_cursor(self) -> Cursor:
        try:
            return msgspec.json.decode(self._cursor_path.read_bytes(), type=Cursor)
        except FileNotFoundError:
            return Cursor()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self._cursor_path}: damaged ({error}); remove it, and the archive is read anew"
            ) from error

    def _catch_up(self) -> None:
        """Take note of what was written after the cursor; cut off what a crash left unfinished."""
        with self._path.open("rb") as file:
            file.seek(self._cursor.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                message, received = unwrap(line)
                self._reader.receive(message, at=received)
                self._cursor.offset += len(line)
        os.ftruncate(self._file, self._cursor.offset)


def follow(
    archive: Archive,
    broker: BrokerConfig,
    *,
    on_event: Callable[[Received], None],
    on_trouble: Callable[[StorageUnavailable], None],
    client_id: str,
    device: str = "+",
) -> Link:
    """Write what arrives into an archive; the broker keeps what comes while nobody follows.

    Args:
        archive: where to.
        broker: where from.
        on_event: called for each event that was written or refused, on the network thread.
        on_trouble: called when the disk took none; the event comes again after the next connection.
        client_id: by which the broker knows this reader.
        device: id of one device; "+" for all.
    """
    link = Link(broker, client_id, lasting=True)

    def take(topic: str, message: bytes) -> bool:
        try:
            received = archive.add(message, device_of(topic))
        except StorageUnavailable as error:
            on_trouble(error)
            return False
        on_event(received)
        return True

    link.subscribe_safely(topics.event(broker.topic_root, device), take, limits.MAX_EVENT_BYTES)
    link.start()
    return link


def client_id(path: Path) -> str:
    """Return a name for the reader of an archive, the same at each start on the same machine."""
    return f"lethe-export-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of an archive.

    Raises:
        ConfigError: it cannot be read, or a line is longer than any event.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(limits.MAX_ARCHIVE_LINE_BYTES + 1):
                number += 1
                if len(line) > limits.MAX_ARCHIVE_LINE_BYTES:
                    raise ConfigError(f"{path}: line {number} is longer than any event")
                yield Line(number, *unwrap(line))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def unwrap(line: bytes) -> tuple[bytes, float | None]:
    """Return the event of a line and when it came; a line of no archive is the event itself."""
    try:
        wrapped = msgspec.json.decode(line, type=dict[str, Any])
        received, document = wrapped["received"], wrapped["event"]
        return msgspec.json.encode(document), datetime.fromisoformat(received).timestamp()
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError,
            RecursionError, OverflowError):  # fmt: skip
        return line.strip(), None
