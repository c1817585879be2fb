"""How hard the device may work: less in heat or on a low battery, in declared steps. Pure.

No step stops it from looking or matching. A step up is taken when the readings have asked for it
for `BUDGET_RISE_S`, one down when they have not for `BUDGET_FALL_S`, with a margin between both.
What is told of it is the hardest step of the last day, as docs/adr/0019 asks of all that heat may
show: a crowd heats a device a little, and must not be seen coming and going.
"""

from __future__ import annotations

import msgspec

from edge import limits
from edge.health.sensors import Battery
from edge.protocol.status import Effort

STEPS: tuple[Effort, ...] = ("full", "eased", "least")


class Readings(msgspec.Struct, frozen=True):
    """What the machine says.

    Attributes:
        degrees: Celsius, of its hottest part; None where there is no sensor.
        throttled: why the firmware slows it down now.
        battery: the emptiest battery that it runs on; None where there is none.
    """

    degrees: float | None = None
    throttled: tuple[str, ...] = ()
    battery: Battery | None = None


class Budget:
    """Turns readings into a step. Not for use by two threads at once."""

    def __init__(self, least: Effort = "full") -> None:
        """Begin.

        Args:
            least: the step that is in force whatever the readings, for a device that is to save.
        """
        self._floor = STEPS.index(least)
        self._step = self._floor
        self._rising: float | None = None
        self._falling: float | None = None
        self._cause = ""
        self._told: tuple[int, str, float] = (self._floor, "", float("-inf"))

    @property
    def step(self) -> Effort:
        """The step in force."""
        return STEPS[self._step]

    @property
    def told(self) -> Effort:
        """The hardest step of the last day."""
        return STEPS[self._told[0]]

    @property
    def reason(self) -> str:
        """Why less is done than was wanted, in words; empty if that has not been for a day."""
        step, cause, _ = self._told
        if step <= self._floor:
            return ""
        does = "looks less often" if STEPS[step] == "eased" else "looks less often, in less detail"
        return f"{cause}: {does} at times (the last 24 hours); goes on matching"

    def take(self, readings: Readings, at: float) -> Effort:
        """Take readings and return the step that follows.

        Args:
            readings: of this moment.
            at: seconds, steady.
        """
        heat, battery = self._by_heat(readings), self._by_battery(readings.battery)
        wanted = max(self._floor, heat, battery)
        if wanted > self._step:
            self._falling = None
            self._rising = at if self._rising is None else self._rising
            if at - self._rising >= limits.BUDGET_RISE_S:
                self._step, self._rising = wanted, None
                self._cause = "heat" if heat >= battery else "low battery"
        elif wanted < self._step:
            self._rising = None
            self._falling = at if self._falling is None else self._falling
            if at - self._falling >= limits.BUDGET_FALL_S:
                self._step, self._falling = wanted, None
        else:
            self._rising = self._falling = None
        if self._step >= self._told[0] or at - self._told[2] >= limits.BUDGET_TOLD_S:
            self._told = (self._step, self._cause, at)
        return self.step

    def _by_heat(self, readings: Readings) -> int:
        """Return the step for heat; one in force is asked for until it is cooler by the margin."""
        wanted = 1 if readings.throttled else 0
        if readings.degrees is None:
            return wanted
        for step, limit in enumerate(limits.BUDGET_DEGREES, 1):
            margin = limits.BUDGET_DEGREES_MARGIN if self._step >= step else 0.0
            if readings.degrees >= limit - margin:
                wanted = max(wanted, step)
        return wanted

    def _by_battery(self, battery: Battery | None) -> int:
        if battery is None or not battery.discharging:
            return 0
        wanted = 0
        for step, limit in enumerate(limits.BUDGET_CHARGE, 1):
            margin = limits.BUDGET_CHARGE_MARGIN if self._step >= step else 0.0
            if battery.charge <= limit + margin:
                wanted = step
        return wanted
