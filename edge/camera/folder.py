"""A folder of pictures, in natural order: shot-2 before shot-10."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from edge import limits
from edge.camera.base import Frame
from edge.errors import CameraUnavailable, FrameError
from edge.vision.pictures import read_picture

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class Folder:
    """Pictures as frames; meets `edge.camera.base.Camera`."""

    live = False

    def __init__(self, path: Path) -> None:
        """List the pictures of a folder.

        Raises:
            CameraUnavailable: no such folder, or no picture in it.
        """
        self.name = path.name
        self.state = "ok"
        self.corrupt = 0
        try:
            self._paths = sorted(
                (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()),
                key=_natural,
            )
        except OSError as error:
            raise CameraUnavailable(f"{path}: cannot be read: {error.strerror}") from error
        if not self._paths:
            raise CameraUnavailable(
                f"{path}: no picture in it; names must end in {', '.join(sorted(SUFFIXES))}"
            )
        self.declared = len(self._paths)
        self.fps = limits.FOLDER_FPS
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Yield every picture; one that cannot be decoded is named in the log and leaves a gap."""
        for index, path in enumerate(self._paths):
            if self._closed.is_set():
                return
            try:
                image = read_picture(path)
            except FrameError as error:
                self.corrupt += 1
                log.warning("%s: skipped", error)
                continue
            yield Frame(image, index, index / limits.FOLDER_FPS)
        if self.corrupt == len(self._paths):
            raise CameraUnavailable(f"{self.name}: not a single picture could be decoded")

    def close(self) -> None:
        """End `frames()` after the present picture."""
        self._closed.set()


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts]
