"""Records of the audit log, and how they are chained. Pure.

A record is one line of JSON. It holds the SHA-256 of the line before it (without the line break),
so that no line can be changed, left out or moved without breaking the chain; the hash of the newest
line, the head, stands in every event that the device signs.

What is recorded is what Regulation (EU) 2024/1689, Art. 12(3) asks for, and what an auditor needs
to judge it: each period of use, the list that was searched in it, what led to each report, what was
refused, what was wrong. Who verified a candidate (Art. 12(3)(d)) is known where people review, not
on a camera. Nothing is recorded of people who do not match: no count, no time, no picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edge import limits
from edge.protocol.event import Ending, EventId, Head, ListVersion, Time
from edge.protocol.watchlist import EntryId, Purpose

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Number = Annotated[int, Meta(ge=1, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=limits.REASON_CHARS)]

BEGINNING: str = "0" * 64
"""What the first record of all holds in place of a hash."""


class _Entry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """Something that is recorded. `kind` says which."""


class Started(_Entry, frozen=True, kw_only=True, tag="started"):
    """The device started.

    Attributes:
        device: its id.
        software: version.
        models: name to the first 16 hex digits of the file's SHA-256.
        configuration: SHA-256 of the configuration in force (RFC 8785 form), hex.
    """

    device: Text
    software: Text
    models: dict[str, str]
    configuration: Hash


class Stopped(_Entry, frozen=True, kw_only=True, tag="stopped"):
    """The device stopped, and said so."""


class ListTaken(_Entry, frozen=True, kw_only=True, tag="list-taken"):
    """A list was put in force: the reference database (Art. 12(3)(b)).

    Attributes:
        list: id and version.
        digest: SHA-256 of its sealed head, hex: its content.
        authorisation: reference of the decision it rests on.
        purpose: what it is for.
        entries: people on it.
        not_before: from when it may be used, seconds since 1970.
        not_after: until when.
        role: whose signatures it carries.
    """

    list: ListVersion
    digest: Hash
    authorisation: Text
    purpose: Purpose
    entries: Count
    not_before: Count
    not_after: Count
    role: Literal["regular", "urgent"]


class ListDestroyed(_Entry, frozen=True, kw_only=True, tag="list-destroyed"):
    """A list and its key are gone from this device; the receipt says the same.

    Attributes:
        list: id and version.
        digest: as in `ListTaken`.
        reason: why it ended.
        receipt: id of the receipt's event.
    """

    list: ListVersion
    digest: Hash
    reason: Ending
    receipt: EventId


class UseBegan(_Entry, frozen=True, kw_only=True, tag="use-began"):
    """From here on frames are compared with a list (Art. 12(3)(a)); see its `ListTaken`."""

    list: ListVersion


class UseGoesOn(_Entry, frozen=True, kw_only=True, tag="use-goes-on"):
    """The use that began has not ended: said hourly, so that a power cut leaves no open end."""

    list: ListVersion


class UseEnded(_Entry, frozen=True, kw_only=True, tag="use-ended"):
    """From here on frames are compared with nothing.

    Attributes:
        list: which list it was.
        reason: "list": none may be used any more, or another one; "camera": no frames come;
            "audit": what is recorded cannot be stored; "stopped": the device stopped;
            "interrupted": found at the start: the device had ended without a word.
    """

    list: ListVersion
    reason: Literal["list", "camera", "audit", "stopped", "interrupted"]


class Reported(_Entry, frozen=True, kw_only=True, tag="reported"):
    """An event about a candidate was made (Art. 12(3)(c)): it says what led to the match.

    Recorded before the event is stored. If the device dies in between, the event was never sent and
    its number is given again: the newest record of an id counts.

    Attributes:
        event: its id.
        type: candidate, updated, ended or picture, as CloudEvents type.
        entry: id of the entry.
    """

    event: EventId
    type: Text
    entry: EntryId


class Lost(_Entry, frozen=True, kw_only=True, tag="lost"):
    """Events that were made will not be sent; the gap event says the same.

    Attributes:
        event: id of the gap event.
        lost: reports.
        pictures: sealed pictures.
        reason: why.
    """

    event: EventId
    lost: Count
    pictures: Count
    reason: Text


class Refused(_Entry, frozen=True, kw_only=True, tag="refused"):
    """Something the device was told was not accepted.

    Attributes:
        what: kind of message.
        reason: why.
        more: refusals before this one that were not recorded, because they came too fast.
    """

    what: Literal["list", "configuration", "command", "update"]
    reason: Text
    more: Count = 0


class Configured(_Entry, frozen=True, kw_only=True, tag="configured"):
    """The configuration changed while the device runs.

    Attributes:
        configuration: SHA-256 of the one in force now, hex.
        source: where it came from.
    """

    configuration: Hash
    source: Text


class Ordered(_Entry, frozen=True, kw_only=True, tag="ordered"):
    """A command was carried out.

    Attributes:
        command: what was to be done.
        by: who asked for it.
    """

    command: Text
    by: Text


class Updated(_Entry, frozen=True, kw_only=True, tag="updated"):
    """A new version was installed, has passed its self-test, and was kept.

    Attributes:
        what: was replaced.
        before: the version before; of models, the first 16 hex digits of the bundle's SHA-256.
        version: the one that runs now, likewise.
        sha256: of the bundle, hex.
    """

    what: Literal["software", "models"] = "software"
    before: Text
    version: Text
    sha256: Hash


class NotUpdated(_Entry, frozen=True, kw_only=True, tag="not-updated"):
    """A new version could not be installed, or was gone back from.

    Attributes:
        what: was to be replaced.
        version: of it; of models, the first 16 hex digits of the bundle's SHA-256.
        sha256: of the bundle, hex.
        reason: why.
    """

    what: Literal["software", "models"] = "software"
    version: Text
    sha256: Hash
    reason: Text


class Renewed(_Entry, frozen=True, kw_only=True, tag="renewed"):
    """The broker has taken a new client certificate, which replaces the one before.

    Attributes:
        sha256: of the certificate (DER), hex.
        until: when it ends, seconds since 1970.
    """

    sha256: Hash
    until: Count


class Degraded(_Entry, frozen=True, kw_only=True, tag="degraded"):
    """What is wrong has changed; nothing is wrong where `reasons` is empty."""

    reasons: tuple[Text, ...]


class ClockJumped(_Entry, frozen=True, kw_only=True, tag="clock-jumped"):
    """The wall clock was set, by so many seconds; times before and after do not compare."""

    seconds: float


class Repaired(_Entry, frozen=True, kw_only=True, tag="repaired"):
    """The last line was cut off in the middle, by a crash or a power cut, and was removed.

    Attributes:
        bytes: how long what was removed is.
        sha256: of it, hex.
    """

    bytes: Count
    sha256: Hash


class Broken(_Entry, frozen=True, kw_only=True, tag="broken"):
    """The log was found damaged beyond a torn last line; the chain goes on from what holds.

    Attributes:
        aside: name of the file that was set aside as it was found.
        sha256: of that file, hex.
        problem: what is wrong with it.
    """

    aside: Text
    sha256: Hash
    problem: Text


class Dropped(_Entry, frozen=True, kw_only=True, tag="dropped"):
    """The oldest records were removed, for their age or for room; the chain holds from there.

    Attributes:
        first: number of the first that was removed.
        head: number and hash of the last.
        reason: why.
    """

    first: Number
    head: Head
    reason: Literal["age", "room"]


Entry: TypeAlias = (
    Started
    | Stopped
    | ListTaken
    | ListDestroyed
    | UseBegan
    | UseGoesOn
    | UseEnded
    | Reported
    | Lost
    | Refused
    | Configured
    | Ordered
    | Updated
    | NotUpdated
    | Renewed
    | Degraded
    | ClockJumped
    | Repaired
    | Broken
    | Dropped
)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the log.

    Attributes:
        n: its number, from 1, one more each.
        time: by the device's clock, RFC 3339, UTC.
        prev: SHA-256 of the line before, hex; `BEGINNING` in the first.
        what: is recorded.
    """

    n: Number
    time: Time
    prev: Hash
    what: Entry


_decode = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Return a record as its line, without the line break."""
    return msgspec.json.encode(record)


def digest(line: bytes) -> str:
    """Return the hash that the next record holds of a line."""
    return hashlib.sha256(line).hexdigest()


def head(n: int, line_digest: str) -> str:
    """Return a head as events carry it."""
    return f"{n:020d}-{line_digest}"


class Link(msgspec.Struct, frozen=True):
    """A line, judged.

    Attributes:
        record: what it holds; None if it is no record.
        digest: its hash.
        problem: why it does not follow from the line before; empty if it does.
    """

    record: Record | None
    digest: str
    problem: str = ""


def follow(lines: Iterable[bytes], n: int | None = None, prev: str | None = None) -> Iterator[Link]:
    """Judge lines one after the other.

    Args:
        lines: without line breaks.
        n: number of the line before the first; None if the first may have any.
        prev: its hash; None if the first may follow anything.
    """
    for line in lines:
        record, problem, line_digest = None, "", digest(line)
        try:
            if len(line) > limits.AUDIT_LINE_BYTES:
                problem = f"malformed: longer than {limits.AUDIT_LINE_BYTES} bytes"
            else:
                record = _decode.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problem = f"malformed: {error}"
        if record is not None:
            if n is not None and record.n != n + 1:
                problem = f"missing: record {record.n} follows record {n}"
            elif prev is not None and record.prev != prev:
                problem = f"altered: record {record.n - 1} is not the one that {record.n} followed"
            n = record.n
        elif n is not None:
            n += 1
        prev = line_digest
        yield Link(record, line_digest, problem)
