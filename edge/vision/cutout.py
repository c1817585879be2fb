"""The face of a candidate cut out for its reviewers: small, and nobody else in it."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.vision.faces import Face

_GREY = 128


def cut(image: NDArray[np.uint8], face: Face, others: Iterable[Face]) -> NDArray[np.uint8] | None:
    """Cut out a face; what belongs to any other face in the frame is painted over.

    Args:
        image: (height, width, 3) uint8, BGR.
        face: the one that is shown.
        others: every other detection in the frame, however weak.

    Returns:
        A copy, (h, w, 3) uint8, BGR, at most `limits.PICTURE_MAX_SIDE` a side; None where nothing
        of the face lies within the frame.
    """
    margin = limits.PICTURE_MARGIN * max(face.width, face.height)
    left, top, right, bottom = _within(image, face, margin)
    if right <= left or bottom <= top:
        return None
    picture = image[top:bottom, left:right].copy()
    for other in others:
        x0, y0, x1, y1 = _within(
            image, other, limits.PICTURE_MARGIN * max(other.width, other.height)
        )
        x0, x1 = max(x0 - left, 0), max(x1 - left, 0)
        y0, y1 = max(y0 - top, 0), max(y1 - top, 0)
        picture[y0:y1, x0:x1] = _GREY
    longest = max(picture.shape[:2])
    if longest > limits.PICTURE_MAX_SIDE:
        scale = limits.PICTURE_MAX_SIDE / longest
        height, width = (max(1, int(side * scale)) for side in picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    return picture.astype(np.uint8, copy=False)


def encode(picture: NDArray[np.uint8]) -> bytes | None:
    """Return a picture as JPEG of at most `limits.PICTURE_MAX_BYTES`; None if it does not fit."""
    for quality in limits.PICTURE_QUALITIES:
        done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and len(jpeg) <= limits.PICTURE_MAX_BYTES:
            return bytes(jpeg)
    return None


def _within(image: NDArray[np.uint8], face: Face, margin: float) -> tuple[int, int, int, int]:
    """Return a face's box, widened, in whole pixels of the frame: left, top, right, bottom."""
    height, width = image.shape[:2]
    left, top, right, bottom = face.box
    return (
        min(width, max(0, int(np.floor(left - margin)))),
        min(height, max(0, int(np.floor(top - margin)))),
        min(width, max(0, int(np.ceil(right + margin)))),
        min(height, max(0, int(np.ceil(bottom + margin)))),
    )
