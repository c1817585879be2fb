"""A face cut out and turned upright: five landmarks onto fixed places in 112×112 pixels."""

from __future__ import annotations

from cmath import isfinite

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import FrameError

SIZE = 112
"""Side of an aligned face in pixels."""

REFERENCE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float64,
)
"""Where the landmarks go: the template of ArcFace (Deng et al. 2019), also OpenCV's."""

_TARGET_MEAN = complex(*REFERENCE.mean(axis=0))
_TARGET = [complex(x, y) - _TARGET_MEAN for x, y in REFERENCE.tolist()]
"""The same about their mean, as complex numbers: for five, plain Python is faster than arrays."""


def transform(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (2, 3) similarity that brings landmarks nearest to `REFERENCE`.

    The least-squares rotation, scale and shift (Umeyama 1991). Points as complex numbers make it
    a one-variable linear regression, target = a·source + b.

    Args:
        landmarks: (5, 2) pixels.

    Raises:
        FrameError: the landmarks coincide or are not finite.
    """
    source = [complex(x, y) for x, y in landmarks.tolist()]
    mean = sum(source) / len(source)
    if not isfinite(mean):
        raise FrameError("landmarks are not finite")
    centred = [point - mean for point in source]
    spread = sum(point.real**2 + point.imag**2 for point in centred)
    if spread < 1e-9:
        raise FrameError("landmarks coincide")
    a = sum(c.conjugate() * t for c, t in zip(centred, _TARGET, strict=True)) / spread
    b = _TARGET_MEAN - a * mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    image: NDArray[np.uint8], landmarks: NDArray[np.float32], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Cut out an upright face.

    Args:
        image: (height, width, 3) uint8, any colour order.
        landmarks: (5, 2) pixels of `image`.
        out: (112, 112, 3) uint8 buffer to write to.

    Returns:
        (112, 112, 3) uint8 in the colour order of `image`; what lies outside it is black.
    """
    aligned = cv2.warpAffine(
        image, transform(landmarks), (SIZE, SIZE), dst=out, flags=cv2.INTER_LINEAR
    )
    return aligned.astype(np.uint8, copy=False)
