"""USB and other V4L2 cameras, through OpenCV. Not yet run on hardware."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.latest import LiveCamera
from edge.camera.picture import Jpeg
from edge.config import CameraConfig
from edge.errors import CameraUnavailable

_MJPG = cv2.VideoWriter.fourcc(*"MJPG")
_MJPG_ABOVE = 640 * 480  # raw pictures larger than this do not fit through USB 2 at full rate


class CaptureGrabber:
    """An opened `cv2.VideoCapture`."""

    def __init__(self, capture: cv2.VideoCapture, where: str, *, jpeg_width: int = 0) -> None:
        """Take an opened capture.

        Args:
            capture: the device.
            where: for people.
            jpeg_width: width of its pictures where it gives them as JPEG, not decoded; or 0.
        """
        self._capture = capture
        self._where = where
        self._jpeg_width = jpeg_width
        if not capture.isOpened():
            raise CameraUnavailable(f"{where} cannot be opened")

    def grab(self) -> NDArray[np.uint8] | Jpeg:
        """Wait for the next picture; see `Grabber.grab`."""
        try:
            taken, image = self._capture.read()
        except cv2.error as error:
            raise CameraUnavailable(f"{self._where} failed: {error.err or error}") from error
        if not taken or image is None:
            raise CameraUnavailable(f"{self._where} delivers no more frames")
        picture = np.asarray(image, np.uint8)
        return Jpeg(picture.ravel(), self._jpeg_width) if self._jpeg_width else picture

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
        jpeg = config.width * config.height > _MJPG_ABOVE
        if jpeg:
            capture.set(cv2.CAP_PROP_FOURCC, _MJPG)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
        capture.set(cv2.CAP_PROP_FPS, config.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        # Left undecoded: most frames are only needed small, which costs a fraction.
        given = jpeg and int(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPG
        undecoded = given and capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) if undecoded else 0
        return CaptureGrabber(capture, f"{device} (V4L2)", jpeg_width=width)

    return LiveCamera(config.source, connect)
