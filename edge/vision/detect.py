"""Faces in a frame: letterboxing, the detector network, decoding and non-maximum suppression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import FrameError
from edge.inference.base import Network
from edge.inference.manifest import DetectorModel
from edge.vision.faces import Face, Region, iou


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is not a picture.

    Raises:
        FrameError: not (height, width, 3) uint8, empty, or larger than the limit.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FrameError(f"not a BGR picture: {image.dtype} {image.shape}")
    if min(image.shape[:2]) < limits.MIN_FRAME_SIDE or max(image.shape[:2]) > limits.MAX_FRAME_SIDE:
        raise FrameError(
            f"picture of {image.shape[1]}×{image.shape[0]}: sides must lie between "
            f"{limits.MIN_FRAME_SIDE} and {limits.MAX_FRAME_SIDE} pixels"
        )


class Detector:
    """YuNet (Wu et al. 2023, anchor-free). Not for use by two threads at once."""

    def __init__(self, network: Network, model: DetectorModel) -> None:
        self._network = network
        self._model = model
        _, self._height, self._width, _ = model.input.shape
        self._input = np.zeros(model.input.shape, np.uint8)
        self._grids = {
            stride: _grid(self._height // stride, self._width // stride) for stride in model.strides
        }

    @property
    def width(self) -> int:
        """Width of the network's input in pixels."""
        return self._width

    @property
    def strong_score(self) -> float:
        """The manifest's threshold: the score from which a box is taken for a face."""
        return self._model.score_threshold

    def detect(self, image: NDArray[np.uint8], min_score: float | None = None) -> list[Face]:
        """Find faces.

        Args:
            image: (height, width, 3) uint8, BGR.
            min_score: weakest face returned; the manifest's threshold if None.

        Returns:
            Faces in pixels of `image`, strongest first.

        Raises:
            FrameError: not a usable picture.
            ModelError: the runtime failed.
        """
        check_image(image)
        return self._find(image, self.scale(image), min_score)

    def scale(self, image: NDArray[np.uint8]) -> float:
        """Return by how much a picture is scaled to fit the network's input."""
        return float(min(self._width / image.shape[1], self._height / image.shape[0]))

    def detect_within(
        self,
        image: NDArray[np.uint8],
        region: Region,
        scales: tuple[float, float],
        min_score: float,
    ) -> list[Face] | None:
        """Find the faces of a part of a picture.

        Args:
            image: (height, width, 3) uint8, BGR.
            region: left, top, right, bottom in pixels of it.
            scales: least and largest by which it may be scaled; the largest that fits is taken.
            min_score: weakest face returned.

        Returns:
            As `detect`; None if the region does not fit into the network's input.
        """
        height, width = image.shape[:2]
        left, top = max(0.0, region[0]), max(0.0, region[1])
        right, bottom = min(float(width), region[2]), min(float(height), region[3])
        if right - left < 1 or bottom - top < 1:
            return []  # beyond the edge
        fits = min(self._width / (right - left), self._height / (bottom - top))
        scale = min(scales[1], fits)
        if scale < scales[0]:
            return None
        w, h = min(int(self._width / scale), width), min(int(self._height / scale), height)
        x = int(min(max(0.0, (left + right - w) / 2), width - w))
        y = int(min(max(0.0, (top + bottom - h) / 2), height - h))
        part = image[y : y + h, x : x + w]
        return [face.moved(x, y) for face in self._find(part, scale, min_score)]

    def _find(self, image: NDArray[np.uint8], scale: float, min_score: float | None) -> list[Face]:
        self._letterbox(image, scale)
        outputs = self._network.run(self._input)
        limit = self._model.score_threshold if min_score is None else min_score
        boxes, landmarks, scores = self._decode(outputs, min(limit, limits.WEAK_FACE_SCORE))
        if not len(scores) or scores.max() < limit:
            return []
        keep = np.asarray(
            cv2.dnn.NMSBoxes(
                np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist(),
                scores.tolist(),
                limit,
                self._model.nms_iou,
            )
        ).ravel()
        faces = _blended(boxes, landmarks, scores, keep[: limits.MAX_FACES], scale)
        # Landmarks in one spot are no face, and could not be aligned.
        return [face for face in faces if face.eye_distance > 1.0]

    def _letterbox(self, image: NDArray[np.uint8], scale: float) -> None:
        """Fill the input buffer with `image`, scaled, top left."""
        height, width = image.shape[:2]
        # At least one pixel: a very flat picture must not scale to nothing.
        w = max(1, min(self._width, round(width * scale)))
        h = max(1, min(self._height, round(height * scale)))
        buffer = self._input[0]
        target = buffer[:h, :w]
        if (h, w) == (height, width):
            target[:] = image
        else:
            target[:] = _resized(image, w, h)
        buffer[h:] = 0
        buffer[:, w:] = 0
        if self._model.input.colour == "RGB":
            cv2.cvtColor(buffer, cv2.COLOR_BGR2RGB, dst=buffer)

    def _decode(
        self, outputs: dict[str, NDArray[np.float32]], limit: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Turn network outputs into (n, 4) corners, (n, 5, 2) landmarks and (n,) scores.

        Each cell of stride s at column c and row r predicts class and objectness, whose geometric
        mean is the score; the centre (c + dx, r + dy)·s; the size exp(dw, dh)·s; and landmarks
        (c + x, r + y)·s.
        """
        found_boxes, found_landmarks, found_scores = [], [], []
        for stride in self._model.strides:
            cls = outputs[f"cls_{stride}"].ravel()
            obj = outputs[f"obj_{stride}"].ravel()
            score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            cells = np.flatnonzero(score >= limit)
            if not len(cells):
                continue
            origin = self._grids[stride][cells]
            box = outputs[f"bbox_{stride}"].reshape(-1, 4)[cells]
            centre = (origin + box[:, :2]) * stride
            half = np.exp(np.clip(box[:, 2:], -10, 10)) * (stride / 2)
            points = outputs[f"kps_{stride}"].reshape(-1, 5, 2)[cells]
            found_boxes.append(np.hstack([centre - half, centre + half]))
            found_landmarks.append((points + origin[:, None]) * stride)
            found_scores.append(score[cells])
        if not found_scores:
            nothing = np.zeros(0, np.float32)
            return nothing.reshape(0, 4), nothing.reshape(0, 5, 2), nothing
        return (
            np.concatenate(found_boxes),
            np.concatenate(found_landmarks),
            np.concatenate(found_scores),
        )


def _rising(values: NDArray[np.float32], between: tuple[float, float]) -> NDArray[np.float32]:
    """Return 0 up to the lower of two values, 1 from the upper one, and straight in between."""
    low, high = between
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def _blended(
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    scores: NDArray[np.float32],
    best: NDArray[np.intp],
    scale: float,
) -> list[Face]:
    """Return the faces that the cells `best`, and those that agree with each, see, in image pixels.

    Several cells see one face, and their boxes and landmarks differ by some percent of the
    distance between the eyes. Their mean, weighted by score, is steadier than the best cell's
    word, and int8 disturbs it less (Bazarevsky et al., BlazeFace, 2019, section 4). A cell gains
    weight by degrees: were it in or out, a rounding could move the mean by a leap.
    """
    overlaps = iou(boxes[best].astype(np.float64), boxes.astype(np.float64)).astype(np.float32)
    overlaps[np.arange(len(best)), best] = 1.0  # also of a box without a size
    weights = scores * _rising(overlaps, limits.SAME_FACE_IOU)
    weights *= _rising(scores / scores[best][:, None], limits.SAME_FACE_SCORE)
    weights /= weights.sum(axis=1, keepdims=True) * np.float32(scale)
    means = (weights @ boxes).tolist()
    points = (weights @ landmarks.reshape(-1, 10)).reshape(-1, 5, 2).astype(np.float32)
    return [
        Face((left, top, right, bottom), marks, score)
        for (left, top, right, bottom), marks, score in zip(
            means, points, scores[best].tolist(), strict=True
        )
    ]


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture in another size, as averaging would, in a third of its time.

    Small faces must not dissolve into aliases, so what shrinks to less than half is halved by
    averaging first; linear interpolation after that reads every pixel down to a quarter.
    """
    scale = width / image.shape[1]
    if 0.25 <= scale < 0.5:
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    method = cv2.INTER_AREA if scale < 0.25 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _grid(rows: int, columns: int) -> NDArray[np.float32]:
    """Return (rows·columns, 2) float32: column and row of each cell, row by row."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
