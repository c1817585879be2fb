"""What a device reports: of candidates, of what was lost, of destroyed lists, of its audit log.

An event is a CloudEvents 1.0 object in JSON with a detached JWS in its member `signature`
(`edge.protocol.signing.sign_document`). It is made here and read here; docs/mqtt.md and
docs/schemas/ describe it for others. A new kind is a class and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol import signing
from edge.protocol.watchlist import EntryId, Name, Purpose

TYP = "lethe-event+jws"

Score = Annotated[float, Meta(ge=-1, le=1)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(min_length=1, max_length=128)]
Time = Annotated[datetime, Meta(tz=True)]
EventId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}-[0-9]{20}$")]
Head = Annotated[str, Meta(pattern="^[0-9]{20}-[0-9a-f]{64}$")]
"""Number and SHA-256 of an audit record: all records up to it are bound by it."""


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


class _Resemblance(_Part, frozen=True, kw_only=True):
    """What a candidate and its updates have in common.

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
        quality: of the best view.
        box: of the face when it was decided.
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
    quality: Quality
    box: Box
    last_frame: Count


class Candidate(_Resemblance, frozen=True, kw_only=True):
    """Someone in view resembles an entry.

    Attributes:
        models: name to the first 16 hex digits of the file's SHA-256.
        first_frame: number of the frame in which the track began.
    """

    models: dict[Text, Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]]
    first_frame: Count


class Updated(_Resemblance, frozen=True, kw_only=True):
    """A later view changed the score of a candidate, or a newer list confirmed it.

    Attributes:
        candidate: id of its event.
    """

    candidate: EventId


class Ended(_Part, frozen=True, kw_only=True):
    """A candidate is no longer in view. Its life is over: nothing more refers to it.

    Attributes:
        candidate: id of its event.
        entry: id of the entry.
        reason: "left": not seen and confirmed for two seconds; "list-over": no list is in force any
            more; "stopped": the device or its source ended; "restarted": the device ended without
            a word while the candidate was in view, and has started again.
        last_frame: number of the last frame it was seen in; absent after a restart.
    """

    candidate: EventId
    entry: EntryId
    reason: Literal["left", "list-over", "stopped", "restarted"]
    last_frame: Count | msgspec.UnsetType = msgspec.UNSET


class Picture(_Part, frozen=True, kw_only=True):
    """The face of a candidate, for the reviewers' eyes only.

    Attributes:
        candidate: id of the event it belongs to.
        entry: id of the entry.
        recipient: first 16 hex digits of the SHA-256 of the reviewers' public key.
        sealed: HPKE (RFC 9180, base mode, X25519, HKDF-SHA256, AES-256-GCM) of a JPEG: the
            encapsulated key, then the ciphertext; base64. `info` is `picture_info(candidate)`.
    """

    candidate: EventId
    entry: EntryId
    recipient: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    sealed: Annotated[bytes, Meta(min_length=49, max_length=limits.PICTURE_MAX_BYTES + 48)]


class Gap(_Part, frozen=True, kw_only=True):
    """Events that were made and will not come.

    Attributes:
        lost: how many reports; 0 if it is not known.
        pictures: how many sealed pictures of candidates.
        reason: why, in words.
        first: the first of their numbers; 0 if it is not known.
        last: the last of their numbers; 0 if none of them had one yet.
        missing: how many numbers from first to last will not come, those of earlier gaps included;
            0 with a `last` means that it is not known.
    """

    lost: Count
    pictures: Count = 0
    reason: Annotated[str, Meta(min_length=1, max_length=512)]
    first: Count = 0
    last: Count = 0
    missing: Count = 0


class AuditHead(_Part, frozen=True, kw_only=True):
    """Where the audit log stands: said now and then, so that its head is known elsewhere.

    Attributes:
        head: number and SHA-256 of the newest record.
    """

    head: Head


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


Data: TypeAlias = Candidate | Updated | Ended | Picture | Gap | Receipt | AuditHead
"""What an event may say."""

KINDS: dict[str, type[Data]] = {
    "lethe.match.candidate.v1": Candidate,
    "lethe.match.updated.v1": Updated,
    "lethe.match.ended.v1": Ended,
    "lethe.match.picture.v1": Picture,
    "lethe.events.gap.v1": Gap,
    "lethe.list.receipt.v1": Receipt,
    "lethe.audit.head.v1": AuditHead,
}
"""CloudEvents type, and what `data` then is."""

_TYPES = {kind: name for name, kind in KINDS.items()}


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The CloudEvents attributes; what `data` is, `type` says.

    Attributes:
        id: unique; a second delivery has the same. "<device>-<sequence>".
        source: "/lethe/device/<id>".
        type: kind of event.
        subject: id of the entry, where it is about one.
        time: when it was made, RFC 3339, UTC.
        sequence: 20 digits; one more for each event of this device.
        expirytime: from then on it is void, RFC 3339, UTC.
        audithead: where the device's audit log stood when it was made; for what is recorded, its
            own record included.
    """

    specversion: Literal["1.0"] = "1.0"
    id: EventId
    source: Annotated[str, Meta(pattern=r"^/lethe/device/[A-Za-z0-9._-]{1,64}$")]
    type: Annotated[str, Meta(pattern=r"^lethe\.[a-z]+\.[a-z]+\.v[0-9]+$")]
    subject: EntryId | msgspec.UnsetType = msgspec.UNSET
    time: Time
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: Annotated[str, Meta(pattern="^[0-9]{20}$")]
    expirytime: Time
    audithead: Head | msgspec.UnsetType = msgspec.UNSET
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

    @property
    def sequence(self) -> int:
        """Its number."""
        return int(self.envelope.sequence)


def event_id(device: str, sequence: int) -> str:
    """Return the id of a device's event."""
    return f"{device}-{sequence:020d}"


def sequence_of(identifier: str) -> int:
    """Return the number in the id of an event."""
    return int(identifier[-20:])


def type_of(data: Data) -> str:
    """Return the CloudEvents type of what an event says."""
    return _TYPES[type(data)]


def picture_info(candidate: str) -> bytes:
    """Return what binds a sealed picture to its candidate (`info` of RFC 9180, section 5.1)."""
    return b"lethe.match.picture.v1 " + candidate.encode()


def lifetime(data: Data) -> int:
    """Return the seconds after which an event is void and no longer kept."""
    return limits.PICTURE_EXPIRY_S if isinstance(data, Picture) else limits.EVENT_EXPIRY_S


def make(
    data: Data,
    *,
    device: str,
    sequence: int,
    now: float,
    key: Ed25519PrivateKey,
    head: str | None = None,
) -> dict[str, Any]:
    """Return a signed event.

    Args:
        data: what it says.
        device: id of the device.
        sequence: its number, at least 1.
        now: seconds since 1970.
        key: the device's.
        head: where its audit log stands.
    """
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id(device, sequence),
        "source": f"/lethe/device/{device}",
        "type": type_of(data),
        "time": rfc3339(now),
        "datacontenttype": "application/json",
        "sequence": f"{sequence:020d}",
        "expirytime": rfc3339(now + lifetime(data)),
        "data": msgspec.to_builtins(data),
    }
    if head is not None:
        document["audithead"] = head
    if isinstance(data, Candidate | Updated | Ended | Picture):
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
        kind = KINDS.get(envelope.type)
        if kind is None:
            raise FormatError(f"an event of unknown type {envelope.type}")
        data: Data = msgspec.json.decode(envelope.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an event in the documented form: {error}") from error
    event = Event(envelope=envelope, data=data, document=document)
    if envelope.id != event_id(event.device, event.sequence):
        raise FormatError("id is not that of source and sequence")
    about = getattr(data, "entry", msgspec.UNSET)
    if envelope.subject != about:
        raise FormatError("subject and data.entry differ")
    return event


def verify(event: Event, *, trusted: Iterable[Ed25519PublicKey], now: float) -> str:
    """Check an event's signature and time and return the signer's key id.

    Args:
        event: from `parse`.
        trusted: keys of the devices that are listened to.
        now: seconds since 1970.

    Raises:
        SignatureRefused: unsigned, altered, or by a key that is not trusted.
        EventExpired: its time is over: a replay of an old event does nothing.
        FormatError: it has no canonical form.
    """
    signer = signing.verify_document(event.document, typ=TYP, trusted=trusted)
    if event.envelope.expirytime.timestamp() <= now:
        raise EventExpired(f"event {event.envelope.id} expired at {event.envelope.expirytime}")
    return signer


class EventExpired(FormatError):
    """An authentic event whose time is over."""


def rfc3339(seconds: float) -> str:
    """Return a moment as RFC 3339 in UTC, to the millisecond.

    Args:
        seconds: since 1970.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
