"""What has come from each device: which number is next, which are missing, whose key signs. Pure.

An event is taken once, in the order of its device's numbers, and from the one key of that device.
What is not is refused by name:

    malformed        no event in the documented form
    altered          unsigned, or the signature does not hold
    another-device   signed by another key than that of the device it names, or on another's topic
    expired          its time is over
    replayed         it has come before
    reordered        it comes after one with a higher number

A number that is skipped is a hole, until a gap event of the device explains it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge import limits
from edge.errors import FormatError, SignatureRefused, SignerRefused
from edge.protocol import event
from edge.protocol.event import Event, Gap

Refusal = Literal[
    "malformed", "altered", "another-device", "expired", "replayed", "reordered", "unchecked"
]
"""Why an event is not taken; "unchecked": no key to check it with was given."""


class Keys(msgspec.Struct, frozen=True):
    """Whom a reader listens to.

    Attributes:
        named: device to its key.
        any: keys of devices that are not named; the first one that signs for a device stays its.
    """

    named: Mapping[str, Ed25519PublicKey] = {}
    any: Sequence[Ed25519PublicKey] = ()

    def of(self, device: str) -> list[Ed25519PublicKey]:
        """Return the keys that may sign for a device."""
        return [self.named[device]] if device in self.named else list(self.any)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.named or self.any)


class DeviceLedger(msgspec.Struct, kw_only=True):
    """What has come from one device.

    Attributes:
        signer: id of the key that signs for it.
        highest: the highest number that has come.
        holes: first and last of each run of numbers that has not.
    """

    signer: str
    highest: int
    holes: list[tuple[int, int]] = []


class Refused(Exception):
    """An event that is not taken.

    Attributes:
        name: why, in one word.
    """

    def __init__(self, name: Refusal, problem: str) -> None:
        super().__init__(problem)
        self.name = name


class Ledger(msgspec.Struct):
    """What has come from all devices."""

    devices: dict[str, DeviceLedger] = {}

    def take(
        self, message: bytes, keys: Keys, *, now: float, device: str | None = None
    ) -> tuple[Event, tuple[int, int] | None]:
        """Check an event and take note of it.

        Args:
            message: as it came.
            keys: whom to listen to.
            now: seconds since 1970.
            device: id in the topic it came on, if known.

        Returns:
            The event, and the run of numbers skipped before it, if any.

        Raises:
            Refused: naming why; nothing was noted.
        """
        read = parse(message)
        identifier = read.envelope.id
        if device is not None and device != read.device:
            raise Refused("another-device", f"{identifier} came on the topic of device {device}")
        if not keys:
            raise Refused("unchecked", "signature not checked: no --device-key was given")
        try:
            signer = event.verify(read, trusted=keys.of(read.device), now=now)
        except SignerRefused as error:
            raise Refused("another-device", f"{identifier}: {error}") from error
        except SignatureRefused as error:
            raise Refused("altered", f"{identifier}: {error}") from error
        except event.EventExpired as error:
            raise Refused("expired", str(error)) from error
        except FormatError as error:
            raise Refused("malformed", str(error)) from error
        return read, self._note(read, signer)

    def _note(self, read: Event, signer: str) -> tuple[int, int] | None:
        identifier, number = read.envelope.id, read.sequence
        known = self.devices.get(read.device)
        if known is None:
            self.devices[read.device] = DeviceLedger(signer=signer, highest=number)
            return None
        if signer != known.signer:
            raise Refused(
                "another-device",
                f"{identifier} is signed by {signer}, so far it was {known.signer}",
            )
        if number <= known.highest:
            if any(first <= number <= last for first, last in known.holes):
                raise Refused("reordered", f"{identifier} comes after number {known.highest}")
            raise Refused("replayed", f"{identifier} has come before")
        hole = (known.highest + 1, number - 1) if number > known.highest + 1 else None
        if hole is not None:
            known.holes = [*known.holes, hole][-limits.LEDGER_MAX_HOLES :]
        known.highest = number
        if isinstance(read.data, Gap):
            known.holes = _unexplained(known.holes, read.data)
        return hole


def parse(message: bytes) -> Event:
    """Read an event.

    Raises:
        Refused: it is none.
    """
    try:
        return event.parse(message)
    except FormatError as error:
        raise Refused("malformed", str(error)) from error


def _unexplained(holes: Sequence[tuple[int, int]], gap: Gap) -> list[tuple[int, int]]:
    """Return the holes that a gap does not explain: outside its numbers, or more than it says."""
    within = [hole for hole in holes if gap.first <= hole[0] and hole[1] <= gap.last]
    if gap.missing and sum(last - first + 1 for first, last in within) > gap.missing:
        return list(holes)
    return [hole for hole in holes if hole not in within]
