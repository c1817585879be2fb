"""What the machine says of its own temperature and power supply."""

from __future__ import annotations

from pathlib import Path

THROTTLED = {0: "under-voltage", 1: "capped", 2: "throttled", 3: "soft-limited"}
"""Bits of a Raspberry Pi's `get_throttled` that hold now; 16 more: since the start."""
_SINCE_START = 16


def hottest(sys_folder: Path) -> float | None:
    """Return the highest temperature of any thermal zone in degrees Celsius, or None.

    Args:
        sys_folder: /sys, or a folder like it.
    """
    degrees = [
        reading / 1000
        for zone in sorted(sys_folder.glob("class/thermal/thermal_zone*/temp"))
        if (reading := _number(zone, 10)) is not None
    ]
    return max(degrees, default=None)


def throttled(sys_folder: Path, *, since_start: bool = False) -> tuple[str, ...]:
    """Return why a Raspberry Pi's firmware slows it down, or has since the start.

    From the firmware's own flags; where only the hwmon driver `rpi_volt` is there, its alarm for a
    low voltage. Empty on other machines.

    Args:
        sys_folder: /sys, or a folder like it.
        since_start: also what is over by now; the firmware keeps that until the next start.
    """
    flags = _number(sys_folder / "devices/platform/soc/soc:firmware/get_throttled", 16)
    if flags is None:
        return ("under-voltage",) if _low_voltage(sys_folder) else ()
    if since_start:
        flags |= flags >> _SINCE_START
    return tuple(name for bit, name in THROTTLED.items() if flags >> bit & 1)


def _low_voltage(sys_folder: Path) -> bool:
    return any(
        _number(name.parent / "in0_lcrit_alarm", 10) == 1
        for name in sys_folder.glob("class/hwmon/hwmon*/name")
        if _text(name) == "rpi_volt"
    )


def _number(path: Path, base: int) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None


def _text(path: Path) -> str:
    """Return a small file's text; empty where there is none: sensors come and go."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
