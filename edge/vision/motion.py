"""Whether a scene moves, and where a clip cuts, from a miniature of each frame. Sees no faces."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits


class Change(msgspec.Struct, frozen=True):
    """What a frame is like beside those before it.

    Attributes:
        cut: it shows another scene than the frame before.
        moved: something differs from the last frame in which `Scene.rest` was called.
    """

    cut: bool
    moved: bool


class Scene:
    """Compares miniatures of 64×36 pixels. Not for use by two threads at once.

    Single pixels of the frame are taken, not averages: of a large frame only 2,304 are read.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.int16] | None = None
        self._reference: NDArray[np.int16] | None = None

    def change(self, image: NDArray[np.uint8]) -> Change:
        """Compare a frame with the one before it, and with the reference.

        Args:
            image: (height, width, 3) uint8.

        Returns:
            For the first frame after `forget`: no cut, moved.
        """
        # Green stands for brightness; the copy of 7 KB is all that is kept of a frame.
        small = cv2.resize(image, limits.MINIATURE, interpolation=cv2.INTER_NEAREST)
        now = small[..., 1].astype(np.int16)
        before, self._before = self._before, now
        if before is None or self._reference is None:
            self._reference = now
            return Change(cut=False, moved=True)
        cut = float(np.abs(now - before).mean()) > limits.CUT_DIFFERENCE
        differing = np.count_nonzero(np.abs(now - self._reference) > limits.MOTION_DIFFERENCE)
        return Change(cut=cut, moved=bool(differing >= limits.MOTION_PIXELS))

    def rest(self) -> None:
        """Make the present frame the one that later frames are compared with."""
        self._reference = self._before

    def forget(self) -> None:
        """Drop the miniatures."""
        self._before = self._reference = None
