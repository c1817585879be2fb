"""The one type that flows from the detector through tracking to the embedder."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits

Region = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class Face(msgspec.Struct, frozen=True):
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
        (right_x, right_y), (left_x, left_y) = self.landmarks[:2].tolist()
        return hypot(left_x - right_x, left_y - right_y)

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
    grown = [
        (left - x, top - y, right + x, bottom + y)
        for left, top, right, bottom in boxes
        for x, y in [(limits.NEAR_MARGIN * (right - left), limits.NEAR_MARGIN * (bottom - top))]
    ]
    lefts, tops, rights, bottoms = zip(*grown, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, m) overlaps, 0 to 1, of (n, 4) and (m, 4) boxes: intersection over union."""
    (al, at, ar, ab), (bl, bt, br, bb) = a.T[:, :, None], b.T
    width = np.minimum(ar, br) - np.maximum(al, bl)
    height = np.minimum(ab, bb) - np.maximum(at, bt)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    union = (ar - al) * (ab - at) + (br - bl) * (bb - bt) - common
    return np.asarray(common / np.maximum(union, 1e-9))
