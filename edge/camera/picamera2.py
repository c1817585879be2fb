"""Raspberry Pi cameras through Picamera2, imported only when chosen. Not yet run on hardware.

Written against the Picamera2 manual (Raspberry Pi Ltd): in memory, format "RGB888" has the order
blue, green, red, which is what the rest of the device expects. Two streams of one moment are taken:
"main", from which faces are cut out, and "lores", planar YUV as on every Pi, in which they are
looked for; the camera's own hardware makes both.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np

from edge import limits
from edge.camera.latest import LiveCamera
from edge.camera.picture import Pair
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
        # Both streams show the same view; even sides, as YUV has them, and rows without padding.
        width = min(config.width, limits.SMALL_STREAM_WIDTH)
        height = round(config.height * width / config.width / 2) * 2
        self._small = height * 3 // 2, width
        try:
            self._camera = module.Picamera2(number)
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": (config.width, config.height), "format": "RGB888"},
                    lores={"size": (width, height), "format": "YUV420"},
                    controls={"FrameRate": float(config.fps)},
                )
            )
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.release()
            raise CameraUnavailable(f"camera {number} cannot be opened: {error}") from error

    def grab(self) -> Pair:
        """Wait for the next pair of pictures; see `Grabber.grab`."""
        try:
            (main, small), _ = self._camera.capture_arrays(
                ["main", "lores"], wait=limits.CAMERA_STALL_S
            )
        except TimeoutError as error:
            raise CameraUnavailable(
                f"the camera delivered nothing for {limits.CAMERA_STALL_S:g} s; is its cable firm?"
            ) from error
        except (RuntimeError, OSError) as error:
            raise CameraUnavailable(f"the camera failed: {error}") from error
        for picture, right in (
            (main, main.ndim == 3 and main.shape[2] == 3),
            (small, small.ndim == 2 and small.shape[0] == self._small[0]),
        ):
            if not right or picture.dtype != np.uint8:
                raise CameraUnavailable(f"unexpected picture: {picture.dtype} {picture.shape}")
        # Rows of the small stream may be padded at their end.
        return Pair(np.ascontiguousarray(main), np.ascontiguousarray(small[:, : self._small[1]]))

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
