"""A picture as its source has it: decoded once it is needed, and only as large as it is needed.

Most frames are only compared with the one before, or looked at in the detector's size. A source
that has a smaller picture of the same moment, or can decode one for less, gives that.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import FrameError

_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


class Picture(Protocol):
    """What a source gives for one frame."""

    @property
    def width(self) -> int:
        """Width of the whole picture in pixels."""

    def full(self) -> NDArray[np.uint8]:
        """Return the whole picture, (height, width, 3) uint8, BGR.

        Raises:
            FrameError: it cannot be decoded.
        """

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Return the cheapest picture of the same view that is at least so wide.

        Raises:
            FrameError: it cannot be decoded.
        """


class Whole:
    """A decoded picture, and none besides."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        self.width = image.shape[1] if image.ndim > 1 else 0

    def full(self) -> NDArray[np.uint8]:
        """Return the picture; see `Picture.full`."""
        return self._image

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Return the picture, whatever its size: to shrink it is the reader's work."""
        return self._image


class Grabbed:
    """The frame that a capture has grabbed. It is decoded, but not yet BGR: that is a third more.

    Good until the next frame is grabbed: its memory is written again then.
    """

    def __init__(self, capture: cv2.VideoCapture, buffer: NDArray[np.uint8] | None = None) -> None:
        """Take a frame.

        Args:
            capture: it has just been grabbed by.
            buffer: memory for the picture, of a frame that is over.
        """
        self._capture: cv2.VideoCapture | None = capture
        self._buffer = buffer
        self._image: NDArray[np.uint8] | None = None

    @property
    def width(self) -> int:
        """Width of the picture; it is converted for it, as it may change within a stream."""
        return int(self.full().shape[1])

    def full(self) -> NDArray[np.uint8]:
        """Convert the picture, once; see `Picture.full`."""
        if self._image is None:
            if self._capture is None:
                raise FrameError("a frame was asked for when the next one had been taken")
            decoded, image = self._capture.retrieve(self._buffer)
            if not decoded or image is None:
                raise FrameError("a frame cannot be converted to BGR")
            self._image = self._buffer = np.asarray(image, np.uint8)
        return self._image

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Return the picture, whatever its size; see `Whole.reduced`."""
        return self.full()

    def over(self) -> NDArray[np.uint8] | None:
        """Refuse to be converted from now on; return the memory, which the next frame may use."""
        self._capture = None
        return self._buffer


class Pair:
    """Two streams of one camera: Picamera2's "main" and "lores"."""

    def __init__(self, main: NDArray[np.uint8], small: NDArray[np.uint8]) -> None:
        """Take both.

        Args:
            main: (height, width, 3) uint8, BGR.
            small: the same view, (3·height/2, width) uint8, planar YUV 4:2:0.
        """
        self._main, self._small = main, small
        self.width = main.shape[1]

    def full(self) -> NDArray[np.uint8]:
        """Return the large one; see `Picture.full`."""
        return self._main

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Return the small one where it is large enough; see `Picture.reduced`."""
        if self._small.shape[1] < width:
            return self._main
        return np.asarray(cv2.cvtColor(self._small, cv2.COLOR_YUV2BGR_I420), np.uint8)


class Jpeg:
    """A frame of Motion JPEG. The decoder can leave out what a smaller picture does not show."""

    def __init__(self, content: NDArray[np.uint8], width: int) -> None:
        """Take a frame.

        Args:
            content: the JPEG, (n,) uint8.
            width: of the picture in it, as the camera was configured.
        """
        self._content, self.width = content, width

    def full(self) -> NDArray[np.uint8]:
        """Decode all of it; see `Picture.full`."""
        return self._decoded(cv2.IMREAD_COLOR)

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Decode an eighth, a quarter or a half of its size; see `Picture.reduced`."""
        for divisor, mode in _REDUCED:
            if self.width >= divisor * width:
                return self._decoded(mode)
        return self.full()

    def _decoded(self, mode: int) -> NDArray[np.uint8]:
        try:
            image = cv2.imdecode(self._content, mode)
        except cv2.error as error:
            raise FrameError(f"a frame cannot be decoded: {error.err or error}") from error
        if image is None or max(image.shape[:2]) > limits.MAX_FRAME_SIDE:
            raise FrameError("a frame is no JPEG of a possible size")
        return np.asarray(image, np.uint8)
