"""Who verified a candidate, and what came of it: signed lines beside an archive of events.

Regulation (EU) 2024/1689, Art. 14(5): nothing is done on a candidate before at least two people
have verified it, each on their own; Art. 12(3)(d): who they are is recorded. That is known where
people review, so it is recorded there, in `<archive>.reviews`: JSON Lines, only added to, each
signed by the reviewer and holding the SHA-256 of the line before. Nothing of it goes to a device.

The chain alone does not show that its last lines are gone. So whoever adds one is told its head,
number and hash, to keep elsewhere: where a head is known, all lines up to it must be there, as they
were (as the heads of the audit log in the events of a device, `fleet.audit`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import BadInput, ConfigError, FormatError, SignatureRefused, StorageUnavailable
from edge.protocol import signing
from edge.protocol.event import Event, EventId, Time
from edge.protocol.watchlist import Name

TYP = "lethe-review+jws"
BEGINNING = "0" * 64
_HEAD = re.compile(r"[0-9]{1,9}-[0-9a-f]{64}", re.ASCII)

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Review(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person's verdict on one candidate.

    Attributes:
        event: id of the candidate's event.
        digest: SHA-256 of that event's canonical form (RFC 8785), hex.
        verdict: what the person decided.
        reviewer: what the person is called.
        time: when, RFC 3339, UTC.
        note: in words.
        prev: SHA-256 of the line before; zeros in the first.
        signature: detached JWS by the reviewer's key, `typ` "lethe-review+jws".
    """

    event: EventId
    digest: Hash
    verdict: Literal["confirmed", "rejected"]
    reviewer: Name
    time: Time
    note: Annotated[str, Meta(max_length=limits.REASON_CHARS)] = ""
    prev: Hash
    signature: Annotated[str, Meta(max_length=1024)] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Judged:
    """A line, and what is wrong with it; empty if nothing is."""

    number: int
    review: Review | None
    problem: str = ""


def path_of(archive: Path) -> Path:
    """Return where the reviews of an archive lie."""
    return archive.with_name(archive.name + ".reviews")


def digest_of(event: Event) -> str:
    """Return what binds a review to all that an event says."""
    return hashlib.sha256(signing.canonical(event.document)).hexdigest()


def add(
    archive: Path,
    event: Event,
    verdict: Literal["confirmed", "rejected"],
    reviewer: str,
    key: Ed25519PrivateKey,
    now: float,
    note: str = "",
) -> Review:
    """Add a verdict. Other lines stay as they are.

    Raises:
        ConfigError: what is there already cannot be read, or the reviewer's name is none.
        StorageUnavailable: it cannot be written.
    """
    file = path_of(archive)
    review = Review(
        event=event.envelope.id,
        digest=digest_of(event),
        verdict=verdict,
        reviewer=reviewer,
        time=datetime.fromtimestamp(now, UTC),
        note=note,
        prev=_last(file)[1],
    )
    content = msgspec.to_builtins(review)
    try:
        msgspec.convert(content, Review)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a review that could not be read again: {error}") from error
    document = signing.sign_document(content, typ=TYP, key=key)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as out:
            out.write(msgspec.json.encode(document) + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise StorageUnavailable(f"{file}: {error.strerror}") from error
    return review


def head(archive: Path) -> str:
    """Return where the reviews of an archive stand: number and SHA-256 of the last line.

    Raises:
        ConfigError: they cannot be read.
    """
    number, digest = _last(path_of(archive))
    return f"{number}-{digest}"


def judge(
    archive: Path,
    events: Mapping[str, Event],
    reviewers: Mapping[str, Ed25519PublicKey],
    heads: Iterable[str] = (),
) -> Iterator[Judged]:
    """Check the reviews of an archive: form, chain, signature, and that they are about its events.

    Args:
        archive: the archive.
        events: its trusted events by id.
        reviewers: keys of those who review, by what they are called.
        heads: where the reviews stood when somebody noted it (`head`).

    Raises:
        ConfigError: they cannot be read, or a head is none.
    """
    number, prev, known = 0, BEGINNING, _noted(heads)
    for number, line in enumerate(_lines(path_of(archive)), 1):
        review = None
        try:
            review, document = _read(line)
            if review.prev != prev:
                raise FormatError("a line before it was changed, left out or moved")
            if review.reviewer not in reviewers:
                raise SignatureRefused(f"{review.reviewer}: no --reviewer-key for them")
            signing.verify_document(document, typ=TYP, trusted=[reviewers[review.reviewer]])
            about = events.get(review.event)
            if about is None or digest_of(about) != review.digest:
                raise FormatError(f"not about an event of this archive: {review.event}")
        except BadInput as error:
            yield Judged(number, review, str(error))
        else:
            yield Judged(number, review)
        prev = hashlib.sha256(line).hexdigest()
        if known.pop(number, {prev}) != {prev}:
            yield Judged(number, None, "another one was here when its head was noted")
    for noted in sorted(known):
        yield Judged(noted, None, f"was there when its head was noted; there are {number} now")


def outcome(reviews: list[Review], persons: int) -> str:
    """Return what the verdicts on one candidate come to; each person's last one counts.

    Args:
        reviews: of one candidate, in order.
        persons: so many must have confirmed it, and nobody rejected it.
    """
    last = {review.reviewer: review.verdict for review in reviews}
    if "rejected" in last.values():
        return "rejected"
    return "confirmed" if len(last) >= persons else "open"


def _noted(heads: Iterable[str]) -> dict[int, set[str]]:
    """Return number of a line to what its hash was."""
    found: dict[int, set[str]] = {}
    for each in heads:
        if not _HEAD.fullmatch(each):
            raise ConfigError(f"{each!r}: no head of reviews: NUMBER-SHA256, as `review` says it")
        number, _, digest = each.partition("-")
        if int(number):  # 0: there was none yet
            found.setdefault(int(number), set()).add(digest)
    return found


def _read(line: bytes) -> tuple[Review, dict[str, Any]]:
    try:
        return (
            msgspec.json.decode(line, type=Review),
            msgspec.json.decode(line, type=dict[str, Any]),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not in the documented form: {error}") from error


def _last(file: Path) -> tuple[int, str]:
    """Return number and hash of the last line."""
    number, digest = 0, BEGINNING
    for line in _lines(file):
        number, digest = number + 1, hashlib.sha256(line).hexdigest()
    return number, digest


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as read:
            while line := read.readline(limits.AUDIT_LINE_BYTES + 1):
                if len(line) > limits.AUDIT_LINE_BYTES or not line.endswith(b"\n"):
                    raise ConfigError(f"{file}: a line is cut off, or longer than any review")
                yield line.rstrip(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
