"""How good a view of a face is: which shots of a track are worth embedding, which photos enrolling.

Measures after the ideas of ISO/IEC 29794-5 (size between the eyes, sharpness, exposure, pose, and
how sure the detector is), each cheap enough for every face of every frame. How they were weighed,
and the error-versus-discard curves behind it: docs/quality.md. Nothing here says anything about
the person.
"""

from __future__ import annotations

from math import hypot

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.vision.faces import Face

# The middle of an aligned face: eyes to mouth, without hair and background.
_INNER = (slice(36, 100), slice(24, 88))
_SHARPNESS_HALF = 60.0
# Of a frontal face, in heights from eyes to mouth: the distance of the eyes, and how far the nose
# stands out of the plane of the face.
_EYES_TO_MOUTH = 0.87
_NOSE_TO_MOUTH = 0.45


class Quality(msgspec.Struct, frozen=True):
    """Measures of one view of a face.

    Attributes:
        eye_distance: pixels between the eyes in the frame it was seen in.
        size: the same as if the face were frontal: a turned face is not a small one.
        sharpness: 0 (blurred) to 1: variance of the Laplacian of the aligned face, v / (v + 60).
        brightness: mean grey level of the inner face, 0 to 1.
        contrast: standard deviation of the grey levels of the inner face, 0 to 1 (half the range).
        frontality: cosine of the head's yaw, roughly, from the landmarks: 1 frontal, 0 profile.
        score: the detector's confidence, 0 to 1.
    """

    eye_distance: float
    size: float
    sharpness: float
    brightness: float
    contrast: float
    frontality: float
    score: float

    @property
    def overall(self) -> float:
        """One figure, 0 to 1, to rank views by and to weigh them in a fused template.

        How sure the detector is says most about how well a view will be recognised; blur, darkness
        and turning lower it too. The other measures count with small exponents: each would
        rank worse alone, and all together rank a little better than the detector alone.
        """
        sure = _part(self.score - 0.5, 0.45)
        exposure = _part(self.contrast, 0.2) * min(
            _part(self.brightness, 0.25), _part(1.0 - self.brightness, 0.1)
        )
        rest = _part(self.size, 40.0) * _part(self.sharpness, 0.3) * exposure
        return float(sure**2 * _part(self.frontality, 0.9) ** 0.25 * rest**0.1)


def _part(value: float, enough: float) -> float:
    """Return how much of `enough` a value is, 0.02 to 1: no view weighs nothing."""
    return min(1.0, max(0.02, value / enough))


class Bounds(msgspec.Struct, frozen=True):
    """What a view must have. Units as in `Quality`."""

    size: float
    frontality: float
    sharpness: float
    brightness: tuple[float, float]
    contrast: float


VIEW = Bounds(
    size=limits.VIEW_MIN_SIZE,
    frontality=limits.VIEW_MIN_FRONTALITY,
    sharpness=limits.VIEW_MIN_SHARPNESS,
    brightness=(limits.VIEW_MIN_BRIGHTNESS, limits.VIEW_MAX_BRIGHTNESS),
    contrast=limits.VIEW_MIN_CONTRAST,
)
"""Below this a view of a track is not judged."""

ENROL = Bounds(
    size=limits.ENROL_MIN_SIZE,
    frontality=limits.ENROL_MIN_FRONTALITY,
    sharpness=limits.ENROL_MIN_SHARPNESS,
    brightness=(limits.ENROL_MIN_BRIGHTNESS, limits.ENROL_MAX_BRIGHTNESS),
    contrast=limits.ENROL_MIN_CONTRAST,
)
"""Below this a photo is not enrolled. Poor faces resemble each other: a poor one on the list would
be found in every crowd (docs/quality.md), so these limits guard strangers."""


class Shortcoming(msgspec.Struct, frozen=True):
    """The first measure of a view that is out of its range."""

    measure: str
    value: float
    least: float
    most: float

    def __str__(self) -> str:
        """Say it with value and limit."""
        bound = f"at least {self.least:g}" if self.value < self.least else f"at most {self.most:g}"
        return f"{self.measure} is {self.value:.2f}, {bound} is needed"


def shortcoming(quality: Quality, bounds: Bounds) -> Shortcoming | None:
    """Return what keeps a view from being used, or None where it is good enough."""
    for measure, value, least, most in (
        ("distance between the eyes in pixels", quality.size, bounds.size, np.inf),
        ("frontality", quality.frontality, bounds.frontality, np.inf),
        ("sharpness", quality.sharpness, bounds.sharpness, np.inf),
        ("brightness", quality.brightness, *bounds.brightness),
        ("contrast", quality.contrast, bounds.contrast, np.inf),
    ):
        if not least <= value <= most:
            return Shortcoming(measure, value, least, most)
    return None


def frontality(landmarks: NDArray[np.float32]) -> float:
    """Return the cosine of a rough yaw: 1 for a frontal face, towards 0 for a profile.

    A head that turns by θ brings its eyes nearer together, as cos θ, and moves the nose off their
    middle, as sin θ. The height from eyes to mouth stays, and gives the unit. Both signs together
    give θ = atan2(sin θ, cos θ).

    Args:
        landmarks: (5, 2) pixels, order as in `Face`.
    """
    (rx, ry), (lx, ly), (nx, ny), (mx, my), (kx, ky) = landmarks.tolist()
    eyes_x, eyes_y = (rx + lx) / 2, (ry + ly) / 2
    down_x, down_y = (mx + kx) / 2 - eyes_x, (my + ky) / 2 - eyes_y
    height = hypot(down_x, down_y)
    if height < 1e-6:
        return 0.0
    across_x, across_y = down_y / height, -down_x / height
    opened = abs((lx - rx) * across_x + (ly - ry) * across_y) / height / _EYES_TO_MOUTH
    shifted = abs((nx - eyes_x) * across_x + (ny - eyes_y) * across_y) / height / _NOSE_TO_MOUTH
    length = hypot(opened, shifted)
    return opened / length if length > 1e-6 else 0.0


def frontal_eye_distance(landmarks: NDArray[np.float32]) -> float:
    """Return the pixels that would lie between the eyes if the face were frontal.

    Args:
        landmarks: (5, 2) pixels, order as in `Face`.
    """
    (rx, ry), (lx, ly), _, (mx, my), (kx, ky) = landmarks.tolist()
    height = hypot((mx + kx - rx - lx) / 2, (my + ky - ry - ly) / 2)
    return max(hypot(lx - rx, ly - ry), height * _EYES_TO_MOUTH)


def measure(face: Face, aligned: NDArray[np.uint8]) -> Quality:
    """Measure a view of a face.

    Args:
        face: the face in its frame.
        aligned: (112, 112, 3) uint8, BGR, of it.
    """
    grey = cv2.cvtColor(aligned[_INNER], cv2.COLOR_BGR2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    variance = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1].item() ** 2
    return Quality(
        eye_distance=face.eye_distance,
        size=frontal_eye_distance(face.landmarks),
        sharpness=variance / (variance + _SHARPNESS_HALF),
        brightness=mean.item() / 255.0,
        contrast=min(1.0, deviation.item() / 127.5),
        frontality=frontality(face.landmarks),
        score=face.score,
    )
