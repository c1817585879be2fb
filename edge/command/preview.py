"""The preview for whoever installs a camera: where it looks, and nobody's face.

Two things see to that, and neither relies on the other:

* What is shown is `limits.AIM_COLUMNS` cells across, in `limits.AIM_GREYS` greys: a small face,
  found or not, is a few grey cells.
* A face that would be large enough for more is covered whole: everything that the detector takes
  for one down to a low score, in two sizes, and for some pictures after it was found last.

Pictures are made one at a time from the newest frame, in memory, while the preview is on, and shown
as they are: nothing of them is kept. docs/commands.md says what was measured.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.base import Frame
from edge.command.rules import refusal
from edge.config import AimConfig
from edge.errors import FrameError, Unavailable
from edge.vision.faces import Face, Region

if TYPE_CHECKING:
    from edge.command.preview_server import PreviewServer

log = logging.getLogger(__name__)

Find = Callable[[NDArray[np.uint8], float], list[Face]]
"""Finds faces in a picture, down to a score."""

_DARKEST, _LIGHTEST = 60, 255  # what is covered is black, and nothing else is
_SHOWN_WIDTH = 960


def find_all(image: NDArray[np.uint8], find: Find) -> list[Region]:
    """Return where faces may be, in parts of the picture's width and height.

    Args:
        image: (height, width, 3) uint8, BGR.
        find: a detector. It looks at the picture, and once more at half its size: one that fills
            the picture is found better there.
    """
    height, width = image.shape[:2]
    found = []
    for scale in (1.0, 0.5):
        part = image if scale == 1 else np.asarray(cv2.resize(image, None, fx=scale, fy=scale))
        if min(part.shape[:2]) < limits.MIN_FRAME_SIDE:
            continue
        for face in find(part.astype(np.uint8, copy=False), limits.AIM_FACE_SCORE):
            dx, dy = limits.AIM_GROWN * face.width, limits.AIM_GROWN * face.height
            left, top, right, bottom = face.box
            found.append(
                (
                    (left - dx) / scale / width,
                    (top - dy) / scale / height,
                    (right + dx) / scale / width,
                    (bottom + dy) / scale / height,
                )
            )
    return found


def render(image: NDArray[np.uint8], covered: Sequence[Region]) -> NDArray[np.uint8]:
    """Return what is shown of a picture: (height, width, 3) uint8, BGR.

    Args:
        image: (height, width, 3) uint8, BGR.
        covered: what must not be seen, in parts of its width and height.
    """
    height, width = image.shape[:2]
    scale = limits.AIM_COLUMNS / max(height, width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cells = np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA), np.int32)
    mask = np.zeros((rows, columns), bool)
    for left, top, right, bottom in covered:
        x, y = max(0, int(left * columns)), max(0, int(top * rows))
        mask[y : max(0, int(np.ceil(bottom * rows))), x : max(0, int(np.ceil(right * columns)))] = 1
    cells[mask] = 0  # not even the greys of the rest depend on what is covered
    open_cells = cells[~mask]
    low, high = (int(open_cells.min()), int(open_cells.max())) if open_cells.size else (0, 0)
    steps = (cells - low).clip(0) * limits.AIM_GREYS // max(1, high - low + 1)
    step = (_LIGHTEST - _DARKEST) // (limits.AIM_GREYS - 1)
    shown = (_DARKEST + steps.clip(0, limits.AIM_GREYS - 1) * step).astype(np.uint8)
    shown[mask] = 0
    picture = np.asarray(cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR))
    size = max(1, round(_SHOWN_WIDTH / max(columns, rows)))
    return np.asarray(picture.repeat(size, axis=0).repeat(size, axis=1), np.uint8)


class _Session(msgspec.Struct):
    server: PreviewServer
    ends: float  # by the steady clock
    thread: threading.Thread
    over: threading.Event


class Preview:
    """Is off, until `begin`."""

    def __init__(
        self,
        config: AimConfig,
        *,
        find: Callable[[], Find],
        show: Callable[[bool], None],
        on_end: Callable[[], None] = lambda: None,
        steady: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            config: on which interface.
            find: opens a detector of its own.
            show: shows people that they are looked at, or raises `IndicatorUnavailable`.
            on_end: called when it has ended.
            steady: seconds, never set.
            now: seconds since 1970.
        """
        self._config, self._open, self._show, self._on_end = config, find, show, on_end
        self._steady, self._now = steady, now
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._turn = 0  # rises with each end
        self._frame: NDArray[np.uint8] | None = None
        self._wake = threading.Condition()
        self._due = 0.0

    @property
    def on(self) -> bool:
        """Whether it is shown."""
        return self._session is not None

    def offer(self, frame: Frame) -> None:
        """Take a frame of the stream, now and then, while it is on."""
        if self._session is None or self._steady() < self._due:
            return
        self._due = self._steady() + limits.AIM_PERIOD_S
        picture = frame.image.copy()
        with self._wake:
            if self._session is not None:  # else it has ended meanwhile, and keeps nothing
                self._frame = picture
                self._wake.notify()

    def begin(self, minutes: int) -> tuple[str, float]:
        """Serve it for so long; one that is on ends before.

        Returns:
            Its address, and when it ends, seconds since 1970.

        Raises:
            CommandRefused: the configuration names no interface.
            ConfigError: the interface has no address, or the port cannot be had.
            IndicatorUnavailable: what shows people that they are looked at does not.
            ModelError: there is no detector.
            Unavailable: it was ended meanwhile.
        """
        if self._config.interface is None:
            raise refusal("not-configured", "aim.interface names none: there is no preview")
        from edge.command.preview_server import PreviewServer  # brings a web server

        turn = self._turn
        self._end()
        find = self._open()
        self._show(True)
        server = PreviewServer(self._config.interface, self._config.port)
        over = threading.Event()
        thread = threading.Thread(
            target=self._work, args=(server, find, over), name="preview", daemon=True
        )
        ends = self._steady() + 60 * minutes
        with self._lock:
            wanted = self._turn == turn  # else it was ended while the detector was opened
            if wanted:
                self._session = _Session(server, ends, thread, over)
                thread.start()
        if not wanted:
            server.close()
            raise Unavailable("it was ended before it had begun")
        return server.address, self._now() + 60 * minutes

    def end(self) -> None:
        """End it, if it is on or about to begin."""
        with self._lock:
            self._turn += 1
        self._end()

    def _end(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is None:
            return
        session.over.set()
        session.server.close()
        with self._wake:
            self._frame = None
            self._wake.notify_all()
        if session.thread is not threading.current_thread():
            session.thread.join()
        self._on_end()

    def _work(self, server: PreviewServer, find: Find, over: threading.Event) -> None:
        recent: deque[list[Region]] = deque(maxlen=limits.AIM_MEMORY)
        while not over.is_set():
            session = self._session
            if session is not None and session.over is over and self._steady() >= session.ends:
                self.end()
                return
            with self._wake:
                if self._frame is None:
                    self._wake.wait(limits.AIM_PERIOD_S)
                image, self._frame = self._frame, None
            if image is None:
                continue
            try:
                self._show(True)
                self._picture(image, server, find, recent)
            except FrameError as error:
                log.debug("preview: %s", error)
            except Exception:  # what is not looked through is not shown, and nobody else ends it
                log.exception("the preview ends")
                self.end()

    @staticmethod
    def _picture(
        image: NDArray[np.uint8], server: PreviewServer, find: Find, recent: deque[list[Region]]
    ) -> None:
        recent.append(find_all(image, find))
        picture = render(image, [region for regions in recent for region in regions])
        encoded, jpeg = cv2.imencode(".jpg", picture)
        if encoded:
            server.show(jpeg.tobytes())
