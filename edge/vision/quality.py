"""How good a view of a face is: which shots of a track are worth embedding, which photos enrolling.

Measures after the ideas of ISO/IEC 29794-5 (size between the eyes, sharpness, exposure, pose),
each cheap enough for every face of every frame. Nothing here says anything about the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.faces import Face

# The middle of an aligned face: eyes to mouth, without hair and background.
_INNER = (slice(36, 100), slice(24, 88))
_SHARPNESS_HALF = 60.0
# Of a frontal face, in heights from eyes to mouth: the distance of the eyes, and how far the nose
# stands out of the plane of the face.
_EYES_TO_MOUTH = 0.87
_NOSE_TO_MOUTH = 0.45


@dataclass(frozen=True, slots=True)
class Quality:
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
        """One figure, 0 to 1, to rank the views of one track by: a product of saturating terms."""
        size = min(1.0, self.size / 40.0)
        exposure = min(1.0, self.contrast / 0.2) * min(
            1.0, self.brightness / 0.15, (1.0 - self.brightness) / 0.1
        )
        return float(size * self.frontality * (0.3 + 0.7 * self.sharpness) * exposure * self.score)


def frontality(landmarks: NDArray[np.float32]) -> float:
    """Return the cosine of a rough yaw: 1 for a frontal face, towards 0 for a profile.

    A head that turns by θ brings its eyes nearer together, as cos θ, and moves the nose off their
    middle, as sin θ. The height from eyes to mouth stays, and gives the unit. Both signs together
    give θ = atan2(sin θ, cos θ).

    Args:
        landmarks: (5, 2) pixels, order as in `Face`.
    """
    right_eye, left_eye, nose = landmarks[0], landmarks[1], landmarks[2]
    eyes = (right_eye + left_eye) / 2
    down = landmarks[3:].mean(axis=0) - eyes
    height = float(np.hypot(*down))
    if height < 1e-6:
        return 0.0
    across = np.array([down[1], -down[0]]) / height
    opened = abs(float((left_eye - right_eye) @ across)) / height / _EYES_TO_MOUTH
    shifted = abs(float((nose - eyes) @ across)) / height / _NOSE_TO_MOUTH
    length = float(np.hypot(opened, shifted))
    return opened / length if length > 1e-6 else 0.0


def frontal_eye_distance(landmarks: NDArray[np.float32]) -> float:
    """Return the pixels that would lie between the eyes if the face were frontal.

    Args:
        landmarks: (5, 2) pixels, order as in `Face`.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    seen = float(np.hypot(*(landmarks[1] - landmarks[0])))
    return max(seen, float(np.hypot(*(mouth - eyes))) * _EYES_TO_MOUTH)


def measure(face: Face, aligned: NDArray[np.uint8]) -> Quality:
    """Measure a view of a face.

    Args:
        face: the face in its frame.
        aligned: (112, 112, 3) uint8, BGR, of it.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)[_INNER]
    mean, deviation = cv2.meanStdDev(grey)
    variance = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0]) ** 2
    return Quality(
        eye_distance=face.eye_distance,
        size=frontal_eye_distance(face.landmarks),
        sharpness=variance / (variance + _SHARPNESS_HALF),
        brightness=float(mean[0, 0]) / 255.0,
        contrast=min(1.0, float(deviation[0, 0]) / 127.5),
        frontality=frontality(face.landmarks),
        score=face.score,
    )
