"""Pictures from files: checked by size before they are decoded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import FrameError
from edge.files import read_small


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture turned upright as its EXIF data says.

    Returns:
        (height, width, 3) uint8, BGR.

    Raises:
        FrameError: no such file, too large, or it cannot be decoded.
    """
    try:
        content = read_small(path, limits.MAX_PHOTO_BYTES)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return a picture from the bytes of a JPEG, PNG, BMP or WebP file.

    OpenCV reads the size from the header and refuses a larger picture before it is decoded: the
    limit is set in `edge/__init__.py`, which is imported before OpenCV.

    Args:
        content: the file.
        name: for the error.

    Raises:
        FrameError: it cannot be decoded, or its sides are out of range.
    """
    data = np.frombuffer(content, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        raise FrameError(f"{name}: cannot be decoded: {error.err or error}") from error
    if image is None:
        raise FrameError(f"{name}: not a picture that can be decoded; is it whole?")
    if max(image.shape[:2]) > limits.MAX_FRAME_SIDE:
        raise FrameError(
            f"{name}: {image.shape[1]}×{image.shape[0]} pixels; "
            f"at most {limits.MAX_FRAME_SIDE} a side are read"
        )
    return np.asarray(image, np.uint8)
