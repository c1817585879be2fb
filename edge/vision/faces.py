"""The one type that flows from the detector through tracking to the embedder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Face:
    """A face found in a frame, in pixels of that frame.

    Attributes:
        box: left, top, right, bottom; may reach over the frame's edge.
        landmarks: (5, 2) float32, x and y of right eye, left eye, nose tip, right and left corner
            of the mouth ("right" is the person's right: on the left of a frontal picture).
        score: the detector's confidence, 0 to 1.
    """

    box: tuple[float, float, float, float]
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
