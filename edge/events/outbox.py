"""Events on disk until the broker has acknowledged them, in SQLite.

`put` returns when the event has reached the disk (WAL, synchronous=FULL). Numbers are given inside
the transaction and never twice, not even after a restart. Where events must be dropped (too many,
too old, a damaged file), a signed gap event says so: nothing is lost in silence.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import limits
from edge.errors import StorageUnavailable
from edge.protocol.event import Data, Gap

log = logging.getLogger(__name__)

_REFUSED = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the second when its message quotes a damaged file."""

_SMALLEST = 512
"""Bytes of SQLite's smallest page: no database is shorter."""

Make = Callable[[Data, int], bytes]
"""Turns what is to be said and its number into the bytes of a signed event."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    made REAL NOT NULL,
    counts INTEGER NOT NULL, -- a gap counts as many as it says were lost
    message BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS once (name TEXT PRIMARY KEY) -- what was put, and is not put again
"""

_ONCE_KEPT = 1000
"""Names of `put` that are remembered, newest first; they are needed for moments only."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the outbox: its number and the bytes to be sent."""

    sequence: int
    message: bytes


class Outbox:
    """The events of one device. Safe for several threads."""

    def __init__(self, path: Path, make: Make, *, now: Callable[[], float]) -> None:
        """Open or make the file.

        Args:
            path: the database; a damaged one is set aside as `<name>.damaged`.
            make: signs an event.
            now: wall clock, seconds since 1970.

        Raises:
            StorageUnavailable: it can neither be opened nor made anew.
        """
        self._make = make
        self._now = now
        self._lock = threading.Lock()
        aside = path.with_name(path.name + ".damaged")
        try:
            self._database = _open_or_set_aside(path, aside)
        except (OSError, sqlite3.Error) as error:
            raise StorageUnavailable(f"{path}: cannot be opened: {error}") from error
        try:
            if aside.exists() and not self._run("SELECT 1 FROM sqlite_sequence"):
                with self._transaction():
                    # Numbers start beyond any that the lost file can have given.
                    gap = Gap(lost=0, reason=f"outbox damaged: set aside as {aside.name}")
                    self._store(gap, int(now() * 1000))
        except StorageUnavailable:
            self._database.close()
            raise

    def put(self, data: Data, *, once: str = "") -> int | None:
        """Store an event durably and return its number.

        Args:
            data: what it says.
            once: a name for it. Under a name that was given before nothing is stored and None
                returned, also after a restart: whoever was cut off between this and noting it
                done may do both again.

        Raises:
            StorageUnavailable: the disk is full or not writable; nothing was stored.
        """
        with self._lock, self._transaction():
            if once:
                if self._run("SELECT 1 FROM once WHERE name = ?", (once,)):
                    return None
                self._run("INSERT INTO once (name) VALUES (?)", (once,))
                self._run(
                    "DELETE FROM once WHERE rowid <= (SELECT max(rowid) FROM once) - ?",
                    (_ONCE_KEPT,),
                )
            sequence = self._store(data)
            self._bound()
            return sequence

    def pending(self, limit: int) -> list[Stored]:
        """Return the oldest events, at most `limit`; those past their time are dropped first."""
        with self._lock:
            with self._transaction():
                self._expire()
            rows = self._run(
                "SELECT sequence, message FROM event ORDER BY sequence LIMIT ?", (limit,)
            )
            return [Stored(sequence, message) for sequence, message in rows]

    def delete(self, sequence: int) -> None:
        """Forget an event that the broker has acknowledged."""
        with self._lock:
            self._run("DELETE FROM event WHERE sequence = ?", (sequence,))

    def __len__(self) -> int:
        """Return the number of events that wait."""
        with self._lock:
            return int(self._run("SELECT count(*) FROM event")[0][0])

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock:
            self._database.close()

    def _store(self, data: Data, at_least: int = 1) -> int:
        """Sign and insert under the next number; AUTOINCREMENT remembers the highest given."""
        found = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        sequence = max(at_least, (int(found[0][0]) if found else 0) + 1)
        self._run(
            "INSERT INTO event (sequence, made, counts, message) VALUES (?, ?, ?, ?)",
            (
                sequence,
                self._now(),
                data.lost if isinstance(data, Gap) else 1,
                self._make(data, sequence),
            ),
        )
        return sequence

    def _bound(self) -> None:
        waiting = int(self._run("SELECT count(*) FROM event")[0][0])
        # Room is made for the event that says so, too, and for some more: gaps stay few.
        if waiting > limits.OUTBOX_MAX_EVENTS:
            self._drop(
                "SELECT sequence, counts FROM event ORDER BY sequence LIMIT ?",
                waiting - limits.OUTBOX_MAX_EVENTS + 1 + limits.OUTBOX_MAX_EVENTS // 100,
                f"more than {limits.OUTBOX_MAX_EVENTS} events waited",
            )

    def _expire(self) -> None:
        self._drop(
            "SELECT sequence, counts FROM event WHERE made <= ?",
            self._now() - limits.EVENT_EXPIRY_S,
            f"not delivered within {limits.EVENT_EXPIRY_S // 86400} days",
        )

    def _drop(self, which: str, value: float, reason: str) -> None:
        """Delete events and put a gap event in their place."""
        rows = self._run(which, (value,))
        if not rows:
            return
        lost = sum(counts for _, counts in rows)
        log.error("%d events dropped: %s", lost, reason)
        for sequence, _ in rows:
            self._run("DELETE FROM event WHERE sequence = ?", (sequence,))
        self._store(Gap(lost=lost, reason=reason))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk may have rolled back by itself
                self._run("ROLLBACK")
            raise

    def _run(self, statement: str, values: tuple[float | str | bytes, ...] = ()) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except _REFUSED as error:
            raise StorageUnavailable(f"outbox: {error}") from error


def _open_or_set_aside(path: Path, aside: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError:  # the disk, not the file
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        log.warning("outbox %s is damaged (%s): set aside as %s", path, error, aside.name)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    try:
        if path.stat().st_size < _SMALLEST:  # SQLite may take it for new: numbers would begin anew
            raise sqlite3.DatabaseError("the file is cut off")
    except FileNotFoundError:
        path.touch(mode=0o600)  # SQLite gives its other files the mode of this one
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        database.executescript(_SCHEMA)
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
    except _REFUSED:
        database.close()
        raise
    return database
