"""Configuration over MQTT: what the fleet wants of a device, and what the device says it does.

The desired document is a target of the role `config`, one a device; who signs it, and that it is
the newest, is TUF's to say (`edge.trust.client`). What its fields mean, and which of them it may
set, is the device's to judge (`edge.settings`). The reported document is retained on the device's
own topic. Neither holds a secret: both lie at the broker in clear.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol.watchlist import Name, Seconds

ROLE = "config"
Version = Annotated[int, Meta(ge=1, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Reason = Annotated[str, Meta(max_length=limits.REASON_CHARS)]
Source = Literal["default", "file", "fleet", "command line"]
"""Who has set a field: the last of these that says anything of it."""


def target(device: Name) -> str:
    """Return the name of the target that is a device's desired configuration."""
    return f"{ROLE}/{device}.json"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a document: keyword only, nothing unknown."""


class Desired(_Part, frozen=True, kw_only=True):
    """What the fleet wants of one device. It replaces the version before; nothing is added up.

    Attributes:
        device: its id.
        version: rises with every change.
        issued: when it was signed, seconds since 1970.
        settings: section to field to value, as in the device's own file. What is not named stays
            as that file has it.
    """

    schema: Literal[1] = 1
    device: Name
    version: Version
    issued: Seconds
    settings: dict[str, Any]


class Setting(_Part, frozen=True, kw_only=True):
    """A field as it is in force.

    Attributes:
        value: what it holds.
        source: who set it.
    """

    value: Any
    source: Source


class GoneBack(_Part, frozen=True, kw_only=True):
    """A version with which the device could not do its work.

    Attributes:
        version: which.
        reason: why, in words.
    """

    version: Version
    reason: Reason


class Reported(_Part, frozen=True, kw_only=True):
    """The retained document of what is in force, and why it is not what is desired.

    Attributes:
        version: of the fleet's document in force; 0: the device's own file alone.
        on_trial: whether it has still to show that the device works with it.
        desired: newest version that the fleet has signed for this device; 0: none.
        refused: why that one is not in force, in words; empty if it is, or is about to be.
        gone_back: the last version that was gone back from, until another one is desired.
        restart: fields that count after the restart that is about to come.
        fields: those that the fleet may set, by section and name.
    """

    schema: Literal[1] = 1
    version: Count
    on_trial: bool = False
    desired: Count = 0
    refused: Reason = ""
    gone_back: GoneBack | None = None
    restart: tuple[str, ...] = ()
    fields: dict[str, Setting]


Document = TypeVar("Document", Desired, Reported)


def encode(document: Desired | Reported) -> bytes:
    """Return a document as it travels."""
    return msgspec.json.encode(document, order="sorted")


def decode(content: bytes) -> Desired:
    """Read a desired document.

    Raises:
        FormatError: too large, not JSON, or not in the documented form.
    """
    return _decode(content, Desired, limits.MAX_DESIRED_BYTES)


def decode_reported(content: bytes) -> Reported:
    """Read a reported document; errors as `decode`."""
    return _decode(content, Reported, limits.MAX_REPORTED_BYTES)


def _decode(content: bytes, kind: type[Document], most: int) -> Document:
    if len(content) > most:
        raise FormatError(f"configuration of {len(content)} bytes, at most {most} are read")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not a configuration in the documented form: {error}") from error
