"""Whether the clock may be believed, and what time it is at least. Pure: readings in, time out.

A list's end is worth as much as the clock it is read from. Two things are kept apart:

* **now**: what the clock says, if it may be believed. It may not where nothing vouches for it (no
  real-time clock, no NTP since the start), where it is behind a time that is certainly over, and
  for a while after it has jumped, unless by less than an hour when NTP took it over.
* **at least**: a time that is certainly over, whatever the clock says. It grows with the running
  time of the machine, and follows the clock only where that was believed, and steady, for
  `limits.CLOCK_SETTLE_S`. It is kept over a restart.

So a clock that is set back revives nothing, a machine that never learns the time still ends its
lists after so long a running time, and a clock that jumps ahead for a moment, by mistake or by
somebody's doing, neither destroys a list nor spoils what is certain.
"""

from __future__ import annotations

import msgspec

from edge import limits


class Reading(msgspec.Struct, frozen=True):
    """What the machine's clocks show.

    Attributes:
        wall: seconds since 1970, as set.
        running: seconds since the machine started, sleep included; never set, never back.
        source: what vouches for the wall clock ("NTP", …); empty if nothing does.
    """

    wall: float
    running: float
    source: str


class Time(msgspec.Struct, frozen=True):
    """What is known of the time.

    Attributes:
        now: seconds since 1970; not before `least`.
        least: seconds since 1970 that are certainly over.
        running: seconds since the machine started.
        doubt: why `now` may not be relied on, in words; empty if it may.
    """

    now: float
    least: float
    running: float
    doubt: str = ""

    def is_over(self, moment: float) -> bool:
        """Whether a moment is past: by a clock that is believed, or in any case."""
        return self.least >= moment or (not self.doubt and self.now >= moment)


class Timekeeper:
    """Follows the clocks of one run of the machine. For one thread."""

    def __init__(self, least: float) -> None:
        """Begin.

        Args:
            least: seconds since 1970 that were certainly over when this run began.
        """
        self.least = least
        self._running: float | None = None
        # Since when, by both clocks, the wall clock has run evenly; None until somebody vouches.
        self._anchor: tuple[float, float] | None = None
        self._believed = False  # once in this run
        self._source = ""
        self._jumped = 0.0  # by how much, while that is in doubt
        self._doubted_until = 0.0

    def read(self, reading: Reading) -> Time:
        """Return what a reading, later than all before, says of the time."""
        if self._running is not None:
            self.least += max(0.0, reading.running - self._running)
        self._running = reading.running
        doubt = self._doubt(reading)
        now = max(reading.wall, self.least)
        return Time(now=now, least=self.least, running=reading.running, doubt=doubt)

    def _doubt(self, reading: Reading) -> str:
        behind = self.least - reading.wall
        if not reading.source or behind > limits.CLOCK_SKEW_S:
            if not self._believed:
                self._anchor = None  # whatever it is set to first is no jump of a clock in use
            self._source = reading.source
            if not reading.source:
                return "no real-time clock, and no NTP since the start"
            return f"it is {behind:.0f} s behind a time that is certainly over"
        if self._anchor is None:
            self._anchor = (reading.wall, reading.running)
        steady = reading.running - self._anchor[1]
        jump = reading.wall - self._anchor[0] - steady
        if abs(jump) > limits.CLOCK_SKEW_S:
            self._anchor = (reading.wall, reading.running)
            self._jumped += jump
            self._doubted_until = reading.running + limits.CLOCK_SETTLE_S
        elif steady >= limits.CLOCK_SETTLE_S:
            self._anchor = (reading.wall, reading.running)
            self.least = max(self.least, reading.wall)
        taken_over = bool(self._source) and reading.source != self._source
        if taken_over and abs(self._jumped) <= limits.CLOCK_CORRECTION_S:
            self._doubted_until = reading.running  # it was corrected, by as much as clocks drift
        self._source = reading.source
        if reading.running < self._doubted_until:
            return "it has jumped, and is believed again when it has run evenly for ten minutes"
        self._jumped, self._believed = 0.0, True
        return ""
