"""The part of Picamera2 that Lethe uses, as its manual describes it.

Raspberry Pi Ltd, The Picamera2 Library: chapters 4 (configuration), 6 (capture). "RGB888" is, in
memory, blue, green, red. Creating a camera that is not there raises IndexError; a camera in use
raises RuntimeError.
"""

from __future__ import annotations

import numpy as np

attached: list[int] = [0]
pictures: list[object] = []
log: list[str] = []


class Picamera2:
    def __init__(self, camera_num: int = 0) -> None:
        if camera_num not in attached:
            raise IndexError("list index out of range")
        self._configuration = None
        self._started = False
        log.append(f"open {camera_num}")

    def create_video_configuration(self, main=None, controls=None, **others):
        assert set(main) <= {"size", "format"}
        return {"main": main, "controls": controls or {}} | others

    def configure(self, configuration) -> None:
        assert not self._started
        log.append(f"{configuration['main']} {configuration['controls']}")
        self._configuration = configuration

    def start(self) -> None:
        assert self._configuration is not None
        self._started = True

    def capture_array(self, name: str = "main"):
        assert self._started
        item = pictures.pop(0) if pictures else None
        if isinstance(item, Exception):
            raise item
        if item is not None:
            return item
        width, height = self._configuration[name]["size"]
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 2] = 255  # a red scene: the last of blue, green, red
        return image

    def stop(self) -> None:
        self._started = False

    def close(self) -> None:
        log.append("close")
