"""Average precision of a detector, by size of face. Pure: boxes in, figures out.

WIDER FACE's rules (Yang et al. 2016) at an overlap of 0.5: detections are taken strongest first;
each takes the unmatched face that it overlaps most. Faces outside the sizes asked for are ignored:
a detection on one of them counts neither way; and a detection on no face counts as false only
where its own size is asked for (as in COCO), so that small false boxes do not burden large faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]

OVERLAP = 0.5


@dataclass(frozen=True)
class Found:
    """What a detector found in one picture.

    Attributes:
        faces: (m, 4) the labelled boxes: left, top, right, bottom.
        boxes: (n, 4) detections, strongest first.
        scores: (n,) falling.
        scale: pixels of the detector's input a pixel of the picture: sizes are judged in these.
    """

    faces: Boxes
    boxes: Boxes
    scores: NDArray[np.float64]
    scale: float


def overlaps(one: Boxes, two: Boxes) -> NDArray[np.float64]:
    """Return (m, n) intersections over unions of (m, 4) and (n, 4) boxes."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (one, two)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def judge(found: Found, least: float, most: float) -> tuple[NDArray[np.int8], int]:
    """Judge the detections of one picture.

    Args:
        found: detections and labels.
        least: smallest face asked for: its height in pixels of the detector's input.
        most: faces from this height on are not asked for.

    Returns:
        (n,) 1 right, 0 false, -1 ignored; and the number of faces asked for.
    """
    heights = (found.faces[:, 3] - found.faces[:, 1]) * found.scale
    asked = (heights >= least) & (heights < most)
    tall = (found.boxes[:, 3] - found.boxes[:, 1]) * found.scale
    verdict = np.where((tall >= least) & (tall < most), 0, -1).astype(np.int8)
    if not len(found.faces) or not len(found.boxes):
        return verdict, int(asked.sum())
    table = overlaps(found.boxes, found.faces)
    free = np.ones(len(found.faces), bool)
    for row in range(len(found.boxes)):
        # A face that is asked for goes before one that is not.
        for kind in (asked, ~asked):
            open_ = np.where(free & kind, table[row], 0.0)
            best = int(np.argmax(open_))
            if open_[best] >= OVERLAP:
                free[best] = False
                verdict[row] = 1 if asked[best] else -1
                break
    return verdict, int(asked.sum())


class Judged:
    """The detections of all pictures judged once, to be weighted often (bootstrap).

    Attributes:
        faces: number of faces asked for.
    """

    def __init__(self, pictures: Sequence[Found], least: float, most: float = np.inf) -> None:
        """Judge; sizes as in `judge`."""
        verdicts, counts, scores, rows = [], [], [], []
        for row, found in enumerate(pictures):
            verdict, count = judge(found, least, most)
            keep = verdict >= 0
            verdicts.append(verdict[keep])
            scores.append(found.scores[keep])
            rows.append(np.full(int(keep.sum()), row))
            counts.append(count)
        order = np.argsort(-np.concatenate(scores), kind="stable")
        self._right = np.concatenate(verdicts)[order].astype(np.float64)
        self._row = np.concatenate(rows)[order]
        self._counts = np.array(counts, np.float64)
        self.faces = int(self._counts.sum())

    def average(self, weights: NDArray[np.float64] | None = None) -> float:
        """Return the area under precision over recall, precision made falling (VOC 2010, WIDER).

        Args:
            weights: (pictures,) how often each counts; once if None.

        Returns:
            In [0, 1]; NaN where no face is asked for.
        """
        each = np.ones(len(self._counts)) if weights is None else weights
        total = float(each @ self._counts)
        if total == 0:
            return float("nan")
        weight = each[self._row]
        right = np.cumsum(weight * self._right)
        precision = right / np.maximum(np.cumsum(weight), 1e-12)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        recall = np.concatenate([[0.0], right / total])
        return float(np.sum(np.diff(recall) * falling))
