"""When an accelerator is trusted, and when it is tried again. Policy only: no clock, no threads.

Rules:
1. Nothing is trusted that has not passed its self-check; until then the CPU works.
2. One fault ends the trust.
3. The pause before the next try doubles with every fault, up to a limit.
4. One that has worked steadily starts again with the first pause: a plug pulled once a day is not
   an accelerator that fails all the time.
"""

from __future__ import annotations

from typing import Literal

from edge import limits

State = Literal["starting", "working", "failed"]
"""Not tried yet; trusted; not trusted, and why is known."""


class Recovery:
    """The state of one accelerator. Times are readings of one monotonic clock, in seconds.

    Attributes:
        state: see `State`.
        reason: why it has failed, in words; empty otherwise.
    """

    def __init__(self) -> None:
        self.state: State = "starting"
        self.reason = ""
        self._faults = 0
        self._since = 0.0
        self._next = 0.0

    def pause(self, now: float) -> float | None:
        """Return how long to wait before the next try; None while it works."""
        return None if self.state == "working" else max(0.0, self._next - now)

    def passed(self, now: float) -> None:
        """Take note that it has passed its self-check."""
        self.state, self.reason, self._since = "working", "", now

    def failed(self, now: float, reason: str) -> None:
        """Take note of a fault, at work or while it was tried."""
        if self.state == "working" and now - self._since >= limits.ACCELERATOR_STEADY_S:
            self._faults = 0
        first, most = limits.ACCELERATOR_RETRY_FIRST_S, limits.ACCELERATOR_RETRY_MAX_S
        pause = first * 2**self._faults
        if pause < most:  # the count stops where it has no more effect
            self._faults += 1
        self.state, self.reason, self._next = "failed", reason, now + min(pause, most)
