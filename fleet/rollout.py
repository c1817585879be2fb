"""A staged roll-out, from the owner's side: what devices report, and what follows from it. Pure.

A device decides by itself whether it is among the first (`edge.protocol.announcement.percentile`).
Here it is decided when the next ones follow, and when nobody does any more. Either is a new
announcement, signed like the first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from edge.errors import short
from edge.protocol.announcement import Announcement, percentile
from edge.protocol.update import FAILURES, Update

NAMED = 5
"""So many failed devices are named in the reason."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A device of the fleet, as far as it is known.

    Attributes:
        device: its id.
        update: what it reported, signed; None if nothing that holds.
        problem: why there is nothing; empty if there is.
    """

    device: str
    update: Update | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Halt:
    """Nobody may install it any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Raise:
    """The next step: so many percent."""

    percent: int


Move: TypeAlias = Halt | Raise | None
Standing: TypeAlias = Literal["done", "failed", "under way", "not reached", "unknown"]


def standing(announcement: Announcement, seen: Seen) -> Standing:
    """Return how a device stands to an announcement; only what its own report shows counts."""
    if seen.update is None or seen.update.software.compatible != announcement.compatible:
        return "unknown"
    software = seen.update.software
    if (software.sha256, software.attempt) == (announcement.sha256, announcement.attempt):
        if software.state in FAILURES:
            return "failed"
        if software.state == "current":
            return "done"
    reached = percentile(seen.device, announcement.sha256) < announcement.rollout.percent
    return "under way" if reached else "not reached"


def move(announcement: Announcement, fleet: Collection[Seen]) -> Move:
    """Return what follows from the devices' reports.

    It stops when `stop_after_failures` devices have failed. It goes on when all devices that were
    reached are done, the silent ones included: one that is away for long holds the steps up until
    the owner goes on by hand.
    """
    rollout = announcement.rollout
    if rollout.halted:
        return None
    stands = {seen.device: standing(announcement, seen) for seen in fleet}
    failed = sorted(device for device, stand in stands.items() if stand == "failed")
    if len(failed) >= rollout.stop_after_failures:
        named = ", ".join(failed[:NAMED]) + (", …" if len(failed) > NAMED else "")
        reason = f"{len(failed)} of {len(stands)} devices failed: {named}"
        return Halt(short(reason))
    known = [stand for stand in stands.values() if stand != "unknown"]
    if rollout.steps and known and not {"failed", "under way"} & set(known):
        return Raise(rollout.steps[0])
    return None


def applied(announcement: Announcement, what: Halt | Raise) -> Announcement:
    """Return the announcement after a move."""
    rollout = announcement.rollout
    if isinstance(what, Halt):
        changed = msgspec.structs.replace(rollout, halted=what.reason)
    else:
        left = tuple(step for step in rollout.steps if step > what.percent)
        changed = msgspec.structs.replace(rollout, percent=what.percent, steps=left, halted="")
    return msgspec.structs.replace(announcement, rollout=changed)
