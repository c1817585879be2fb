"""USB and other V4L2 cameras, through OpenCV. Not yet run on hardware."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.latest import LiveCamera
from edge.config import CameraConfig
from edge.errors import CameraUnavailable

_MJPG_ABOVE = 640 * 480  # raw pictures larger than this do not fit through USB 2 at full rate


class CaptureGrabber:
    """An opened `cv2.VideoCapture`."""

    def __init__(self, capture: cv2.VideoCapture, where: str) -> None:
        self._capture = capture
        self._where = where
        if not capture.isOpened():
            raise CameraUnavailable(f"{where} cannot be opened")

    def grab(self) -> NDArray[np.uint8]:
        """Wait for the next picture; see `Grabber.grab`."""
        try:
            taken, image = self._capture.read()
        except cv2.error as error:
            raise CameraUnavailable(f"{self._where} failed: {error.err or error}") from error
        if not taken or image is None:
            raise CameraUnavailable(f"{self._where} delivers no more frames")
        return np.asarray(image, np.uint8)

    def release(self) -> None:
        """Let go of the device."""
        self._capture.release()


def open_v4l2(config: CameraConfig) -> LiveCamera:
    """Return the camera at /dev/videoN; it may be plugged in later."""

    def connect() -> CaptureGrabber:
        device = config.source
        if not Path(device).exists():
            raise CameraUnavailable(f"{device} is not there; is the camera plugged in?")
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if config.width * config.height > _MJPG_ABOVE:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
        capture.set(cv2.CAP_PROP_FPS, config.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return CaptureGrabber(capture, f"{device} (V4L2)")

    return LiveCamera(config.source, connect)
