"""Showing people that a camera is looking for someone: a lamp, or a file that others watch.

The list thread shows before it looks, and again every second; where it cannot, nothing is looked
for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edge.errors import IndicatorUnavailable

LEDS = Path("/sys/class/leds")


class Indicator(Protocol):
    """Something that people can see."""

    def show(self, armed: bool) -> None:
        """Show whether the device is armed.

        Raises:
            IndicatorUnavailable: it does not show that.
        """


class NoIndicator:
    """For a fixed camera, about which signs tell."""

    def show(self, armed: bool) -> None:
        """Do nothing."""


class Led:
    """A lamp of /sys/class/leds (Documentation/leds/leds-class.rst): as bright as it gets, or off.

    *Not yet run on hardware.*
    """

    def __init__(self, folder: Path) -> None:
        """Take the lamp's folder in /sys/class/leds."""
        self._folder = folder

    def show(self, armed: bool) -> None:
        """Take the lamp from whatever drives it, switch it, and read back that it obeyed."""
        try:
            trigger = self._folder / "trigger"
            if trigger.exists() and "[none]" not in trigger.read_text("ascii"):
                trigger.write_text("none", "ascii")
            most = (self._folder / "max_brightness").read_text("ascii").strip()
            wanted = most if armed else "0"
            brightness = self._folder / "brightness"
            if brightness.read_text("ascii").strip() != wanted:
                brightness.write_text(wanted, "ascii")
            shown = brightness.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise IndicatorUnavailable(f"lamp {self._folder.name}: {error}") from error
        if shown != wanted or (armed and wanted == "0"):
            raise IndicatorUnavailable(f"lamp {self._folder.name} stays at {shown} of {most}")


class HookFile:
    """A file that holds "1" while the device is armed, else "0": for a display, a sound, a relay.

    What watches it makes it visible; that it does is the integrator's to see to.
    """

    def __init__(self, path: Path) -> None:
        """Take the file's path; its folder has to be there, best below /run."""
        self._path = path

    def show(self, armed: bool) -> None:
        """Write the file, unless it says so already."""
        wanted = "1\n" if armed else "0\n"
        try:
            if not self._path.is_file() or self._path.read_text("ascii") != wanted:
                self._path.write_text(wanted, "ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise IndicatorUnavailable(f"{self._path}: {error}") from error


def open_indicator(setting: str | None) -> Indicator:
    """Return the indicator that device.indicator names: "led:<name>" or "file:<path>"."""
    if setting is None:
        return NoIndicator()
    kind, _, name = setting.partition(":")
    return Led(LEDS / name) if kind == "led" else HookFile(Path(name))
