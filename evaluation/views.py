"""What becomes of one photo when it is turned, dark, small or blurred: used or refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.vision.pictures import read_picture
from edge.vision.quality import ENROL, VIEW, Quality, shortcoming
from evaluation import degrade
from evaluation.systems import Image, System


class View(msgspec.Struct, frozen=True):
    """What became of one change.

    Attributes:
        change: in words.
        found: whether a face was found.
        view: why the device would not judge it; empty where it would.
        photo: why it would not be enrolled; empty where it would.
        quality: overall, 0 to 1; None without a face.
        cosine: to the unchanged photo's template; None without a face.
    """

    change: str
    found: bool
    view: str
    photo: str
    quality: float | None
    cosine: float | None


def changes(eyes: float) -> dict[str, Callable[[Image], Image]]:
    """Return the changes by name.

    Args:
        eyes: pixels between the eyes of the unchanged photo: blur and size go by it.
    """
    return {
        "as it is": lambda i: i,
        "turned by 30°": lambda i: degrade.turned(i, 30),
        "turned by 90°": lambda i: degrade.turned(i, 90),
        "dark: a fifth of the light": lambda i: degrade.lit(i, 0.2),
        "dark: a twentieth": lambda i: degrade.lit(i, 0.05),
        "glaring: four times the light": lambda i: degrade.lit(i, 4.0),
        "small: 16 pixels between the eyes": lambda i: degrade.small(i, 16 / eyes),
        "small: 7 pixels": lambda i: degrade.small(i, 7 / eyes),
        "blurred by a tenth of the eyes' distance": lambda i: degrade.blurred(i, eyes / 10),
        "blurred by a third": lambda i: degrade.blurred(i, eyes / 3),
    }


def show(system: System, photo: Path) -> list[View]:
    """Change a photo in every way.

    Raises:
        FrameError: it cannot be read.
    """
    image = read_picture(photo)
    original = system.capture(image)
    if original is None:
        return [View("as it is", False, "no face found", "no face found", None, None)]
    views = []
    for name, change in changes(original.quality.size).items():
        capture = system.capture(change(image))
        if capture is None:
            views.append(View(name, False, "no face found", "no face found", None, None))
            continue
        views.append(
            View(
                name, True, _why(capture.quality, view=True), _why(capture.quality, view=False),
                capture.quality.overall, float(capture.template @ original.template),
            )
        )  # fmt: skip
    return views


def _why(quality: Quality, *, view: bool) -> str:
    short = shortcoming(quality, VIEW if view else ENROL)
    return str(short) if short else ""
