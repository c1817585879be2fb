"""Checking an audit log, on the device or from a copy, alone or against events that were kept.

A finding names what does not hold:

    malformed      a line is no record
    missing        a number is skipped
    altered        a record is not the one that the next followed
    torn           the last line is cut off; the device removes it at its next start and says so
    unanchored     the oldest record follows one that no record says was dropped
    broken         the device itself found damage and set a file aside
    contradicted   an event carries a head that the log does not have
    cut-off        an event carries a head beyond the end of the log
    unrecorded     an event is not in the log
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge import limits
from edge.audit.log import paths
from edge.errors import ConfigError
from edge.protocol import audit
from edge.protocol.audit import BEGINNING, Broken, Dropped, ListDestroyed, Lost, Record, Reported
from edge.protocol.event import AuditHead, Event, Head

Name = Literal[
    "malformed", "missing", "altered", "torn", "unanchored", "broken", "contradicted", "cut-off",
    "unrecorded",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold.

    Attributes:
        name: what kind of thing, in one word.
        where: file and line, or the id of an event.
        says: what was found.
    """

    name: Name
    where: str
    says: str


@dataclass(slots=True)
class Chain:
    """A log that was read.

    Attributes:
        findings: what does not hold in it.
        digests: number of each record to its hash.
        events: ids of the events that are recorded.
        first: number of the oldest record; 0 if there is none.
        last: number of the newest.
    """

    findings: list[Finding] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    first: int = 0
    last: int = 0

    @property
    def head(self) -> Head | None:
        """Number and hash of the newest record."""
        return audit.head(self.last, self.digests[self.last]) if self.last else None


def records(log: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the records of a log that can be read, oldest first, with the file they are in.

    Raises:
        ConfigError: it cannot be read.
    """
    for path, _, link in _links(_files(log)):
        if link.record is not None:
            yield path, link.record


def verify(log: Path) -> Chain:
    """Read a log and judge it.

    Args:
        log: the folder, or one file of it.

    Raises:
        ConfigError: it cannot be read.
    """
    chain, dropped, begins_after = Chain(), set(), BEGINNING
    for path, number, link in _links(_files(log)):
        where = f"{path.name}:{number}"
        if link.problem:
            name, _, says = link.problem.partition(": ")
            chain.findings.append(Finding(_name(name), where, says))
        record = link.record
        if record is None:
            continue
        if not chain.first:
            chain.first, begins_after = record.n, record.prev
        chain.last = record.n
        chain.digests[record.n] = link.digest
        match record.what:
            case Reported() | Lost():
                chain.events.add(record.what.event)
            case ListDestroyed():
                chain.events.add(record.what.receipt)
            case Dropped():
                dropped.add(record.what.head)
            case Broken():
                chain.findings.append(Finding("broken", where, record.what.problem))
    if chain.first > 1 or begins_after != BEGINNING:
        before = audit.head(chain.first - 1, begins_after)
        if before not in dropped:
            says = f"record {chain.first} follows one that no record says was dropped"
            chain.findings.append(Finding("unanchored", "the oldest record", says))
    for path in _files(log)[-1:]:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            chain.findings.append(Finding("torn", path.name, "the last line is cut off"))
    return chain


def compare(chain: Chain, events: Iterable[Event]) -> Iterator[Finding]:
    """Yield what does not fit between a log and events whose signatures hold.

    Args:
        chain: the log, from `verify`.
        events: of the device whose log it is.
    """
    for event in events:
        identifier = event.envelope.id
        head = event.envelope.audithead
        heads = [head] if isinstance(head, str) else []
        if isinstance(event.data, AuditHead):
            heads.append(event.data.head)
        for each in heads:
            number = int(each[:20])
            if number > chain.last:
                says = f"made at record {number}; the log ends at {chain.last}"
                yield Finding("cut-off", identifier, says)
            elif number >= max(chain.first, 1) and chain.digests.get(number) != each[21:]:
                yield Finding("contradicted", identifier, f"record {number} was another one")
        if not isinstance(event.data, AuditHead) and identifier not in chain.events:
            known = [int(each[:20]) for each in heads]
            if not known or max(known) >= chain.first:  # else it may have been dropped
                yield Finding("unrecorded", identifier, "no record of the log is about it")


def _files(log: Path) -> list[Path]:
    found = paths(log) if log.is_dir() else [log]
    if not found or not all(path.is_file() for path in found):
        raise ConfigError(f"{log}: no audit log here")
    return found


def _links(files: Iterable[Path]) -> Iterator[tuple[Path, int, audit.Link]]:
    """Yield file, line and judgement of each line, in the chain that all files together are."""
    at: list[tuple[Path, int]] = []

    def lines() -> Iterator[bytes]:
        for path in files:
            try:
                with path.open("rb") as file:
                    number = 0
                    while line := file.readline(limits.AUDIT_LINE_BYTES + 2):
                        number += 1
                        if not line.endswith(b"\n") and len(line) <= limits.AUDIT_LINE_BYTES:
                            break  # torn
                        at.append((path, number))
                        yield line.rstrip(b"\n")
            except OSError as error:
                raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error

    for link in audit.follow(lines()):
        yield (*at.pop(), link)


def _name(text: str) -> Name:
    match text:
        case "missing":
            return "missing"
        case "altered":
            return "altered"
    return "malformed"
