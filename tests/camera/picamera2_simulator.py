"""The part of Picamera2 that Lethe uses, as its manual and source describe it.

Raspberry Pi Ltd, The Picamera2 Library: chapters 4 (configuration), 6 (capture). "RGB888" is, in
memory, blue, green, red; "YUV420" is planar, and its rows may be padded. A camera that is not there
raises IndexError; one that is in use, or gone when it is to be closed, RuntimeError; a capture that
takes longer than `wait`, TimeoutError.
"""

from __future__ import annotations

import cv2
import numpy as np

attached: list[int] = [0]
pictures: list[object] = []
log: list[str] = []
closing_fails = False


class Picamera2:
    def __init__(self, camera_num: int = 0) -> None:
        if camera_num not in attached:
            raise IndexError("list index out of range")
        self._configuration = None
        self._started = False
        log.append(f"open {camera_num}")

    def create_video_configuration(self, main=None, lores=None, controls=None):
        assert set(main) == set(lores) == {"size", "format"}
        return {"main": main, "lores": lores, "controls": controls}

    def configure(self, configuration) -> None:
        assert not self._started
        if configuration["main"]["format"] not in {"RGB888", "BGR888", "XBGR8888", "YUV420"}:
            raise RuntimeError("Bad format")
        assert configuration["lores"]["format"] == "YUV420", "the only one on a Pi 4"
        (width, height), (w, h) = (configuration[s]["size"] for s in ("main", "lores"))
        assert w <= width
        assert h <= height
        log.append(f"{configuration['main']} {configuration['controls']}")
        self._configuration = configuration

    def start(self) -> None:
        assert self._configuration is not None
        self._started = True

    def capture_arrays(self, names, wait: float | None = None):
        assert self._started
        item = pictures.pop(0) if pictures else None
        if isinstance(item, str):  # "silence"
            assert wait is not None, "waits for ever"
            raise TimeoutError
        if isinstance(item, Exception):
            raise item
        return [item if item is not None else self._picture(name) for name in names], {}

    def _picture(self, name):
        """A red picture, of which the small stream's lower half is dark."""
        width, height = self._configuration[name]["size"]
        if name == "lores":
            red = np.full((height, width, 3), (0, 0, 255), np.uint8)
            red[height // 2 :] = 0
            planes = cv2.cvtColor(red, cv2.COLOR_BGR2YUV_I420)
            return np.pad(planes, ((0, 0), (0, 64)))
        red = (0, 0, 255) if self._configuration[name]["format"] == "RGB888" else (255, 0, 0)
        return np.full((height, width, 3), red, np.uint8)

    def close(self) -> None:
        self._started = False
        log.append("close")
        if closing_fails:
            raise RuntimeError("Unable to stop preview.")
