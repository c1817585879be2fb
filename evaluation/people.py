"""Templates of many people as matrices: who is whose, and scores of everybody with everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.vision.quality import Bounds, shortcoming
from evaluation.acquire import Acquired
from evaluation.data import Picture
from evaluation.metrics import NO_TEMPLATE
from evaluation.systems import FLOAT, INT8

MOST_PEOPLE = 5000
"""Everybody is compared with everybody else up to so many people: 12.5 million comparisons."""


class Crowd:
    """Pictures in rows, with the person of each; a picture without a template has a row too.

    Attributes:
        names: (pictures,) of the pictures.
        people: the persons, in order of their first picture.
        person: (pictures,) index into `people`.
        first: (people,) row of each person's first picture.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.names = [p.name for p in pictures]
        self.people = list(dict.fromkeys(p.person for p in pictures))
        index = {name: i for i, name in enumerate(self.people)}
        self.person = np.array([index[p.person] for p in pictures], np.int64)
        self.first = np.array(
            [int(np.argmax(self.person == i)) for i in range(len(self.people))], np.int64
        )
        self.row = {name: i for i, name in enumerate(self.names)}

    def templates(
        self, found: Acquired, bounds: Bounds | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (pictures, dimension) templates, zero where there is none, and whether there is.

        Args:
            found: by a system.
            bounds: captures short of these count as failed.
        """
        dimension = len(next(iter(found.captures.values())).template)
        vectors = np.zeros((len(self.names), dimension), np.float32)
        there = np.zeros(len(self.names), bool)
        for name, capture in found.captures.items():
            if bounds is None or shortcoming(capture.quality, bounds) is None:
                vectors[self.row[name]] = capture.template
                there[self.row[name]] = True
        return vectors, there


def compare(
    probes: NDArray[np.float32],
    probes_there: NDArray[np.bool_],
    gallery: NDArray[np.float32],
    gallery_there: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return (probes, gallery) cosines, `NO_TEMPLATE` where either is missing."""
    scores = (probes @ gallery.T).astype(np.float64)
    scores[~probes_there] = NO_TEMPLATE
    scores[:, ~gallery_there] = NO_TEMPLATE
    return scores


def both(systems: Mapping[str, object]) -> bool:
    """Whether int8 can be compared with float."""
    return INT8 in systems and FLOAT in systems
