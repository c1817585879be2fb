"""Holds the pace of looking to what heat and battery allow."""

from __future__ import annotations

import time
from pathlib import Path

from edge.config import Config
from edge.health.budget import Budget, Readings
from edge.health.sensors import battery, hottest, throttled
from edge.protocol.status import Effort
from edge.vision.pace import BY_EFFORT, Intervals, Pace


class Governor:
    """Reads the machine and sets the pace. For one thread, beside the one that looks."""

    def __init__(self, config: Config, intervals: Intervals | None, sys_folder: Path) -> None:
        """Begin with the easiest step that the configuration allows.

        Args:
            config: of the device.
            intervals: those to keep whatever the machine says; None: those of the steps.
            sys_folder: /sys, or a folder like it.
        """
        effort = config.vision.effort
        saving = effort == "saving" or (effort == "auto" and config.device.profile == "body-worn")
        self._budget = Budget("eased" if saving else "full")
        self._fixed = intervals is not None
        self._sys = sys_folder
        self.pace = Pace(intervals or BY_EFFORT[self._budget.step])

    @property
    def told(self) -> Effort:
        """The hardest step of the last day."""
        return self._budget.told

    @property
    def reason(self) -> str:
        """Why it looks less than it was to; see `Budget.reason`."""
        return self._budget.reason

    def look(self) -> None:
        """Read the machine; called about every second."""
        readings = Readings(hottest(self._sys), throttled(self._sys), battery(self._sys))
        step = self._budget.take(readings, time.monotonic())
        if not self._fixed:
            self.pace.intervals = BY_EFFORT[step]
