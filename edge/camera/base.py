"""The protocol that every source of frames meets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.camera.picture import Picture, Whole


class Frame:
    """One picture from a source.

    Attributes:
        index: position in the source, from 0. On a live source a gap means dropped frames; on a
            file an undecodable frame leaves a gap.
        seconds: time of the frame on the source's own clock: media time in a file, seconds
            since the source was first opened on a live one. Never decreases.
    """

    __slots__ = ("_image", "_picture", "index", "seconds")

    def __init__(self, picture: NDArray[np.uint8] | Picture, index: int, seconds: float) -> None:
        """Take a picture, decoded or not.

        Args:
            picture: (height, width, 3) uint8, BGR, 0 to 255, C-contiguous; or what gives that.
            index: see above.
            seconds: see above.
        """
        self._picture = Whole(picture) if isinstance(picture, np.ndarray) else picture
        self._image: NDArray[np.uint8] | None = None
        self.index, self.seconds = index, seconds

    @property
    def image(self) -> NDArray[np.uint8]:
        """The whole picture, (height, width, 3) uint8, BGR; decoded when first asked for.

        Raises:
            FrameError: it cannot be decoded.
        """
        if self._image is None:
            self._image = self._picture.full()
        return self._image

    @property
    def width(self) -> int:
        """Width of the whole picture in pixels; nothing is decoded for it."""
        return self._picture.width

    def reduced(self, width: int) -> NDArray[np.uint8]:
        """Return the cheapest picture of the same view that is at least `width` pixels wide.

        Raises:
            FrameError: it cannot be decoded.
        """
        return self._picture.reduced(width) if self._image is None else self._image


class Camera(Protocol):
    """A source of frames.

    A file delivers every frame in order and then ends. A live source delivers the latest frame
    (frames that nobody took in time are overwritten), survives the loss of its device by opening
    it again, and ends only when closed.
    """

    @property
    def name(self) -> str:
        """What a person calls this source, without credentials."""

    @property
    def live(self) -> bool:
        """Whether the latest frame wins (True) or every frame counts (False)."""

    @property
    def state(self) -> str:
        """'ok', or why no frames come at the moment, in words for the health report."""

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is closed.

        Raises:
            CameraUnavailable: a file or folder that does not exist, cannot be read, or holds no
                picture. A live source does not raise: it retries and sets `state`.
        """

    def close(self) -> None:
        """Release the device and end `frames()` soon; may be called from any thread, twice."""
