"""What a device says of its updates: one retained document, signed by the device. Pure.

Signed, because a roll-out goes on or stops by it: whoever may write to the broker must not be able
to fake a failure, or a success. A broker can still show an old one, or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import FormatError, SignatureRefused
from edge.protocol.announcement import Percent
from edge.protocol.event import Time
from edge.protocol.signing import sign_document, verify_document
from edge.protocol.watchlist import Name

SIGNED_AS = "lethe-update+jws"

State = Literal[
    "current",  # nothing newer is announced, or it runs
    "waiting",  # may not be installed yet; the reason says what for
    "downloading",
    "installing",
    "restarting",  # installed; restarts when it may
    "trying",  # the new version runs, and has not been kept yet
    "refused",  # is not installed; the reason says why
    "failed",  # could not be fetched or installed
    "gone-back",  # was installed and not kept; the reason says why
    "unsupported",  # a system without slots: others update it
]
FAILURES = ("failed", "gone-back")
ModelsState = Literal["current", "waiting", "trying", "refused", "gone-back"]
Text = Annotated[str, Meta(max_length=limits.REASON_CHARS)]
Short = Annotated[str, Meta(max_length=64)]


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Software(_Struct, frozen=True, kw_only=True):
    """The image.

    Attributes:
        state: how it stands.
        version: that runs.
        target: that is announced; empty if none is.
        sha256: of the announced bundle.
        attempt: of the announcement.
        percent: of the download or the installation.
        reason: why it waits, is refused or has failed.
        compatible: the kind of device; empty where there are no slots.
    """

    state: State
    version: Short
    target: Short = ""
    sha256: Short = ""
    attempt: int = 0
    percent: Percent = 0
    reason: Text = ""
    compatible: Short = ""


class Models(_Struct, frozen=True, kw_only=True):
    """The models.

    Attributes:
        state: how they stand.
        active: the first 16 hex digits of the bundle's SHA-256, or "shipped".
        target: the same of what is announced; empty if nothing is.
        reason: why it waits, was refused or gone back from.
    """

    state: ModelsState = "current"
    active: Short = "shipped"
    target: Short = ""
    reason: Text = ""


class Update(_Struct, frozen=True, kw_only=True):
    """The document.

    Attributes:
        device: whose.
        time: when it was made, by the device's clock.
        software: the image.
        models: the models.
        signature: detached JWS over the rest.
    """

    device: Name
    time: Time
    software: Software
    models: Models = Models()
    signature: str = ""


def encode(update: Update, key: Ed25519PrivateKey) -> bytes:
    """Sign an update document and return it as it is sent."""
    body = msgspec.to_builtins(update)
    return msgspec.json.encode(sign_document(body, typ=SIGNED_AS, key=key))


def decode(message: bytes, device: str, trusted: Iterable[Ed25519PublicKey]) -> Update:
    """Read an update document, and check who signed it.

    Args:
        message: as it came.
        device: on whose topic.
        trusted: that device's keys.

    Raises:
        FormatError: too large, or not in the documented form.
        SignatureRefused: unsigned, altered, or another device's.
    """
    if len(message) > limits.MAX_STATUS_BYTES:
        raise FormatError(f"update of {len(message)} bytes")
    try:
        document: dict[str, Any] = msgspec.json.decode(message, type=dict[str, Any])
        update = msgspec.convert(document, Update)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an update in the documented form: {error}") from error
    verify_document(document, typ=SIGNED_AS, trusted=trusted)
    if update.device != device:
        raise SignatureRefused(f"signed by {update.device}, on the topic of {device}")
    return update
