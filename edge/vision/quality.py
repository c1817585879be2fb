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
_EYES_TO_MOUTH_FRONTAL = 0.87


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of one view of a face.

    Attributes:
        eye_distance: pixels between the eyes in the frame it was seen in.
        sharpness: 0 (blurred) to 1: variance of the Laplacian of the aligned face, v / (v + 60).
        brightness: mean grey level of the inner face, 0 to 1.
        contrast: standard deviation of the grey levels of the inner face, 0 to 1 (half the range).
        frontality: 1 for a frontal face, 0 for a profile, from the landmarks.
        score: the detector's confidence, 0 to 1.
    """

    eye_distance: float
    sharpness: float
    brightness: float
    contrast: float
    frontality: float
    score: float

    @property
    def overall(self) -> float:
        """One figure, 0 to 1, to rank the views of one track by: a product of saturating terms."""
        size = min(1.0, self.eye_distance / 40.0)
        exposure = min(1.0, self.contrast / 0.2) * min(
            1.0, self.brightness / 0.15, (1.0 - self.brightness) / 0.1
        )
        return float(size * self.frontality * (0.3 + 0.7 * self.sharpness) * exposure * self.score)


def frontality(landmarks: NDArray[np.float32]) -> float:
    """Return 1 for a frontal face, 0 for a profile.

    Two signs of a turned head are combined: the nose leaves the middle of the eyes, and the eyes
    come near each other compared with their distance to the mouth.

    Args:
        landmarks: (5, 2) pixels, order as in `Face`.
    """
    right_eye, left_eye, nose = landmarks[0], landmarks[1], landmarks[2]
    mouth = landmarks[3:].mean(axis=0)
    eyes = (right_eye + left_eye) / 2
    across = left_eye - right_eye
    eye_distance = float(np.hypot(*across))
    down = float(np.hypot(*(mouth - eyes)))
    if eye_distance < 1e-6 or down < 1e-6:
        return 0.0
    shift = abs(float(np.dot(nose - eyes, across))) / eye_distance**2
    centred = max(0.0, 1.0 - 2.0 * shift)
    opened = min(1.0, eye_distance / down / _EYES_TO_MOUTH_FRONTAL)
    return centred * opened


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
        sharpness=variance / (variance + _SHARPNESS_HALF),
        brightness=float(mean[0, 0]) / 255.0,
        contrast=min(1.0, float(deviation[0, 0]) / 127.5),
        frontality=frontality(face.landmarks),
        score=face.score,
    )
