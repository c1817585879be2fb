"""Raspberry Pi cameras through Picamera2, imported only when chosen. Not yet run on hardware.

Written against the Picamera2 manual (Raspberry Pi Ltd): in memory, format "RGB888" has the order
blue, green, red, which is what the rest of the device expects.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.latest import LiveCamera
from edge.config import CameraConfig
from edge.errors import CameraUnavailable, ConfigError


class PicameraGrabber:
    """A started Picamera2."""

    def __init__(self, number: int, config: CameraConfig) -> None:
        try:
            module = importlib.import_module("picamera2")
        except (ImportError, ValueError) as error:  # ValueError: built for another numpy
            raise CameraUnavailable(
                f"picamera2 cannot be imported ({error}): apt-get install python3-picamera2, then "
                "remove .venv and run ./lethe again"
            ) from error
        self._camera: Any = None
        try:
            self._camera = module.Picamera2(number)
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": (config.width, config.height), "format": "RGB888"},
                    controls={"FrameRate": float(config.fps)},
                )
            )
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.release()
            raise CameraUnavailable(f"camera {number} cannot be opened: {error}") from error

    def grab(self) -> NDArray[np.uint8]:
        """Wait for the next picture; see `Grabber.grab`."""
        try:
            image = self._camera.capture_array("main", wait=limits.CAMERA_STALL_S)
        except TimeoutError as error:
            raise CameraUnavailable(
                f"the camera delivered nothing for {limits.CAMERA_STALL_S:g} s; is its cable firm?"
            ) from error
        except (RuntimeError, OSError) as error:
            raise CameraUnavailable(f"the camera failed: {error}") from error
        if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise CameraUnavailable(f"unexpected picture: {getattr(image, 'shape', None)}")
        return np.ascontiguousarray(image)

    def release(self) -> None:
        """Stop and close the camera."""
        if self._camera is not None:
            # Of a camera that is gone, stopping may fail; closing stops it, too.
            with contextlib.suppress(RuntimeError, OSError):
                self._camera.close()
            self._camera = None


def open_picamera2(config: CameraConfig) -> LiveCamera:
    """Return the camera "picamera2" or "picamera2:N".

    Raises:
        ConfigError: N is no number.
    """
    _, _, number = config.source.partition(":")
    if number and not number.isdecimal():
        raise ConfigError(f"camera.source: {config.source!r}: write picamera2 or picamera2:1")
    return LiveCamera(config.source, lambda: PicameraGrabber(int(number or 0), config))
