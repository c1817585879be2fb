"""How the device is, at a bounded rate; nothing in it depends on who is in view.

docs/adr/0019 goes through it field by field. The frame rate is the camera's, not the pipeline's,
which is slower the more faces there are. Of the temperature, a class goes out, held for ten minutes
before it counts and kept for a day; of throttling, what the firmware keeps since the start. Load,
memory, latencies and counts do not go out at all.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from edge import limits
from edge.health.sensors import hottest, throttled
from edge.protocol.event import rfc3339
from edge.protocol.status import Disk, Effort, Frames, Telemetry, Temperature

_CLASSES: tuple[tuple[float, Temperature], ...] = (
    (limits.TEMPERATURE_HOT_C, "hot"),
    (limits.TEMPERATURE_WARM_C, "warm"),
    (float("-inf"), "normal"),
)


class TemperatureClass:
    """The worst class that has held for `TEMPERATURE_HOLD_S`, kept for `TEMPERATURE_KEEP_S`."""

    def __init__(self) -> None:
        self._rising: tuple[Temperature, float] = ("normal", 0.0)
        self._kept: tuple[Temperature, float] = ("normal", float("-inf"))

    def take(self, degrees: float | None, at: float) -> Temperature:
        """Take a reading and return what is said.

        Args:
            degrees: Celsius; None where there is no sensor.
            at: seconds, steady.
        """
        if degrees is None:
            return "unknown"
        now = next(name for least, name in _CLASSES if degrees >= least)
        if now != self._rising[0]:
            self._rising = (now, at)
        held = at - self._rising[1] >= limits.TEMPERATURE_HOLD_S
        kept, since = self._kept
        over = at - since >= limits.TEMPERATURE_KEEP_S
        if held and (over or _RANK[now] >= _RANK[kept]):
            self._kept = (now, at)
        return self._kept[0]


_RANK: dict[Temperature, int] = {"unknown": -1, "normal": 0, "warm": 1, "hot": 2}


class Monitor:
    """Samples the device at fixed times. For one thread."""

    def __init__(
        self,
        state_dir: Path,
        *,
        live: bool,
        period: float,
        now: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
        sys_folder: Path = Path("/sys"),
    ) -> None:
        """Begin.

        Args:
            state_dir: on the disk whose room is watched.
            live: whether the camera has a rate of its own.
            period: seconds between two samples.
            now: wall clock, seconds since 1970.
            steady: seconds, never set.
            sys_folder: /sys, or a folder like it.
        """
        self._state_dir = state_dir
        self._live = live
        self._period = period
        self._now, self._steady = now, steady
        self._sys = sys_folder
        self._temperature = TemperatureClass()
        self._began = self._due = steady()
        self._captured = 0
        self._waiting: int | None = None

    def pace(self, period: float) -> None:
        """Sample at these times from the last one on, in seconds."""
        self._due += period - self._period
        self._period = period

    def sample(
        self,
        captured: int,
        waiting: int,
        effort: Effort = "full",
        certificate_ends: int | None = None,
    ) -> Telemetry | None:
        """Return the telemetry if it is time for it. Called every second, whatever happens.

        Args:
            captured: frames that the camera has taken until now.
            waiting: events in the outbox.
            effort: the hardest step of the last day.
            certificate_ends: of the client certificate, seconds since 1970; None without one.
        """
        steady = self._steady()
        temperature = self._temperature.take(hottest(self._sys), steady)
        # What is on its way for a moment does not wait; how long that is depends on the load.
        self._waiting = waiting if self._waiting is None else min(self._waiting, waiting)
        if steady < self._due:
            return None
        elapsed = self._period + steady - self._due
        self._due += self._period * (1 + (steady - self._due) // self._period)
        rate, self._captured = (captured - self._captured) / elapsed, captured
        first = steady - self._began < self._period
        waiting, self._waiting = 0 if first else self._waiting, None
        return Telemetry(
            time=rfc3339(self._now()),
            uptime_s=int((steady - self._began) // self._period * self._period),
            frames="unknown" if first else self._frames(rate),
            temperature=temperature,
            throttled=throttled(self._sys, since_start=True),
            events_waiting=waiting,
            effort=effort,
            disk=_disk(self._state_dir),
            certificate_ends=certificate_ends,
        )

    def _frames(self, rate: float) -> Frames:
        if rate <= 0:
            return "none"
        return "few" if self._live and rate < limits.FRAMES_FEW_PER_S else "ok"


def _disk(folder: Path) -> Disk:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "unknown"
    return "ok" if free >= limits.DOCTOR_DISK_BYTES else "low"
