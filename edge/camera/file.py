"""A video file through OpenCV (FFmpeg): every frame, in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge import limits
from edge.camera.base import Frame
from edge.camera.picture import Grabbed
from edge.errors import CameraUnavailable

log = logging.getLogger(__name__)


class VideoFile:
    """A clip; meets `edge.camera.base.Camera`."""

    live = False

    def __init__(self, path: Path) -> None:
        """Open a clip.

        Raises:
            CameraUnavailable: there is no such file, or no video in it.
        """
        self.name = path.name
        self.state = "ok"
        self.corrupt = 0
        if not path.is_file():
            raise CameraUnavailable(f"{path}: no such file; set camera.source to a clip or device")
        # One thread: the decoder's own would cost a third more processor time for the same frames.
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise CameraUnavailable(f"{path}: no video in it that can be decoded; is it whole?")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.declared = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Yield every frame; one that cannot be decoded leaves a gap in the numbers.

        The picture of a frame must be read before the next frame is asked for, which is written
        over it.

        A clip that ends before its declared length delivers what it has; `state` and the log say
        how much was missing.

        Raises:
            CameraUnavailable: not a single frame could be decoded.
        """
        index = delivered = missed = 0
        seconds = 0.0
        buffer = None
        while not self._closed.is_set() and missed <= limits.CORRUPT_FRAMES_IN_A_ROW:
            # The container's time of the frame about to be decoded, mended where it goes backwards.
            taken = self._capture.grab()
            if not taken and index >= self.declared:
                break
            if not taken:
                missed += 1
                index += 1
                continue
            if missed:
                self.corrupt += missed
                log.warning("%s: %d frames could not be decoded: skipped", self.name, missed)
                missed = 0
            media = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            seconds = max(seconds, media if np.isfinite(media) else 0.0)
            picture = Grabbed(self._capture, buffer)
            yield Frame(picture, index, seconds)
            buffer = picture.over()
            delivered += 1
            index += 1
        self._capture.release()
        if self._closed.is_set():
            return
        if not delivered:
            raise CameraUnavailable(f"{self.name}: not a single frame could be decoded")
        if delivered + self.corrupt < self.declared:
            self.state = (
                f"cut short or damaged: {delivered} of {self.declared} frames could be decoded"
            )
            log.warning("%s: %s", self.name, self.state)

    def close(self) -> None:
        """End `frames()` after the present frame."""
        self._closed.set()
