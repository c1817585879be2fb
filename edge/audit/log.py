"""The audit log on disk: appended to, never changed; rotated and shortened without a break.

Files `audit-<number of the first record>.jsonl` in one folder. A record counts when it is on the
disk (fdatasync). What the disk refuses waits in memory, in order; when too much waits the log is
`full`, and the device looks for nobody until it is written.

A last line that a crash tore is removed and the next record says so. Damage beyond that is set
aside as it was found, and said. When the oldest file goes, a record that holds its last hash is
written first: what is left can be checked against it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edge import limits
from edge.errors import StorageUnavailable
from edge.files import flush_entries, private_folder, write_atomically
from edge.protocol import audit
from edge.protocol.audit import (
    BEGINNING,
    Broken,
    Dropped,
    Entry,
    Record,
    Repaired,
    UseBegan,
    UseEnded,
    UseGoesOn,
)
from edge.protocol.event import ListVersion

log = logging.getLogger(__name__)

PATTERN = "audit-" + "[0-9]" * 20 + ".jsonl"


class AuditLog:
    """The log of one device. Safe for several threads; for one process."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], float],
        certain: Callable[[], float] | None = None,
    ) -> None:
        """Open it, mended if need be.

        Args:
            folder: made with mode 0700.
            now: wall clock, seconds since 1970.
            certain: seconds since 1970 that are certainly over, by which records grow old; a clock
                that jumps ahead must not remove any. `now` if None.

        Raises:
            StorageUnavailable: it can neither be read nor made.
        """
        self._folder = private_folder(folder)
        self._now = now
        self._certain = certain or now
        self._lock = threading.Lock()
        self._waiting: deque[tuple[datetime, Entry]] = deque()
        self._file = -1
        self._size = 0
        self._fresh = b""  # the end of the file that is not known to be on the disk
        self._n, self._digest = 0, BEGINNING
        self._torn = False  # what is in the file after `_size` is not ours
        self._unsure = False  # what is fresh could not be brought to the disk
        self.unfinished: ListVersion | None = None
        """The list in use when the last run ended without a word; None if none was."""
        self.trouble = ""
        """Why records cannot be stored at the moment; empty if they can."""
        try:
            self._open()
        except OSError as error:
            raise StorageUnavailable(f"{folder}: cannot be opened: {error}") from error

    @property
    def head(self) -> str:
        """Number and hash of the newest record, as events carry it."""
        with self._lock:
            return audit.head(self._n, self._digest)

    @property
    def full(self) -> bool:
        """Whether so much waits for the disk that nothing may happen that must be recorded."""
        return len(self._waiting) >= limits.AUDIT_UNSAVED_MAX or self._unsure

    def append(self, *entries: Entry, sync: bool = True) -> str:
        """Record something, and return the head; what the disk refuses is kept and tried again.

        Args:
            entries: what to record.
            sync: have it on the disk at once; else `sync` must follow before the head is used.
        """
        with self._lock:
            moment = datetime.fromtimestamp(self._now(), UTC)
            self._waiting.extend((moment, entry) for entry in entries)
            self._write(sync=sync)
            return audit.head(self._n, self._digest)

    def sync(self) -> None:
        """Have on the disk what was appended without.

        Raises:
            StorageUnavailable: it is not; try again.
        """
        with self._lock:
            try:
                self._sync()
            except OSError as error:
                raise StorageUnavailable(f"audit log: {error}") from error

    def flush(self) -> bool:
        """Write what waits; return whether nothing waits any more."""
        with self._lock:
            self._write()
            return not self._waiting and not self._fresh

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._write()
            os.close(self._file)

    # --- Writing ---------------------------------------------------------------------------------

    def _write(self, *, sync: bool = True) -> None:
        if not self._waiting and not self._fresh:
            return
        try:
            if self._size >= limits.AUDIT_FILE_BYTES:
                self._rotate()
            self._write_waiting()
            if sync:
                self._sync()
        except OSError as error:
            if not self.trouble:
                log.warning("audit log: %s; %d records wait in memory", error, len(self._waiting))
            self.trouble = "the audit log cannot be written: is the disk full?"
        else:
            self.trouble = ""

    def _write_waiting(self) -> None:
        """Write everything that waits in one piece; on failure it waits on."""
        n, digest, content = self._n, self._digest, bytearray()
        for moment, entry in self._waiting:
            n += 1
            line = audit.encode(Record(n=n, time=moment, prev=digest, what=entry))
            digest = audit.digest(line)
            content += line + b"\n"
        if self._torn:
            os.ftruncate(self._file, self._size)
        self._torn = True
        _write_whole(self._file, bytes(content), self._size)
        self._torn = False
        self._n, self._digest, self._size = n, digest, self._size + len(content)
        self._fresh += content
        self._waiting.clear()

    def _sync(self) -> None:
        """Have the end of the file on the disk.

        After a failure it is written again: Linux takes pages for clean that it could not write.
        """
        if not self._fresh:
            return
        try:
            if self._unsure:
                _write_whole(self._file, self._fresh, self._size - len(self._fresh))
            os.fdatasync(self._file)
        except OSError:
            self._unsure = True
            raise
        self._unsure, self._fresh = False, b""

    def _rotate(self) -> None:
        """Begin a new file, and let go of the oldest ones that are too much or too old."""
        self._sync()
        path = self._folder / f"audit-{self._n + 1:020d}.jsonl"
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, 0)  # one that was begun before, when the disk was full
        flush_entries(self._folder)
        os.close(self._file)
        self._file, self._size = file, 0
        there = self._paths()
        room = limits.AUDIT_MAX_BYTES - limits.AUDIT_FILE_BYTES
        sizes = [each.stat().st_size for each in there]
        for i, oldest in enumerate(there[:-1]):
            last, digest = _records(oldest)[-1]
            too_much = sum(sizes[i:]) > room
            too_old = self._certain() - last.time.timestamp() > limits.AUDIT_KEEP_S
            if not too_much and not too_old:
                return
            dropped = Dropped(
                first=int(oldest.stem[-20:]),
                head=audit.head(last.n, digest),
                reason="room" if too_much else "age",
            )
            self._waiting.append((datetime.fromtimestamp(self._now(), UTC), dropped))
            self._write_waiting()
            self._sync()
            oldest.unlink()

    # --- Opening ---------------------------------------------------------------------------------

    def _open(self) -> None:
        """Find the head in the newest file that holds a record; mend what is torn or damaged."""
        findings: list[Entry] = []
        for path in reversed(self._paths()):
            content = path.read_bytes()
            lines = content.split(b"\n")
            good: list[audit.Link] = []
            for link in audit.follow(lines[:-1]):
                if link.record is None or link.problem:
                    break
                good.append(link)
            kept = sum(len(line) + 1 for line in lines[: len(good)])
            tail = content[kept:]
            if tail and len(good) == len(lines) - 1:
                findings.append(Repaired(bytes=len(tail), sha256=audit.digest(tail)))
                log.warning("audit log: torn last line of %d bytes removed", len(tail))
            elif tail:
                findings.append(self._set_aside(path, content, len(good)))
            if tail:
                _replace(path, content[:kept])
            if good:
                newest = good[-1].record
                assert newest is not None
                self._n, self._digest = newest.n, good[-1].digest
                break
            path.unlink()
        there = self._paths()
        self.unfinished = _unfinished(there[-2:])
        path = there[-1] if there else self._folder / f"audit-{self._n + 1:020d}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size
        flush_entries(self._folder)
        if findings:
            self.append(*reversed(findings))

    def _set_aside(self, path: Path, content: bytes, good: int) -> Broken:
        aside = path.with_name(f"{path.name}.damaged-{int(self._now())}")
        log.error("audit log %s is damaged after %d records: kept as %s", path, good, aside.name)
        _replace(aside, content)
        return Broken(
            aside=aside.name,
            sha256=hashlib.sha256(content).hexdigest(),
            problem=f"does not hold after {good} records of {path.name}",
        )

    def _paths(self) -> list[Path]:
        return paths(self._folder)


def paths(folder: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    return sorted(folder.glob(PATTERN))


def _write_whole(file: int, content: bytes, offset: int) -> None:
    """Write all of something.

    Raises:
        OSError: not all of it is written.
    """
    if os.pwrite(file, content, offset) < len(content):
        raise OSError(errno.ENOSPC, "only a part could be written")


def _records(path: Path) -> list[tuple[Record, str]]:
    """Return the records in a file that was written to its end, each with its hash.

    Raises:
        OSError: it cannot be read, or holds none.
    """
    links = audit.follow(path.read_bytes().split(b"\n")[:-1])
    records = [(link.record, link.digest) for link in links if link.record is not None]
    if not records:
        raise OSError(f"{path} holds no record")
    return records


def _unfinished(newest: Sequence[Path]) -> ListVersion | None:
    """Return the list whose use began and did not end, by the newest files."""
    using = None
    for path in newest:
        for record, _ in _records(path):
            if isinstance(record.what, UseBegan | UseGoesOn):
                using = record.what.list
            elif isinstance(record.what, UseEnded):
                using = None
    return using


def _replace(path: Path, content: bytes) -> None:
    """Write a file anew and have it on the disk."""
    try:
        write_atomically(path, content)
    except StorageUnavailable as error:
        raise OSError(str(error)) from error
