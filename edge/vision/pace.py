"""How hard to look at a frame. Pure: times in, effort out.

A face that has just come into view is looked for in nearly every frame, until its track has views
enough to be decided; a track that is decided, or has its views, is only followed; an empty scene
is searched now and then, and a still one seldom. Most looks are not at the whole frame in full:
around the faces known, or coarsely where nobody lacks views.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from edge import limits
from edge.protocol import status


class Effort(Enum):
    """How hard to look."""

    NONE = "none"
    COARSE = "coarse"  # the whole frame, in half the detail, and in full around what shows
    NEAR = "near"  # in full detail, around the faces known
    FULL = "full"


class Need(Enum):
    """What the tracks alive need; the first that applies to any of them."""

    FRESH = "fresh"  # one has just begun: its best view may be the next
    DECIDING = "deciding"  # one still lacks views
    FOLLOWING = "following"  # each has its views
    NOBODY = "nobody"  # none is alive


class Intervals(msgspec.Struct, frozen=True):
    """Seconds between two looks, by what is in view.

    Attributes:
        fresh: some track has just begun.
        deciding: some track still needs views.
        following: every track has its views; at most half of the time that a track may be lost.
        moving: nobody is in view, but something moves.
        still: nobody is in view and nothing moves.
        whole: longest time between two looks at the whole frame while a track is alive.
        gate: nobody is in view: between two comparisons of a frame with the last one looked at.
        half: every look is at the whole frame, in half the detail.
    """

    fresh: float
    deciding: float
    following: float
    moving: float
    still: float
    whole: float
    gate: float
    half: bool = False

    def stretched(
        self, factor: float, *, fresh: float | None = None, half: bool = False
    ) -> Intervals:
        """Return intervals that are so many times as long, `fresh` too unless it is given."""
        return Intervals(
            fresh=factor * self.fresh if fresh is None else fresh,
            deciding=factor * self.deciding,
            following=min(factor * self.following, limits.TRACK_LOST_S / 2),
            moving=factor * self.moving,
            still=factor * self.still,
            whole=factor * self.whole,
            gate=factor * self.gate,
            half=half,
        )


NORMAL = Intervals(
    fresh=limits.LOOK_FRESH_S,
    deciding=limits.LOOK_DECIDING_S,
    following=limits.LOOK_FOLLOWING_S,
    moving=limits.LOOK_MOVING_S,
    still=limits.LOOK_STILL_S,
    whole=limits.LOOK_WHOLE_S,
    gate=limits.LOOK_GATE_S,
)
EASED = NORMAL.stretched(limits.LOOK_EASED, fresh=NORMAL.fresh)
LEAST = NORMAL.stretched(limits.LOOK_LEAST, half=True)
BY_EFFORT: dict[status.Effort, Intervals] = {"full": NORMAL, "eased": EASED, "least": LEAST}
"""What the steps of `edge.health.budget` mean."""
EVERY_FRAME = Intervals(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Looks fully at each frame; what the savings are measured against."""


class Pace:
    """Decides, frame by frame. Not for use by two threads at once."""

    _looked: float
    _looked_everywhere: float
    _looked_fully: float
    _compared: float

    def __init__(self, intervals: Intervals = NORMAL) -> None:
        """Begin with a full look."""
        self.intervals = intervals  # may be replaced at any time, by any thread
        self.forget()

    def due(self, seconds: float, need: Need) -> bool:
        """Whether a frame is to be compared and perhaps looked at; others need not be decoded.

        While a track is alive, each is: a cut must not go unseen, and beside an earlier frame than
        the one before, motion looks like a cut.

        Args:
            seconds: time of the frame; never decreasing.
            need: of the tracks alive.
        """
        return need is not Need.NOBODY or (
            _over(seconds - self._looked, self.intervals.moving)
            and _over(seconds - self._compared, self.intervals.gate)
        )

    def effort(self, seconds: float, need: Need, *, cut: bool, moved: bool) -> Effort:
        """Return how hard to look at this frame.

        Args:
            seconds: time of the frame; never decreasing.
            need: of the tracks alive.
            cut: the frame shows another scene than the one before.
            moved: something has moved since the last look.
        """
        self._compared = seconds
        intervals = self.intervals
        match need:
            case Need.FRESH:
                interval = intervals.fresh
            case Need.DECIDING:
                interval = intervals.deciding
            case Need.FOLLOWING:
                interval = intervals.following
            case Need.NOBODY:
                interval = intervals.moving if moved else intervals.still
        if not cut and not _over(seconds - self._looked, interval):
            return Effort.NONE
        self._looked = seconds
        at_rest = need in (Need.FOLLOWING, Need.NOBODY)
        everywhere = interval if need is Need.NOBODY else intervals.whole
        full = limits.LOOK_COARSE_SHARE * everywhere if at_rest else everywhere
        if cut or _over(seconds - self._looked_fully, full):
            self._looked_fully = self._looked_everywhere = seconds
            return Effort.FULL
        if _over(seconds - self._looked_everywhere, everywhere):
            self._looked_everywhere = seconds
            return Effort.COARSE
        return Effort.NEAR

    def looked_fully(self, seconds: float) -> None:
        """Note that the whole frame was looked at in full after all."""
        self._looked_fully = self._looked_everywhere = seconds

    def forget(self) -> None:
        """Begin anew with a full look."""
        self._looked = self._looked_everywhere = self._looked_fully = float("-inf")
        self._compared = float("-inf")


def _over(elapsed: float, interval: float) -> bool:
    """Whether an interval is over; times of frames are rounded to milliseconds in containers."""
    return elapsed >= interval - 0.0005
