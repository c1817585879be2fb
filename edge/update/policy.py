"""Whether a device installs what is announced, now, later or not at all. Pure.

Three answers, each with its reason: refused (waiting does not help), waiting (it may), or neither.
The order is from what is never right to what is only a matter of time, so that the reason named is
the one that matters.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from edge.protocol.announcement import Announcement, percentile, precedence


class Failure(msgspec.Struct, frozen=True):
    """A bundle that was tried.

    Attributes:
        sha256: of it.
        attempt: of its announcement.
        state: it was not installed, or not kept.
        reason: why.
    """

    sha256: str
    attempt: int
    state: Literal["failed", "gone-back"]
    reason: str


class Facts(msgspec.Struct, frozen=True):
    """What is so on the device at the moment.

    Attributes:
        device: its id.
        compatible: what it takes.
        version: what runs.
        minute: of the day, UTC; None if the clock is in doubt.
        candidate: somebody on the list is in view.
        powered: it runs on mains power; None if nobody knows.
        armed: it looks for somebody.
        failures: what was tried before.
    """

    device: str
    compatible: str
    version: str
    minute: int | None
    candidate: bool
    powered: bool | None
    armed: bool
    failures: Collection[Failure] = ()


def is_current(announcement: Announcement, facts: Facts) -> bool:
    """Return whether the announced version is the one that runs."""
    return precedence(announcement.version) == precedence(facts.version)


def is_older(announcement: Announcement, facts: Facts) -> bool:
    """Return whether the announced version is older than the one that runs."""
    return precedence(announcement.version) < precedence(facts.version)


def tried(announcement: Announcement, facts: Facts) -> Failure | None:
    """Return how the bundle failed here, unless its announcement asks for another attempt."""
    for failure in facts.failures:
        if failure.sha256 == announcement.sha256 and failure.attempt >= announcement.attempt:
            return failure
    return None


def refusal(announcement: Announcement, facts: Facts) -> str:
    """Return why the announced version is never to be installed here; empty if it may be."""
    if announcement.compatible != facts.compatible:
        return f"for {announcement.compatible}, this device is a {facts.compatible}"
    if is_older(announcement, facts) and not announcement.allow_downgrade:
        return (
            f"older: {announcement.version} is announced, {facts.version} runs, and going down was "
            "not signed for"
        )
    return ""


def waiting(announcement: Announcement, facts: Facts, *, touching: bool) -> str:
    """Return what a device waits for; empty if it may go on.

    Args:
        announcement: not refused.
        facts: at the moment.
        touching: whether it is about to write a slot or to restart; a download needs less.
    """
    if announcement.rollout.halted:
        return f"halted: {announcement.rollout.halted}"
    if percentile(facts.device, announcement.sha256) >= announcement.rollout.percent:
        return f"the roll-out has reached {announcement.rollout.percent} % of the devices"
    if announcement.window is not None:
        if facts.minute is None:
            return "the clock is in doubt: no window can be kept"
        if not announcement.window.holds(facts.minute):
            return f"its time is {announcement.window.begin} to {announcement.window.end} UTC"
    if not touching:
        return ""
    conditions = announcement.conditions
    if "not-armed" in conditions and facts.armed:
        return "a list is in force"
    if "idle" in conditions and facts.candidate:
        return "a candidate is in view"
    if "powered" in conditions and facts.powered is not True:
        return "runs on its battery" if facts.powered is False else "nothing says what powers it"
    return ""
