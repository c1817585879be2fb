"""The life of a candidate: reported once, updated when it matters, ended when it is over. Pure.

A sighting is an entry that somebody in view resembles, over all tracks that name it, from its first
report until nobody has been seen and confirmed for `limits.COOL_DOWN_S`. Someone lost for a shorter
time is the same sighting.

An update is told when the score has changed by `limits.UPDATE_SCORE` or another version of the list
has confirmed the candidate; at most `limits.UPDATES_MAX` times, `limits.UPDATE_PAUSE_S` apart.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge import limits
from edge.watchlist.decide import Decision


class Sighting(msgspec.Struct):
    """A candidate in view.

    Attributes:
        number: within this run.
        entry: id of the entry.
        last_frame: index of the last frame it was seen in.
        last_seconds: time of that frame.
        score: as it was last told.
        version: of the list, as it was last told.
        told_seconds: when that was.
        updates: how often.
    """

    number: int
    entry: str
    last_frame: int
    last_seconds: float
    score: float
    version: int
    told_seconds: float
    updates: int = 0


class Sightings:
    """The candidates in view, one an entry."""

    def __init__(self) -> None:
        self._open: dict[str, Sighting] = {}
        self._next = 1

    def decided(
        self, decision: Decision, version: int, frame: int, seconds: float
    ) -> tuple[Sighting, Literal["candidate", "updated"] | None]:
        """Take a decision about a track.

        Args:
            decision: it names the entry.
            version: of the list.
            frame: index of the frame in which the track was last seen.
            seconds: time of that frame.

        Returns:
            The sighting, and what is to be told of it, if anything.
        """
        sighting = self._open.get(decision.entry)
        if sighting is None:
            sighting = Sighting(
                self._next, decision.entry, frame, seconds, decision.score, version, seconds
            )
            self._next += 1
            self._open[decision.entry] = sighting
            return sighting, "candidate"
        self.seen(decision.entry, frame, seconds)
        changed = (
            abs(decision.score - sighting.score) >= limits.UPDATE_SCORE
            or version != sighting.version
        )
        if (
            not changed
            or sighting.updates >= limits.UPDATES_MAX
            or seconds - sighting.told_seconds < limits.UPDATE_PAUSE_S
        ):
            return sighting, None
        sighting.score, sighting.version = decision.score, version
        sighting.told_seconds, sighting.updates = seconds, sighting.updates + 1
        return sighting, "updated"

    def seen(self, entry: str, frame: int, seconds: float) -> None:
        """Take note that a candidate is in view; nothing if its sighting is over."""
        sighting = self._open.get(entry)
        if sighting is not None and seconds >= sighting.last_seconds:
            sighting.last_frame, sighting.last_seconds = frame, seconds

    def over(self, seconds: float) -> list[Sighting]:
        """Forget and return the sightings that have ended by now."""
        ended = [s for s in self._open.values() if seconds - s.last_seconds >= limits.COOL_DOWN_S]
        for sighting in ended:
            del self._open[sighting.entry]
        return ended

    def end_all(self) -> list[Sighting]:
        """Forget and return all of them."""
        ended = list(self._open.values())
        self._open.clear()
        return ended
