"""A hundred faces in one picture, beside the usual pipeline on each of them alone.

Faces of a hundred people of LFW, as large as in a crowd seen from a stage, are laid out in one
picture of 1920×1080. Lethe watches it as a still camera would, noise of a sensor included; the peer
gets each face as a picture of its own, in its own size, so that it has nothing to search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.stages import list_of
from edge.camera.base import Frame
from edge.pipeline import Pipeline, SeenTrack
from edge.vision.engine import Vision
from edge.vision.pace import Pace
from edge.watchlist.gallery import Gallery

COLUMNS, ROWS, FACES = 12, 9, 100
CELL = 160, 120
TILE, PART = 120, 200
"""The middle 200 of LFW's 250 pixels become 120: about 55 from cheek to cheek."""
FRAMES, FPS = 12, 25.0


def tiles(data: Path) -> list[NDArray[np.uint8]]:
    """Return the first pictures of a hundred people, (120, 120, 3) uint8, BGR."""
    folders = sorted(p for p in (data / "lfw_dev" / "images").iterdir() if p.is_dir())
    found = []
    margin = (250 - PART) // 2
    for folder in folders[:FACES]:
        image = cv2.imread(str(min(folder.glob("*.jpg"))))
        assert image is not None
        part = image[margin : margin + PART, margin : margin + PART]
        small = cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_AREA)
        found.append(np.asarray(small, np.uint8))
    return found


def picture(faces: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay the faces out in rows: (1080, 1920, 3) uint8, BGR."""
    whole = np.full((ROWS * CELL[1], COLUMNS * CELL[0], 3), 110, np.uint8)
    for number, face in enumerate(faces):
        x, y = _corner(number)
        whole[y : y + TILE, x : x + TILE] = face
    return whole


def _corner(number: int) -> tuple[int, int]:
    row, column = divmod(number, COLUMNS)
    return column * CELL[0] + (CELL[0] - TILE) // 2, row * CELL[1]


@dataclass(frozen=True)
class Crowd:
    """What Lethe made of the picture.

    Attributes:
        found: tiles in which a face is followed.
        embedded: tiles whose face was embedded.
        elsewhere: tracks beside the tiles.
        embeddings: templates made.
        cpu: processor seconds, from the first frame to the last.
        narrowest: width of the narrowest face in pixels of the picture.
    """

    found: int
    embedded: int
    elsewhere: int
    embeddings: int
    cpu: float
    narrowest: float


class _Watcher:
    def __init__(self) -> None:
        self.tracks: list[SeenTrack] = []

    def saw(self, frame: Frame, tracks: Sequence[SeenTrack]) -> None:
        self.tracks = list(tracks)


def watch(whole: NDArray[np.uint8], eye: Vision) -> Crowd:
    """Watch the picture for half a second."""
    gallery, watcher = Gallery(list_of(eye)), _Watcher()
    pipeline = Pipeline(
        eye, lambda: gallery, lambda _: None, now=time.time, pace=Pace(), observer=watcher
    )
    random = np.random.default_rng(1)
    noisy = [
        np.clip(whole + random.normal(0, 2, whole.shape), 0, 255).astype(np.uint8)
        for _ in range(FRAMES)
    ]
    began = time.process_time()
    for index, image in enumerate(noisy):
        pipeline.process(Frame(image, index, index / FPS))
    cpu = time.process_time() - began
    found, embedded, elsewhere = set(), set(), 0
    for seen in watcher.tracks:
        left, top, right, bottom = seen.track.face.box
        x, y = int((left + right) / 2), int((top + bottom) / 2)
        number = y // CELL[1] * COLUMNS + x // CELL[0]
        if number >= FACES:
            elsewhere += 1
            continue
        found.add(number)
        if seen.embedded:
            embedded.add(number)
    return Crowd(
        found=len(found),
        embedded=len(embedded),
        elsewhere=elsewhere,
        embeddings=pipeline.counters.embeddings,
        cpu=cpu,
        narrowest=min((s.track.face.width for s in watcher.tracks), default=0.0),
    )
