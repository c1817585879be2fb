"""What live sources share: the latest frame wins, and a lost device is opened again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.base import Frame
from edge.camera.picture import Picture
from edge.errors import CameraUnavailable

log = logging.getLogger(__name__)


class Grabber(Protocol):
    """An opened device."""

    def grab(self) -> NDArray[np.uint8] | Picture:
        """Wait for the next picture and return it: (height, width, 3) uint8, BGR, or not yet so.

        Raises:
            CameraUnavailable: the device is gone or has failed.
        """

    def release(self) -> None:
        """Let go of the device."""


class LiveCamera:
    """A live source; meets `edge.camera.base.Camera`.

    A thread of its own reads the device, so that its buffers never fill with old pictures. One
    slot holds the newest; what nobody took in time is overwritten.
    """

    live = True
    fps = 0.0

    def __init__(
        self,
        name: str,
        connect: Callable[[], Grabber],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to read.

        Args:
            name: for people; without credentials.
            connect: opens the device; raises `CameraUnavailable` where it cannot.
            clock: seconds, steady.
        """
        self.name = name
        self._connect = connect
        self._clock = clock
        self._began = clock()
        self._state = "starting"
        self._slot: Frame | None = None
        self._last = clock()
        self._captured = 0
        self._new = threading.Condition()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """'ok', or why there are no frames."""
        silent = self._clock() - self._last
        if self._state == "ok" and silent > limits.CAMERA_STALL_S:
            return f"no frame for more than {limits.CAMERA_STALL_S:.0f} s"
        return self._state

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame whenever there is one, until closed."""
        while True:
            with self._new:
                while self._slot is None and not self._closed.is_set():
                    self._new.wait()
                if self._closed.is_set():
                    return
                frame, self._slot = self._slot, None
            assert frame is not None
            yield frame

    def close(self) -> None:
        """End `frames()` and release the device."""
        self._closed.set()
        with self._new:
            self._slot = None
            self._new.notify_all()
        # A device that hangs in a read cannot be interrupted; its thread ends with the process.
        self._thread.join(timeout=limits.CAMERA_CLOSE_S)

    def _read(self) -> None:
        pause = limits.CAMERA_RETRY_FIRST_S
        while not self._closed.is_set():
            before = self._captured
            try:
                self._read_until_lost()
            except CameraUnavailable as error:
                self._lost(str(error))
            except Exception as error:  # what a driver raises must not end the camera for good
                log.debug("camera %s", self.name, exc_info=True)
                self._lost(f"failed unexpectedly: {type(error).__name__}: {error}")
            if self._captured > before:
                pause = limits.CAMERA_RETRY_FIRST_S
            self._closed.wait(pause)
            pause = min(2 * pause, limits.CAMERA_RETRY_MAX_S)

    def _read_until_lost(self) -> None:
        grabber = self._connect()
        try:
            while not self._closed.is_set():
                self._keep(grabber.grab())
        finally:
            grabber.release()

    def _keep(self, image: NDArray[np.uint8] | Picture) -> None:
        if self._state != "ok":
            log.info("camera %s: frames arrive", self.name)
        self._state, self._last = "ok", self._clock()
        with self._new:
            self._slot = Frame(image, self._captured, self._last - self._began)
            self._new.notify()
        self._captured += 1

    def _lost(self, reason: str) -> None:
        if self._state != reason:
            log.warning("camera %s: %s; trying again", self.name, reason)
        self._state = reason
