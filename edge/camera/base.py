"""The protocol that every source of frames meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: (height, width, 3) uint8, BGR, 0 to 255, C-contiguous.
        index: position in the source, from 0. On a live source a gap means dropped frames; on a
            file an undecodable frame leaves a gap.
        seconds: time of the frame on the source's own clock: media time in a file, seconds
            since the source was first opened on a live one. Never decreases.
    """

    image: NDArray[np.uint8]
    index: int
    seconds: float


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
