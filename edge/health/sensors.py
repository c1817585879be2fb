"""What the machine says of its own temperature and power supply."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.files import text_of

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


class Battery(msgspec.Struct, frozen=True):
    """A battery that the machine runs on.

    Attributes:
        charge: 0 (empty) to 1.
        discharging: whether it drives the machine now.
    """

    charge: float
    discharging: bool


def battery(sys_folder: Path) -> Battery | None:
    """Return the emptiest battery of the machine itself, or None.

    Args:
        sys_folder: /sys, or a folder like it.
    """
    found = []
    for supply, kind in _supplies(sys_folder).items():
        percent = _number(supply / "capacity", 10)
        if kind == "Battery" and percent is not None:
            charge = min(100, max(0, percent)) / 100
            found.append(Battery(charge, text_of(supply / "status") == "Discharging"))
    return min(found, key=lambda each: each.charge, default=None)


def powered(sys_folder: Path) -> bool | None:
    """Return whether it runs on mains power; None if it has a battery, and nothing says so.

    A machine without any supply there has no battery.

    Args:
        sys_folder: as for `battery`.
    """
    kinds = _supplies(sys_folder)
    mains = [supply for supply, kind in kinds.items() if kind in ("Mains", "USB", "Wireless")]
    if any(text_of(supply / "online") == "1" for supply in mains):
        return True
    if "Battery" in kinds.values():
        states = {text_of(s / "status") for s, kind in kinds.items() if kind == "Battery"}
        if "Discharging" in states:
            return False
        return True if states <= {"Charging", "Full", "Not charging"} else None
    return not mains


def _supplies(sys_folder: Path) -> dict[Path, str]:
    """Return the power supplies of the machine itself, and the type of each.

    As the Linux kernel documents them (ABI/testing/sysfs-class-power): those of a mouse or another
    device have the scope "Device".
    """
    return {
        supply: text_of(supply / "type")
        for supply in sorted(sys_folder.glob("class/power_supply/*"))
        if text_of(supply / "scope") != "Device"
    }


def _low_voltage(sys_folder: Path) -> bool:
    return any(
        _number(name.parent / "in0_lcrit_alarm", 10) == 1
        for name in sys_folder.glob("class/hwmon/hwmon*/name")
        if text_of(name) == "rpi_volt"
    )


def _number(path: Path, base: int) -> int | None:
    try:
        return int(text_of(path), base)
    except ValueError:
        return None
