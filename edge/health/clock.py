"""The machine's clocks, and what vouches for them. The rules are `edge.watchlist.timekeeping`'s."""

from __future__ import annotations

import ctypes
import logging
import platform
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge import limits
from edge.files import read_small, write_atomically
from edge.watchlist.timekeeping import Reading, Time, Timekeeper

log = logging.getLogger(__name__)

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than `struct timex` has on any architecture."""
_X86 = ("x86_64", "i686", "AMD64")


def running() -> float:
    """Return seconds since the machine started, sleep included. Nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def source(root: Path = Path("/")) -> str:
    """Return what vouches for the wall clock at this moment; empty if nothing does.

    * NTP: the kernel says that a daemon keeps its clock (adjtimex(2); chrony, ntpd, timesyncd), or
      systemd-timesyncd says that it has set it since the start.
    * A real-time clock that the kernel set the time from at the start (`hctosys`).
    * On x86 also the clock of the board or the hypervisor: there the kernel reads it before any
      program runs, whether or not it shows a device for it (`read_persistent_clock64`).

    A real-time clock that has lost its battery vouches for a wrong time; it is then far behind
    what is certainly over, and found out by that.

    Args:
        root: where /run and /sys are.
    """
    if _kept_by_ntp() or (root / "run/systemd/timesync/synchronized").exists():
        return "NTP"
    for clock in sorted((root / "sys/class/rtc").glob("rtc*")):
        try:
            if (clock / "hctosys").read_text("ascii").strip() == "1":
                return f"real-time clock {clock.name}"
        except (OSError, UnicodeDecodeError):
            continue  # goes away with its device: not one that vouches
    return "the board's clock" if platform.machine() in _X86 else ""


def _kept_by_ntp() -> bool:
    """Whether the kernel's clock is kept by a daemon (adjtimex(2), read only)."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    # int modes; long offset, freq, maxerror, esterror; int status
    word = ctypes.sizeof(ctypes.c_long)
    status = int.from_bytes(timex.raw[5 * word : 5 * word + 4], "little")
    return 0 <= state != _TIME_ERROR and not status & _STA_UNSYNC


class Clock:
    """What this device knows of the time. Safe for several threads.

    The time that is certainly over is kept in a file, and written every ten minutes.
    """

    def __init__(
        self,
        file: Path,
        *,
        wall: Callable[[], float] = time.time,
        running: Callable[[], float] = running,
        source: Callable[[], str] = source,
    ) -> None:
        """Begin with what was certain before the last restart.

        Args:
            file: where that is kept. One that is damaged is begun anew: it guards only against a
                clock that was set back, and destroyed lists stay destroyed without it.
            wall: seconds since 1970.
            running: seconds since the machine started.
            source: what vouches for `wall`.
        """
        self._file = file
        self._wall, self._running, self._source = wall, running, source
        self._keeper = Timekeeper(max(_FIRST, _kept(file)))
        self._lock = threading.Lock()
        self._vouched, self._asked = "", float("-inf")
        self._written = self._keeper.least

    def read(self) -> Time:
        """Return what is known of the time. Cheap: asked for every frame."""
        with self._lock:
            at = self._running()
            if at - self._asked >= limits.HEALTH_S:
                self._vouched, self._asked = self._source(), at
            return self._keeper.read(Reading(self._wall(), at, self._vouched))

    def now(self) -> float:
        """Return seconds since 1970 as well as they are known."""
        return self.read().now

    def save(self, *, closing: bool = False) -> None:
        """Write down what is certainly over, if it is time to.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        time = self.read()
        if time.least - self._written >= (0 if closing else limits.CLOCK_SAVE_S):
            self._written = time.least  # or was to be: a full disk is not asked every second
            write_atomically(self._file, msgspec.json.encode({"least": time.least}))


_FIRST = datetime(limits.DOCTOR_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    least: float


def _kept(file: Path) -> float:
    try:
        return msgspec.json.decode(read_small(file, limits.MAX_LIFE_BYTES), type=_Kept).least
    except FileNotFoundError:
        return 0.0
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s cannot be read, begun anew: %s", file, error)
        return 0.0
