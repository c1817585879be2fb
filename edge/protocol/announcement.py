"""What is announced to devices: a new version of their software. Pure.

A target `firmware/<compatible>` of the role `firmware`: TUF guards its signature and expiry, and
that no older one comes back. It names the bundle by length and hash, so the server that holds the
bundle is trusted with nothing. RAUC checks the bundle's own signature besides.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import FormatError

ROLE = "firmware"

# `$` alone would take a line break after it.
Compatible = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]
Version = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$(?!\n)",
        max_length=64,
    ),
]
"""A semantic version as RAUC reads it: up to three numbers, and what marks a pre-release."""
Percent = Annotated[int, Meta(ge=0, le=100)]
ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)")]
Url = Annotated[str, Meta(pattern=r"^https://[^\s/]+/\S*$(?!\n)", max_length=2048)]
Condition: TypeAlias = Literal["idle", "powered", "not-armed"]
"""What must hold when the other slot is written and when the device restarts: nobody on the list
is in view; it runs on mains power; it looks for nobody."""


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Window(_Struct, frozen=True, kw_only=True):
    """Part of the day, UTC, in which a device may download, install and restart.

    Attributes:
        begin: first minute.
        end: first minute after it; before `begin` for a window over midnight.
    """

    begin: ClockTime
    end: ClockTime

    def holds(self, minute: int) -> bool:
        """Return whether a minute of the day lies within; equal ends are the whole day."""
        begin, end = _minute(self.begin), _minute(self.end)
        if begin < end:
            return begin <= minute < end
        return minute >= begin or minute < end


class Rollout(_Struct, frozen=True, kw_only=True):
    """Which devices may install, and when the owner's side goes on or stops.

    Attributes:
        percent: of all devices, by hash (`percentile`).
        steps: percentages that follow, rising; each when all devices so far are well.
        stop_after_failures: with so many failures the owner's side halts it.
        halted: why nobody may install any more; empty while it goes on.
    """

    percent: Percent = 100
    steps: Annotated[tuple[Percent, ...], Meta(max_length=20)] = ()
    stop_after_failures: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    halted: Annotated[str, Meta(max_length=limits.REASON_CHARS)] = ""

    def __post_init__(self) -> None:
        rising = (self.percent, *self.steps)
        if any(a >= b for a, b in pairwise(rising)):
            raise ValueError("rollout: the steps must rise from percent on")


class Announcement(_Struct, frozen=True, kw_only=True):
    """The content of the target.

    Attributes:
        compatible: the devices it is for, as in RAUC's system.conf.
        version: of the software in the bundle.
        size: of the bundle, bytes.
        sha256: of the bundle, hex.
        urls: where it lies; tried one after the other.
        rollout: how far.
        window: when; any time if None.
        conditions: what must hold.
        allow_downgrade: an older version may be installed.
        attempt: higher than before where devices that have failed are to try once more.
    """

    schema: Literal[1] = 1
    compatible: Compatible
    version: Version
    size: Annotated[int, Meta(ge=1, le=limits.MAX_BUNDLE_BYTES)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    urls: Annotated[tuple[Url, ...], Meta(min_length=1, max_length=8)]
    rollout: Rollout = Rollout()
    window: Window | None = None
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=3)] = ("idle", "powered")
    allow_downgrade: bool = False
    attempt: Annotated[int, Meta(ge=1, le=1000)] = 1


def target_path(compatible: str) -> str:
    """Return the target that devices of this kind look for."""
    return f"{ROLE}/{compatible}"


def encode(announcement: Announcement) -> bytes:
    """Return the content of the target."""
    return msgspec.json.format(msgspec.json.encode(announcement))


def decode(content: bytes) -> Announcement:
    """Read the content of the target.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    if len(content) > limits.MAX_ANNOUNCEMENT_BYTES:
        raise FormatError(
            f"announcement of {len(content)} bytes, at most {limits.MAX_ANNOUNCEMENT_BYTES} read"
        )
    try:
        return msgspec.json.decode(content, type=Announcement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an announcement in the documented form: {error}") from error


def precedence(version: str) -> tuple[object, ...]:
    """Return what versions are ordered by (Semantic Versioning 2.0.0, clause 11).

    Args:
        version: in the form of `Version`; numbers that are left out are 0.
    """
    core, _, before = version.partition("-")
    numbers = [int(part) for part in core.split(".")]
    numbers += [0] * (3 - len(numbers))
    parts = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in (before.split(".") if before else ())
    )
    return (*numbers, not before, parts)


def percentile(device: str, sha256: str) -> float:
    """Return where a device stands in the roll-out of a bundle: from 0 up to, not including, 100.

    The bundle's hash is in it, so that it is not always the same devices that go first.
    """
    digest = hashlib.sha256(f"{sha256} {device}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * 100


def _minute(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])
