"""Events on disk until the broker has acknowledged them, in SQLite.

`put` returns when the event has reached the disk (WAL, synchronous=FULL). Numbers are given inside
the transaction and never twice, not even after a restart. Where events must be dropped, a signed
gap event says so: nothing is lost in silence. The rule when the outbox is full: sealed pictures go
first, oldest first; then the oldest reports.

Age is counted in seconds that the device has run, not by the wall clock: a clock that jumps a year
ahead drops nothing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edge import limits
from edge.errors import StorageUnavailable
from edge.protocol.event import Candidate, Data, Ended, Gap, Picture, lifetime, sequence_of

log = logging.getLogger(__name__)

_REFUSED = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the second when its message quotes a damaged file."""

_SMALLEST = 512
"""Bytes of SQLite's smallest page: no database is shorter."""

_VERSION = 2
"""Of the tables below; a file of another version is set aside."""

Make = Callable[[Data, int], bytes]
"""Turns what is to be said and its number into the bytes of a signed event."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    ends REAL NOT NULL, -- seconds that the device has run when it is no longer kept
    lost INTEGER NOT NULL, -- reports that are lost with it: a gap's own, and 1 for any other
    pictures INTEGER NOT NULL, -- the same of pictures
    missing INTEGER NOT NULL, -- numbers that will not come if it is dropped
    first INTEGER NOT NULL, -- the first of them
    message BLOB NOT NULL
);
-- Candidates in view, so that their end is told even if the process dies.
CREATE TABLE IF NOT EXISTS in_view (sequence INTEGER PRIMARY KEY, entry TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS once (name TEXT PRIMARY KEY); -- what was put, and is not put again
CREATE TABLE IF NOT EXISTS ran (seconds REAL NOT NULL);
INSERT INTO ran SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM ran);
"""


_ALL = "SELECT sequence, length(message) FROM event WHERE sequence > ? ORDER BY sequence"
_PICTURES = _ALL.replace("ORDER", "AND pictures = 1 AND lost = 0 AND missing = 1 ORDER")

_ONCE_KEPT = 1000
"""Names of `put` that are remembered, newest first; they are needed for moments only."""


class Stored(msgspec.Struct, frozen=True):
    """An event in the outbox: its number and the bytes to be sent."""

    sequence: int
    message: bytes


class Outbox:
    """The events of one device. Safe for several threads; for one process."""

    def __init__(
        self,
        path: Path,
        make: Make,
        *,
        now: Callable[[], float],
        before_commit: Callable[[], None] = lambda: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or make the file.

        Args:
            path: the database; a damaged one is set aside as `<name>.damaged`.
            make: signs an event.
            now: wall clock, seconds since 1970.
            before_commit: called when events were made, before they are stored; may raise
                `StorageUnavailable`, and nothing is stored.
            steady: seconds, never set.

        Raises:
            StorageUnavailable: it can neither be opened nor made anew.
        """
        self._make = make
        self._before_commit, self._made = before_commit, False
        self._steady = steady
        self._lock = threading.Lock()
        self._events = self._bytes = 0
        self._handed = 0  # up to here events are with the broker already: not dropped
        aside = path.with_name(path.name + ".damaged")
        try:
            self._database = _open_or_set_aside(path, aside)
        except (OSError, sqlite3.Error) as error:
            raise StorageUnavailable(f"{path}: cannot be opened: {error}") from error
        try:
            self._ran = float(self._run("SELECT seconds FROM ran")[0][0])
            self._since = steady()
            self._looked = self._ran
            self._count()
            if aside.exists() and not self._run("SELECT 1 FROM sqlite_sequence"):
                with self._transaction():
                    # Numbers start beyond any that the lost file can have given.
                    sequence = int(now() * 1000)
                    reason = f"outbox damaged: set aside as {aside.name}"
                    self._store(Gap(lost=0, reason=reason, last=sequence - 1), sequence)
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

    def put_all(self, data: Sequence[Data]) -> list[int]:
        """Store several events durably, all or none, and return their numbers; else as `put`."""
        with self._lock, self._transaction():
            numbers = [self._store(each) for each in data]
            self._bound()
            return numbers

    def pending(self, limit: int, after: int = 0) -> list[Stored]:
        """Return the oldest events with a number above `after`, at most `limit`.

        They are with the broker from now on: they are dropped neither for age nor for room.
        """
        with self._lock:
            if self._now_ran() - self._looked >= limits.OUTBOX_LOOK_S:
                with self._transaction():
                    self._expire()
            rows = self._run(
                "SELECT sequence, message FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            )
            self._handed = max(self._handed, rows[-1][0] if rows else 0)
            return [Stored(sequence, message) for sequence, message in rows]

    def delete(self, *sequences: int) -> None:
        """Forget events that the broker has acknowledged.

        Needs not reach the disk at once: what is forgotten in a power cut is sent again, under
        the same id.
        """
        with self._lock:
            self._run("PRAGMA synchronous = NORMAL")
            try:
                with self._transaction():
                    for first, last in _runs(sequences):
                        self._remove(first, last)
            finally:
                self._run("PRAGMA synchronous = FULL")

    def in_view(self) -> list[tuple[int, str]]:
        """Return number and entry of each candidate whose end was not told."""
        with self._lock:
            return [(s, e) for s, e in self._run("SELECT sequence, entry FROM in_view ORDER BY 1")]

    def __len__(self) -> int:
        """Return the number of events that wait."""
        with self._lock:
            return self._events

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock:
            self._database.close()

    def _now_ran(self) -> float:
        return self._ran + self._steady() - self._since

    def _store(self, data: Data, at_least: int = 1) -> int:
        """Sign and insert under the next number; AUTOINCREMENT remembers the highest given."""
        found = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        sequence = max(at_least, (int(found[0][0]) if found else 0) + 1)
        message, self._made = self._make(data, sequence), True
        lost, pictures, missing, first = _lost_with(data, sequence)
        self._run(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sequence, self._now_ran() + lifetime(data), lost, pictures, missing, first, message),
        )
        self._events, self._bytes = self._events + 1, self._bytes + len(message)
        if isinstance(data, Candidate):
            self._run("INSERT INTO in_view VALUES (?, ?)", (sequence, data.entry))
        elif isinstance(data, Ended):
            self._run("DELETE FROM in_view WHERE sequence = ?", (sequence_of(data.candidate),))
        self._run("UPDATE ran SET seconds = ?", (self._now_ran(),))
        return sequence

    def _bound(self) -> None:
        """Make room: pictures first, then the oldest reports."""
        for query in (_PICTURES, _ALL):
            events, size = self._events, self._bytes
            if events <= limits.OUTBOX_MAX_EVENTS and size <= limits.OUTBOX_MAX_BYTES:
                return
            # Room is made for the event that says so, too, and for some more: gaps stay few.
            most = limits.OUTBOX_MAX_EVENTS - 1 - limits.OUTBOX_MAX_EVENTS // 100
            most_bytes = limits.OUTBOX_MAX_BYTES - limits.OUTBOX_MAX_BYTES // 100
            chosen = []
            for row in self._run(query, (self._handed,)):
                if events <= most and size <= most_bytes:
                    break
                chosen.append(row[0])
                events, size = events - 1, size - row[1]
            self._drop(chosen, "too many waited")

    def _expire(self) -> None:
        now = self._looked = self._now_ran()
        self._run("UPDATE ran SET seconds = ?", (now,))
        rows = self._run(
            "SELECT sequence FROM event WHERE ends <= ? AND sequence > ?", (now, self._handed)
        )
        self._drop([row[0] for row in rows], "not delivered in time")

    def _drop(self, sequences: Sequence[int], reason: str) -> None:
        """Delete events and put a gap event in their place."""
        if not sequences:
            return
        removed = [row for run in _runs(sequences) for row in self._remove(*run)]
        lost, pictures, missing = (sum(row[i] for row in removed) for i in range(3))
        log.error("%d events and %d pictures dropped: %s", lost, pictures, reason)
        self._store(
            Gap(
                lost=lost,
                pictures=pictures,
                reason=reason,
                first=min(row[3] for row in removed),
                last=sequences[-1],
                missing=missing,
            )
        )

    def _remove(self, first: int, last: int) -> list[tuple[int, int, int, int]]:
        """Delete a run of events; return what is lost with each of them: see the table."""
        rows = self._run(
            "DELETE FROM event WHERE sequence BETWEEN ? AND ?"
            " RETURNING lost, pictures, missing, first, length(message)",
            (first, last),
        )
        self._events -= len(rows)
        self._bytes -= sum(row[4] for row in rows)
        return [row[:4] for row in rows]

    def _count(self) -> None:
        row = self._run("SELECT count(*), coalesce(sum(length(message)), 0) FROM event")[0]
        self._events, self._bytes = int(row[0]), int(row[1])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before, self._made = (self._events, self._bytes), False
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            if self._made:
                self._before_commit()
            self._run("COMMIT")
        except BaseException:
            self._events, self._bytes = before
            if self._database.in_transaction:  # a full disk may have rolled back by itself
                self._run("ROLLBACK")
            raise

    def _run(self, statement: str, values: tuple[float | bytes | str, ...] = ()) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except _REFUSED as error:
            raise StorageUnavailable(f"outbox: {error}") from error


def _lost_with(data: Data, sequence: int) -> tuple[int, int, int, int]:
    """Return what is lost when an event is dropped: reports, pictures, numbers, the first number.

    A gap hands on what it says itself.
    """
    if isinstance(data, Gap):
        return data.lost, data.pictures, data.missing + 1, data.first or sequence
    picture = isinstance(data, Picture)
    return int(not picture), int(picture), 1, sequence


def _runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of numbers that follow one another."""
    runs: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if runs and sequence == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], sequence)
        else:
            runs.append((sequence, sequence))
    return runs


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
        new = False
    except FileNotFoundError:
        path.touch(mode=0o600)  # SQLite gives its other files the mode of this one
        new = True
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        if not new and database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            raise sqlite3.DatabaseError("made by another version of the software")
        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
    except _REFUSED:
        database.close()
        raise
    return database
