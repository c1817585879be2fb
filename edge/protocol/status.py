"""What a device says of itself: that it is there, which list it obeys, what is wrong, how it is.

Nothing about people, ever: no count of faces, no time of a sighting, no picture.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import FormatError

Kind = TypeVar("Kind", bound=msgspec.Struct)

AcceleratorName = Literal["edgetpu", "tensorrt"]
Role = Literal["detector", "scout", "embedder"]
"""What a network is for."""


class ListInForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list.

    Attributes:
        id: which.
        version: in which version.
        expires: until when, seconds since 1970.
        index: what it is searched with, in words.
    """

    id: str
    version: int
    expires: int
    index: str = ""


class AcceleratorState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An accelerator for the models. Where it does not work, the CPU does: nothing is missed.

    Attributes:
        back_end: which.
        networks: what it runs when it works.
        state: "starting": not ready yet; "working"; "failed": will be tried again.
        reason: why it has failed, in words; empty otherwise.
    """

    back_end: AcceleratorName
    networks: tuple[Role, ...]
    state: Literal["starting", "working", "failed"]
    reason: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retained status document.

    Attributes:
        state: "online", or "offline" as the last will or after a clean end.
        software: version of the software.
        list: the list in force, if any.
        stopped: whether a command to stop is in force.
        accelerators: those that the device was given, and how they are.
        reasons: why it is degraded, in words; empty if all is well.
    """

    state: Literal["online", "offline"]
    software: str = ""
    list: ListInForce | None = None
    stopped: bool = False
    accelerators: tuple[AcceleratorState, ...] = ()
    reasons: tuple[str, ...] = ()


Frames = Literal["ok", "few", "none", "unknown"]
Disk = Literal["ok", "low", "unknown"]
Temperature = Literal["normal", "warm", "hot", "unknown"]
Effort = Literal["full", "eased", "least"]


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retained telemetry document, at fixed times. docs/adr/0019 says why it holds no more.

    Attributes:
        time: of the sample, RFC 3339, UTC.
        uptime_s: seconds since the start, in whole periods.
        frames: whether the camera delivers: "ok", "few" (a live one: under 5 a second), "none".
        temperature: the worst class of the last day, each held for ten minutes.
        throttled: why a Raspberry Pi's firmware has slowed it down since the machine started.
        events_waiting: the fewest events that waited for the broker at any time of the period.
        effort: the hardest step by which the device has looked less in the last day: "eased", less
            often; "least", and in less detail.
        disk: whether there is room for a full outbox and two lists.
        certificate_ends: of the client certificate for the broker, seconds since 1970; None where
            there is none.
    """

    time: Annotated[str, Meta(max_length=40)]
    uptime_s: Annotated[int, Meta(ge=0)]
    frames: Frames
    temperature: Temperature
    throttled: Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=8)]
    events_waiting: Annotated[int, Meta(ge=0)]
    effort: Effort
    disk: Disk
    certificate_ends: int | None = None


def parse(message: bytes) -> Status:
    """Read a status.

    Raises:
        FormatError: too large, not JSON, or not in the documented form.
    """
    return _read(message, Status)


def parse_telemetry(message: bytes) -> Telemetry:
    """Read telemetry.

    Raises:
        FormatError: too large, not JSON, or not in the documented form.
    """
    return _read(message, Telemetry)


def _read(message: bytes, kind: type[Kind]) -> Kind:
    if len(message) > limits.MAX_STATUS_BYTES:
        raise FormatError(
            f"status of {len(message)} bytes, at most {limits.MAX_STATUS_BYTES} are read"
        )
    try:
        return msgspec.json.decode(message, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not a status in the documented form: {error}") from error


OFFLINE = msgspec.json.encode(Status(state="offline"))
