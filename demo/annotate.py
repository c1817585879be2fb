"""The annotated clip: a box and the entry's id on a match, everybody else blurred.

This is the demonstration's own window into the device. It lives in the device's process, sees
frames in RAM, and writes only pictures in which nobody but a match can be recognised. The
firmware never loads it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.base import Frame
from edge.errors import StorageUnavailable
from edge.pipeline import SeenTrack
from edge.vision.faces import Face, iou
from edge.vision.track import Track

Region = tuple[int, int, int, int]

_GROWN = 0.45  # of the face's size on each side: hair, ears and chin go with the face
_TIGHT = 0.1
_SAME_PLACE = 0.3  # overlap of a face with the place where a matched track is expected
_MEMORY = 12  # frames for which the place of a face stays blurred when the detector loses it
_GREEN = (80, 200, 60)


class Annotator:
    """Writes `<name>.mp4` and the frame of the best match, or the last one, as `<name>.jpg`.

    Attributes:
        sightings: entry id and first frame of a matched track, to the last frame it was seen in.
        cpu_seconds: what annotating took of this process, to be told apart from the device's work.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        find: Callable[[NDArray[np.uint8], float], list[Face]],
        fps: float = 25.0,
    ) -> None:
        """Prepare; nothing is written before the first frame.

        Args:
            folder: where to write.
            name: of the files.
            find: a detector of the annotator's own. The device looks at some frames only, and
                there only around the faces it follows; here nobody may be recognisable in any.
            fps: frames a second of the clip.
        """
        self._find = find
        self._clip = folder / f"{name}.mp4"
        self._picture = folder / f"{name}.jpg"
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._recent: deque[list[Region]] = deque(maxlen=_MEMORY)
        self._best: tuple[float, NDArray[np.uint8]] | None = None
        self.sightings: dict[tuple[str, int], int] = {}
        self.cpu_seconds = 0.0

    def saw(self, frame: Frame, tracks: Sequence[SeenTrack]) -> None:
        """Draw one frame; called by the pipeline."""
        began = time.thread_time()
        faces = self._find(frame.image, limits.WEAK_FACE_SCORE)
        matched = [
            (face, seen.track, seen.decision)
            for seen in tracks
            if seen.decision and (face := _found(seen.track, faces, frame.seconds))
        ]
        picture = self._hide(frame.image, faces, [face for face, _, _ in matched])
        for face, track, decision in matched:
            _label(picture, face, f"{decision.entry[:8]}  {decision.score:.2f}")
            self.sightings[decision.entry, track.first_frame] = frame.index
        # The picture to keep: a large match, and preferably somebody hidden beside it.
        hidden = len(faces) > len(matched)
        worth = max((face.width * (1 + hidden) for face, _, _ in matched), default=0.0)
        if self._best is None or worth > self._best[0] or not self._best[0]:
            self._best = (worth, picture)
        self._write(picture)
        self.cpu_seconds += time.thread_time() - began

    def close(self) -> list[Path]:
        """Finish the files and return their paths; none if no frame was seen."""
        if self._writer is None or self._best is None:
            return []
        self._writer.release()
        written, encoded = cv2.imencode(".jpg", self._best[1])
        if not written:
            raise StorageUnavailable(f"{self._picture}: the picture cannot be encoded")
        self._picture.write_bytes(encoded.tobytes())
        return [self._clip, self._picture]

    def _hide(
        self, image: NDArray[np.uint8], faces: Sequence[Face], matched: Sequence[Face]
    ) -> NDArray[np.uint8]:
        """Return a copy in which every face but the matched ones is unrecognisable."""
        height, width = image.shape[:2]
        strangers = [face for face in faces if not any(face is m for m in matched)]
        around = [_region(face, _GROWN, width, height) for face in strangers]
        mask = np.zeros((height, width), np.uint8)
        for regions in (*self._recent, around):
            _fill(mask, regions, 255)
        # A match is shown where it meets a stranger's hair, never at the price of the face.
        _fill(mask, [_region(face, _TIGHT, width, height) for face in matched], 0)
        _fill(mask, [_region(face, _TIGHT, width, height) for face in strangers], 255)
        self._recent.append(around)
        small = max(1, width // 48), max(1, height // 48)
        coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        hidden = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        picture = image.copy()
        cv2.copyTo(hidden, mask, picture)
        return picture

    def _write(self, picture: NDArray[np.uint8]) -> None:
        height, width = picture.shape[:2]
        if self._writer is None:
            self._clip.parent.mkdir(parents=True, exist_ok=True)
            self._writer = cv2.VideoWriter(
                str(self._clip), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, (width, height)
            )
            if not self._writer.isOpened():
                raise StorageUnavailable(f"{self._clip}: cannot be written; is there room?")
            self._size = (width, height)
        if (width, height) != self._size:  # pictures of a folder differ in size
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        self._writer.write(picture)


def _found(track: Track, faces: Sequence[Face], seconds: float) -> Face | None:
    """Return the face that lies where a track is expected; None where there is none."""
    if not faces:
        return None
    overlap = iou(
        np.array([track.expected(seconds)], np.float64),
        np.array([face.box for face in faces], np.float64),
    )[0]
    best = int(overlap.argmax())
    return faces[best] if overlap[best] >= _SAME_PLACE else None


def _region(face: Face, grown: float, width: int, height: int) -> Region:
    left, top, right, bottom = face.box
    dx, dy = grown * face.width, grown * face.height
    return (
        max(0, int(left - dx)),
        max(0, int(top - dy)),
        min(width, int(right + dx) + 1),
        min(height, int(bottom + dy) + 1),
    )


def _fill(mask: NDArray[np.uint8], regions: Sequence[Region], value: int) -> None:
    for left, top, right, bottom in regions:
        mask[top:bottom, left:right] = value


def _label(picture: NDArray[np.uint8], face: Face, text: str) -> None:
    """Draw the box of a match and its entry id above, or below where there is no room above."""
    height, width = picture.shape[:2]
    left, top, right, bottom = _region(face, _TIGHT, width, height)
    size = max(0.45, min(width, height) / 900)
    thick = max(1, round(2 * size))
    cv2.rectangle(picture, (left, top), (right, bottom), _GREEN, thick)
    (w, h), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    x = min(left, max(0, width - w - 4))
    y = top - base - 4 if top > h + base + 6 else bottom + h + 6
    cv2.rectangle(picture, (x, y - h - 4), (x + w + 4, y + base), _GREEN, -1)
    cv2.putText(
        picture, text, (x + 2, y - 1), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thick, cv2.LINE_AA
    )
