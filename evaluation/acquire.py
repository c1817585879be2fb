"""Every picture through every system: what was found, what was not, and why."""

from __future__ import annotations

import hashlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from rich.progress import Progress

from edge import limits
from edge.errors import EvaluationError, FrameError
from edge.files import read_small
from edge.vision.faces import Face
from edge.vision.pictures import decode_picture
from edge.vision.quality import Quality
from evaluation.data import Picture
from evaluation.systems import Capture, Choice, Image, System

ROOT = Path(__file__).resolve().parents[1]
NO_FACE = "no face found"
Change = Callable[[Image, str], Image]
"""Makes another picture of a picture; the name decides how."""


@dataclass(frozen=True)
class Acquired:
    """What a system made of all pictures.

    Attributes:
        system: its name.
        captures: by the picture's name.
        failed: name of every picture without a capture, and why (ISO/IEC 19795-1: a failure to
            acquire). None is left out of any rate: it is a comparison that does not match.
    """

    system: str
    captures: dict[str, Capture]
    failed: dict[str, str]


class _Record(msgspec.Struct, frozen=True):
    """A cached capture: box, landmarks, score, quality, template; or why there is none."""

    failed: str = ""
    box: tuple[float, float, float, float] = (0, 0, 0, 0)
    landmarks: bytes = b""
    score: float = 0.0
    quality: dict[str, float] = {}
    template: bytes = b""


class Cache:
    """Templates between runs, by the hashes of picture and models. For several threads.

    Templates are personal data: the file is readable by its owner alone, and is refused inside
    the project, where it could be committed.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the cache.

        Raises:
            EvaluationError: the folder is inside the project, or cannot be written.
        """
        if folder.resolve().is_relative_to(ROOT):
            raise EvaluationError(
                f"{folder}: templates are personal data; the cache must lie outside {ROOT}"
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / "templates.sqlite"
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA synchronous=OFF")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS captures (key BLOB PRIMARY KEY, value BLOB NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise EvaluationError(f"{folder}: the cache cannot be used: {error}") from error
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Capture | str | None:
        """Return what is known: a capture, why there was none, or None where it is not known."""
        with self._lock:
            row = self._database.execute(
                "SELECT value FROM captures WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        try:
            known = msgspec.msgpack.decode(row[0], type=_Record)
            if known.failed:
                return known.failed
            landmarks = np.frombuffer(known.landmarks, np.float32).reshape(5, 2)
            return Capture(
                Face(known.box, landmarks, known.score),
                Quality(**known.quality),
                np.frombuffer(known.template, np.float32),
            )
        except (msgspec.DecodeError, TypeError, ValueError):
            return None  # of an older version of this program: measured anew

    def put(self, key: bytes, found: Capture | str) -> None:
        """Keep what was found."""
        if isinstance(found, str):
            record = _Record(failed=found)
        else:
            record = _Record(
                box=found.face.box,
                landmarks=found.face.landmarks.astype(np.float32).tobytes(),
                score=found.face.score,
                quality=msgspec.structs.asdict(found.quality),
                template=found.template.tobytes(),
            )
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO captures VALUES (?, ?)",
                (key, msgspec.msgpack.encode(record)),
            )


def acquire(
    choice: Choice,
    system: str,
    pictures: Sequence[Picture],
    progress: Progress,
    *,
    cache: Cache | None = None,
    change: Change | None = None,
    change_name: str = "",
) -> Acquired:
    """Run every picture through a system, on every processor core.

    Args:
        choice: the models.
        system: which of them.
        pictures: what to run.
        progress: shows how far it is.
        cache: what earlier runs found.
        change: makes a harder picture of each.
        change_name: names that change, in the cache and on the screen.
    """
    task = progress.add_task(f"{system} {change_name}".strip(), total=len(pictures))
    cv2.setNumThreads(1)

    def one(picture: Picture) -> Capture | str:
        try:
            content = read_small(picture.path, limits.MAX_PHOTO_BYTES)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        mine = systems.get()
        try:
            digest = hashlib.sha256(content).hexdigest()
            key = hashlib.sha256(f"{mine.key} {change_name} {digest}".encode()).digest()
            found = cache.get(key) if cache else None
            if found is None:
                image = decode_picture(content, picture.name)
                found = mine.capture(change(image, picture.name) if change else image) or NO_FACE
                if cache:
                    cache.put(key, found)
        except FrameError as error:
            return str(error)
        finally:
            systems.put(mine)
            progress.advance(task)
        return found

    # An accelerator serves one at a time.
    workers = (os.cpu_count() or 1) if choice.back_end == "litert" else 1
    systems: queue.SimpleQueue[System] = queue.SimpleQueue()
    opened = [choice.open(system) for _ in range(workers)]
    for each in opened:
        systems.put(each)
    with ThreadPoolExecutor(workers) as pool:
        results = dict(zip((p.name for p in pictures), pool.map(one, pictures), strict=True))
    for each in opened:
        each.close()
    progress.update(task, completed=len(pictures))
    return Acquired(
        system,
        {name: found for name, found in results.items() if isinstance(found, Capture)},
        {name: found for name, found in results.items() if isinstance(found, str)},
    )
