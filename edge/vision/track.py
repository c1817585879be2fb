"""Faces associated over frames, by place and motion only. Pure: no pictures, no templates.

The association is ByteTrack's (Zhang et al. 2022): strong detections are matched first, weak ones
may only continue a track, and only strong ones begin one. What is left of the strong ones is
matched again with grown boxes (C-BIoU, Yang et al. 2023): between two looks a face near the camera
moves as far as it is wide, and of a new track no speed is known. Motion is predicted by OpenCV's
Kalman filter with constant velocity. Pairs are taken greedily by overlap: faces seldom overlap, so
an optimal assignment differs from it only where identity is doubtful anyway, and there the
templates decide (`edge.vision.shots`). docs/adr/0002 says why no tracking library is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.vision.faces import Face, Region, iou


class Track(msgspec.Struct, eq=False):
    """One face followed over frames.

    Attributes:
        id: number within this run; never leaves the device.
        face: the face as last seen.
        first_frame: index of the first frame.
        last_frame: index of the last frame it was seen in.
        first_seconds: time of the first frame.
        last_seconds: time of the last frame it was seen in.
        sightings: number of frames it was seen in.
    """

    id: int
    face: Face
    first_frame: int
    last_frame: int
    first_seconds: float
    last_seconds: float
    _motion: _Motion
    sightings: int = 1

    @property
    def predicted(self) -> Region:
        """Where the face was expected when faces were last looked for."""
        return self._motion.box

    def expected(self, seconds: float) -> Region:
        """Return where the face will be at a time from then on."""
        return self._motion.ahead(seconds)


def _noise(*parts: float) -> NDArray[np.float32]:
    return np.diag(np.array(parts, np.float32) ** 2)


_PROCESS = _noise(0.3, 0.3, 0.15, 0.15, 3.0, 3.0)
_MEASUREMENT = _noise(0.05, 0.05, 0.08, 0.08)
_FIRST = _noise(0.05, 0.05, 0.08, 0.08, 2.0, 2.0)
"""Covariances of centre, size and speed, in widths of the face: a near one moves more pixels."""


class _Motion:
    """Constant-velocity Kalman filter over centre and size, in pixels and pixels a second."""

    def __init__(self, box: Region, seconds: float) -> None:
        centre_x, centre_y, width, height = _centred(box)
        self._filter = cv2.KalmanFilter(6, 4)
        self._filter.measurementMatrix = np.eye(4, 6, dtype=np.float32)
        self._filter.statePost = np.array(
            [[centre_x], [centre_y], [width], [height], [0], [0]], np.float32
        )
        area = np.float32(max(width, height)) ** 2
        self._process = area * _PROCESS
        self._filter.measurementNoiseCov = area * _MEASUREMENT
        self._filter.errorCovPost = area * _FIRST
        self._transition = np.eye(6, dtype=np.float32)
        self.box = box
        self._seconds = seconds

    def predict(self, seconds: float) -> None:
        elapsed = max(0.0, seconds - self._seconds)
        self._seconds = max(seconds, self._seconds)
        self._transition[0, 4] = self._transition[1, 5] = elapsed
        self._filter.transitionMatrix = self._transition
        self._filter.processNoiseCov = self._process * np.float32(max(elapsed, 1e-3))
        self._set(self._filter.predict())

    def correct(self, box: Region) -> None:
        measured = np.array(_centred(box), np.float32).reshape(4, 1)
        self._set(self._filter.correct(measured))

    def ahead(self, seconds: float) -> Region:
        elapsed = max(0.0, seconds - self._seconds)
        dx, dy = (speed * elapsed for speed in self._filter.statePost[4:, 0].tolist())
        left, top, right, bottom = self.box
        return left + dx, top + dy, right + dx, bottom + dy

    def _set(self, state: NDArray[Any]) -> None:
        x, y, width, height = state[:4, 0].tolist()
        width, height = max(width, 1.0), max(height, 1.0)
        self.box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


class Tracker:
    """Follows faces from frame to frame."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next_id = 1

    @property
    def tracks(self) -> Sequence[Track]:
        """The tracks alive, seen in the last frame or lost for a short while."""
        return self._tracks

    def update(
        self, frame: int, seconds: float, strong: Sequence[Face], weak: Sequence[Face] = ()
    ) -> tuple[list[Track], list[Track]]:
        """Take the faces of the next frame.

        Args:
            frame: index of the frame.
            seconds: its time; never decreasing.
            strong: faces that may begin a track.
            weak: faces that may only continue one.

        Returns:
            The tracks seen in this frame, and those that have ended by now.
        """
        for track in self._tracks:
            track._motion.predict(seconds)
        near, waiting, left = _match(self._tracks, strong)
        far, waiting, new = _match(waiting, left, grown=limits.TRACK_GROWN)
        faint, waiting, _ = _match(waiting, weak)
        seen: list[Track] = []
        for track, face in (*near, *far, *faint):
            track._motion.correct(face.box)
            track.face = face
            track.last_frame, track.last_seconds = frame, seconds
            track.sightings += 1
            seen.append(track)
        for face in new:
            track = Track(
                self._next_id,
                face,
                frame,
                frame,
                seconds,
                seconds,
                _motion=_Motion(face.box, seconds),
            )
            self._next_id += 1
            self._tracks.append(track)
            seen.append(track)
        ended = [t for t in waiting if seconds - t.last_seconds > limits.TRACK_LOST_S]
        if ended:
            self._tracks = [t for t in self._tracks if t not in ended]
        return seen, ended

    def end_all(self) -> list[Track]:
        """End every track, at a cut or at the end of the source, and return them."""
        ended, self._tracks = self._tracks, []
        return ended


def _match(
    tracks: Sequence[Track], faces: Sequence[Face], grown: float = 0.0
) -> tuple[list[tuple[Track, Face]], list[Track], list[Face]]:
    """Pair tracks with faces, best overlap first; return pairs, tracks left, faces left.

    Args:
        tracks: at their predicted places.
        faces: of the present frame.
        grown: part of its size by which each box is grown on each side.
    """
    if not tracks or not faces:
        return [], list(tracks), list(faces)
    overlap = iou(
        _grown(np.array([t.predicted for t in tracks], np.float64), grown),
        _grown(np.array([f.box for f in faces], np.float64), grown),
    )
    rows, columns = (overlap >= limits.TRACK_MIN_IOU).nonzero()
    near = zip((-overlap[rows, columns]).tolist(), rows.tolist(), columns.tolist(), strict=True)
    pairs: list[tuple[Track, Face]] = []
    free_tracks, free_faces = dict(enumerate(tracks)), dict(enumerate(faces))
    for _, t, f in sorted(near):
        if t in free_tracks and f in free_faces:
            pairs.append((free_tracks.pop(t), free_faces.pop(f)))
    return pairs, list(free_tracks.values()), list(free_faces.values())


def _grown(boxes: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return (n, 4) boxes with a share of their size added on each side."""
    if not share:
        return boxes
    margin = share * (boxes[:, 2:] - boxes[:, :2])
    return np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin])


def _centred(box: Region) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
