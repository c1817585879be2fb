"""What a device reports: a candidate, reports that were lost, a list that was destroyed.

An event is a CloudEvents 1.0 object in JSON with a detached JWS in its member `signature`
(`edge.protocol.signing.sign_document`). It is made here and read here; docs/mqtt.md and
docs/schemas/ describe it for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol import signing
from edge.protocol.watchlist import EntryId, Name, Purpose

TYP = "lethe-event+jws"
CANDIDATE_TYPE = "lethe.match.candidate.v1"
GAP_TYPE = "lethe.events.gap.v1"
RECEIPT_TYPE = "lethe.list.receipt.v1"

Score = Annotated[float, Meta(ge=-1, le=1)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(min_length=1, max_length=128)]
Time = Annotated[datetime, Meta(tz=True)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the message: keyword only, nothing unknown."""


class Box(_Part, frozen=True, kw_only=True):
    """Where the face was, in pixels of the frame; may reach over its edge."""

    x: float
    y: float
    width: Annotated[float, Meta(gt=0)]
    height: Annotated[float, Meta(gt=0)]
    frame_width: Annotated[int, Meta(ge=1, le=limits.MAX_FRAME_SIDE)]
    frame_height: Annotated[int, Meta(ge=1, le=limits.MAX_FRAME_SIDE)]


class Quality(_Part, frozen=True, kw_only=True):
    """How good the best view was; meanings and units as in `edge.vision.quality.Quality`."""

    eye_distance: Annotated[float, Meta(ge=0)]
    sharpness: Ratio
    brightness: Ratio
    contrast: Ratio
    frontality: Ratio


class ListVersion(_Part, frozen=True, kw_only=True):
    """Which list the candidate is on."""

    id: Name
    version: Count


class Candidate(_Part, frozen=True, kw_only=True):
    """Someone in view resembles an entry.

    Attributes:
        status: always "candidate": nobody is identified by a machine.
        review: what has to happen before anything is done.
        entry: id of the entry.
        score: cosine of the track's fused template with the entry's.
        threshold: what it had to reach.
        fpir_target: what the threshold follows from.
        views: separate views of the face that were compared.
        agreeing: those of them that name this entry.
        list: which list.
        authorisation: the reference of its authorisation.
        purpose: what the list is for.
        models: name to the first 16 hex digits of the file's SHA-256.
        quality: of the best view.
        box: of the face when it was decided.
        first_frame: number of the frame in which the track began.
        last_frame: number of the frame in which it was decided.
    """

    status: Literal["candidate"] = "candidate"
    review: Literal["human-before-action"] = "human-before-action"
    entry: EntryId
    score: Score
    threshold: Score
    fpir_target: Annotated[float, Meta(gt=0, lt=1)]
    views: Annotated[int, Meta(ge=1, le=64)]
    agreeing: Annotated[int, Meta(ge=1, le=64)]
    list: ListVersion
    authorisation: Text
    purpose: Purpose
    models: dict[Text, Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]]
    quality: Quality
    box: Box
    first_frame: Count
    last_frame: Count


class Gap(_Part, frozen=True, kw_only=True):
    """Events that were made and will not come.

    Attributes:
        lost: how many; 0 if it is not known.
        reason: why, in words.
    """

    lost: Count
    reason: Annotated[str, Meta(min_length=1, max_length=512)]


class Ending(StrEnum):
    """Why a list has ended on a device."""

    EXPIRED = "expired"
    NOT_COUNTERSIGNED = "not-countersigned"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    STOPPED = "stopped"
    NOT_AUTHORISED = "not-authorised"


class Receipt(_Part, frozen=True, kw_only=True):
    """A list has been destroyed on this device. Says nothing about the people who were on it.

    Attributes:
        list: which list.
        digest: SHA-256 of its sealed head, hex: which content of that version it was.
        reason: why it ended.
        ended: from then on nobody was found by it, RFC 3339, UTC.
        destroyed: by then all of `what` was gone.
        what: what was destroyed: the key first, so that nothing could be read from then on.
    """

    list: ListVersion
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    reason: Ending
    ended: Time
    destroyed: Time
    what: tuple[Literal["key", "index", "segments", "head"], ...] = (
        "key", "index", "segments", "head",
    )  # fmt: skip


Data = Candidate | Gap | Receipt
"""What an event may say."""

_TYPES: dict[str, type[Candidate] | type[Gap] | type[Receipt]] = {
    CANDIDATE_TYPE: Candidate,
    GAP_TYPE: Gap,
    RECEIPT_TYPE: Receipt,
}


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The CloudEvents attributes; what `data` is follows from `type`.

    Attributes:
        id: unique; a second delivery has the same.
        source: "/lethe/device/<id>".
        type: kind of event.
        subject: entry id of a candidate.
        time: when it was made, RFC 3339, UTC.
        sequence: 20 digits; one more for each event of this device.
        expirytime: from then on it is void, RFC 3339, UTC.
    """

    specversion: Literal["1.0"] = "1.0"
    id: Text
    source: Annotated[str, Meta(pattern=r"^/lethe/device/[A-Za-z0-9._-]{1,64}$")]
    type: Literal["lethe.match.candidate.v1", "lethe.events.gap.v1", "lethe.list.receipt.v1"]
    subject: EntryId | msgspec.UnsetType = msgspec.UNSET
    time: Time
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: Annotated[str, Meta(pattern="^[0-9]{20}$")]
    expirytime: Time
    data: msgspec.Raw
    signature: Annotated[str, Meta(max_length=1024)] | msgspec.UnsetType = msgspec.UNSET


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has been read.

    Attributes:
        envelope: its attributes.
        data: what it says.
        document: all of it as it came.
    """

    envelope: Envelope
    data: Data
    document: dict[str, Any]

    @property
    def device(self) -> str:
        """Id of the device."""
        return self.envelope.source.rpartition("/")[2]


def make(
    data: Data, *, device: str, sequence: int, now: float, key: Ed25519PrivateKey
) -> dict[str, Any]:
    """Return a signed event.

    Args:
        data: what it says.
        device: id of the device.
        sequence: its number, at least 1.
        now: seconds since 1970.
        key: the device's.
    """
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{device}-{sequence:020d}",
        "source": f"/lethe/device/{device}",
        "type": next(name for name, kind in _TYPES.items() if isinstance(data, kind)),
        "time": _rfc3339(now),
        "datacontenttype": "application/json",
        "sequence": f"{sequence:020d}",
        "expirytime": _rfc3339(now + limits.EVENT_EXPIRY_S),
        "data": msgspec.to_builtins(data),
    }
    if isinstance(data, Candidate):
        document["subject"] = data.entry
    return signing.sign_document(document, typ=TYP, key=key)


def encode(document: Mapping[str, Any]) -> bytes:
    """Return an event as the bytes that go out."""
    return msgspec.json.encode(document)


def parse(message: bytes) -> Event:
    """Read an event and check its form, not its signature.

    Raises:
        FormatError: too large, not JSON, or not in the documented form.
    """
    if len(message) > limits.MAX_EVENT_BYTES:
        raise FormatError(
            f"event of {len(message)} bytes, at most {limits.MAX_EVENT_BYTES} are read"
        )
    try:
        document = msgspec.json.decode(message, type=dict[str, Any])
        envelope = msgspec.json.decode(message, type=Envelope)
        data: Data = msgspec.json.decode(envelope.data, type=_TYPES[envelope.type])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an event in the documented form: {error}") from error
    if isinstance(data, Candidate) and envelope.subject != data.entry:
        raise FormatError("subject and data.entry differ")
    return Event(envelope=envelope, data=data, document=document)


def verify(event: Event, *, trusted: Iterable[Ed25519PublicKey], now: float) -> str:
    """Check an event's signature and time and return the signer's key id.

    Args:
        event: from `parse`.
        trusted: keys of the devices that are listened to.
        now: seconds since 1970.

    Raises:
        SignatureRefused: unsigned, altered, or by a key that is not trusted.
        FormatError: expired: a replay of an old event does nothing.
    """
    signer = signing.verify_document(event.document, typ=TYP, trusted=trusted)
    if event.envelope.expirytime.timestamp() <= now:
        raise FormatError(f"event {event.envelope.id} expired at {event.envelope.expirytime}")
    return signer


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
