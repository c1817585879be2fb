"""The one type that flows from the detector through tracking to the embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge import limits

Region = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face found in a frame, in pixels of that frame.

    Attributes:
        box: left, top, right, bottom; may reach over the frame's edge.
        landmarks: (5, 2) float32, x and y of right eye, left eye, nose tip, right and left corner
            of the mouth ("right" is the person's right: on the left of a frontal picture).
        score: the detector's confidence, 0 to 1.
    """

    box: Region
    landmarks: NDArray[np.float32]
    score: float

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return float(np.hypot(*(self.landmarks[1] - self.landmarks[0])))

    def moved(self, x: float, y: float) -> Face:
        """Return the face as it lies in a picture of which this one is a part, from (x, y) on."""
        left, top, right, bottom = self.box
        shift = np.array([x, y], np.float32)
        return Face((left + x, top + y, right + x, bottom + y), self.landmarks + shift, self.score)

    def scaled(self, factor: float) -> Face:
        """Return the face as it lies in a picture of the same view, so many times as large."""
        return Face(scaled(self.box, factor), self.landmarks * np.float32(factor), self.score)


def scaled(region: Region, factor: float) -> Region:
    """Return a region as it lies in a picture of the same view, so many times as large."""
    left, top, right, bottom = region
    return factor * left, factor * top, factor * right, factor * bottom


def around(boxes: Sequence[Region]) -> Region:
    """Return the region that holds boxes, each with a margin (`limits.NEAR_MARGIN`)."""
    sides = np.array(boxes, np.float64)
    margin = limits.NEAR_MARGIN * (sides[:, 2:] - sides[:, :2])
    left, top = (sides[:, :2] - margin).min(axis=0)
    right, bottom = (sides[:, 2:] + margin).max(axis=0)
    return float(left), float(top), float(right), float(bottom)
