"""The best views of one track: which are worth embedding, and what they say together.

In every short window the best view is kept; at the window's end it is embedded if the track has
few templates so far or the view is clearly better than the best one embedded. So a face that
stays for minutes is embedded a few times, not every frame.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.vision.quality import VIEW, Quality, shortcoming

View = tuple[Quality, NDArray[np.uint8]]
"""A view not yet embedded: its quality, and the aligned face (112, 112, 3) uint8, BGR."""


class Shot(msgspec.Struct, frozen=True):
    """A view that has been embedded.

    Attributes:
        template: (dimension,) float32 of length 1.
        quality: how good the view was.
    """

    template: NDArray[np.float32]
    quality: Quality


class Shots:
    """The views of one track. Holds at most one waiting picture and a few templates."""

    def __init__(self) -> None:
        self._shots: list[Shot] = []
        self._waiting: View | None = None
        self._waiting_overall = 0.0
        self._window_from: float | None = None

    @property
    def shots(self) -> list[Shot]:
        """The embedded views kept, best first."""
        return self._shots

    @property
    def few(self) -> bool:
        """Whether fewer views are embedded than a decision rests on in the end."""
        return len(self._shots) < limits.SHOTS_ENOUGH

    def offer(self, seconds: float, quality: Quality, aligned: NDArray[np.uint8]) -> bool:
        """Show a view of the present frame; return whether it is the best of its window so far.

        Args:
            seconds: time of the frame.
            quality: of the view.
            aligned: (112, 112, 3) uint8, BGR; kept until embedded, overtaken or dropped.
        """
        if self._window_from is None:
            self._window_from = seconds
        if shortcoming(quality, VIEW) is not None:
            return False
        overall = quality.overall
        if self._waiting is not None and overall <= self._waiting_overall:
            return False
        self._waiting, self._waiting_overall = (quality, aligned), overall
        return True

    def due(self, seconds: float, *, closing: bool = False, anyway: bool = False) -> View | None:
        """Return the view to embed now, if there is one, and begin a new window.

        Args:
            seconds: time of the present frame.
            closing: the track has ended: the window closes early.
            anyway: a view is wanted though it is no better than those before.
        """
        if self._waiting is None or self._window_from is None:
            self._window_from = None
            return None
        if not closing and seconds - self._window_from < limits.SHOT_WINDOW_S:
            return None
        waiting, self._waiting, self._window_from = self._waiting, None, None
        if (
            self.few
            or anyway
            or waiting[0].overall > limits.SHOT_BETTER * self._shots[0].quality.overall
        ):
            return waiting
        return None

    def add(self, shot: Shot) -> None:
        """Keep an embedded view; the weakest is dropped beyond `limits.SHOTS_KEPT`.

        A template that resembles none before it is another person's: the track has jumped from
        one face to another, and what was known about it is forgotten.
        """
        if self._shots and float(self.fused() @ shot.template) < limits.SAME_TRACK_COSINE:
            self._shots = []
        self._shots.append(shot)
        self._shots.sort(key=lambda s: -s.quality.overall)
        del self._shots[limits.SHOTS_KEPT :]

    def fused(self) -> NDArray[np.float32]:
        """Return the track's template: the mean of its views, weighted by quality, of length 1."""
        weights = np.array([s.quality.overall for s in self._shots], np.float32)
        mean = weights @ np.stack([s.template for s in self._shots])
        return np.asarray(mean / np.linalg.norm(mean), np.float32)
