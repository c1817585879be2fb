"""Checks the one knob: what `fpir_target` comes to on people whom the fit has not seen.

Twice: the shipped tail, on people who took no part in its fit; and the way of fitting, by fitting
anew on a third of the people and searching among the other two thirds, several times.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.inference.manifest import ImpostorTail
from edge.watchlist.decide import threshold
from evaluation.acquire import Acquired
from evaluation.data import People
from evaluation.metrics import Rate, interval
from evaluation.people import Crowd
from models.build import tail as fitting

SIZES = (10, 100, 500, 1000, 2000)
GROWTH = (1, 10, 30, 100, 300, 1000, 3000, 10000)
TARGET = 0.01
REPETITIONS = 40
SPLITS = 10
SAMPLES = 200
LEAST_PROBES = 150


class Reached(msgspec.Struct, frozen=True):
    """The false positive identification rate that a threshold came to.

    Attributes:
        entries: templates of the list.
        fused: whether the probes were fused of several pictures.
        threshold: cosine.
        fpir: reached; the interval comes from drawing the probed people again.
        probes: people probed with, none of whom took part in the fit.
        disjoint: whether nobody on the lists took part in it either.
    """

    entries: int
    fused: bool
    threshold: float
    fpir: Rate
    probes: int
    disjoint: bool


class Refitted(msgspec.Struct, frozen=True):
    """The same with the tail fitted anew: mean, least and most over the splits."""

    entries: int
    fpir: Rate


class Growth(msgspec.Struct, frozen=True):
    """The threshold at one size of the list, by `fpir_target`.

    Attributes:
        entries: templates of the list.
        single: threshold of a single template at each target asked for.
        fused: the same of a fused one.
    """

    entries: int
    single: list[float]
    fused: list[float]


def growth(
    tail: ImpostorTail, targets: Sequence[float], sizes: Sequence[int] = GROWTH
) -> list[Growth]:
    """Tell how the threshold rises with the list."""
    return [
        Growth(
            n,
            [threshold(tail, n, target) for target in targets],
            [threshold(tail, n, target, fused=True) for target in targets],
        )
        for n in sizes
    ]


class Bench:
    """Single and fused templates of people, for lists drawn from them."""

    def __init__(self, people: People, found: Acquired) -> None:
        """Take the captures of a system; people without one of their first picture are left out.

        They could neither be enrolled nor falsely found.
        """
        crowd = Crowd(people.pictures)
        vectors, there = crowd.templates(found)
        kept = np.flatnonzero(there[crowd.first])
        self.first = vectors[crowd.first[kept]]
        self.unseen = np.array([people.unseen(crowd.people[i]) for i in kept], bool)
        self.rows = [np.flatnonzero((crowd.person == i) & there) for i in kept]
        self.vectors = vectors
        self.names = [crowd.people[i] for i in kept]
        self.several = np.array([len(rows) > 1 for rows in self.rows])
        self.fused = self.first.copy()
        for i in np.flatnonzero(self.several):
            mean = vectors[self.rows[i][: limits.SHOTS_KEPT]].mean(axis=0)
            self.fused[i] = mean / np.linalg.norm(mean)

    def reached(self, tail: ImpostorTail, entries: int, *, fused: bool = False) -> Reached | None:
        """Search lists of `entries` people with probes of unseen people; None: too few of them."""
        unseen, seen = np.flatnonzero(self.unseen), np.flatnonzero(~self.unseen)
        fit_to_probe = (self.several if fused else np.ones(len(self.first), bool))[unseen]
        left = (1 - entries / len(unseen)) * fit_to_probe.sum()
        disjoint = bool(left >= LEAST_PROBES)
        rng = np.random.default_rng(entries)
        least = threshold(tail, entries, TARGET, fused=fused)
        false, who = [], []
        for _ in range(REPETITIONS):
            if disjoint:
                listed = rng.choice(unseen, entries, replace=False)
            else:
                order = np.concatenate([rng.permutation(seen), rng.permutation(unseen)])
                listed = order[:entries]
            probes = np.setdiff1d(unseen[fit_to_probe], listed)
            if len(listed) < entries or len(probes) < LEAST_PROBES // 2:
                return None
            vectors = self.fused[probes] if fused else self.first[probes]
            false.append((vectors @ self.first[listed].T).max(axis=1) >= least)
            who.append(probes)
        return Reached(
            entries, fused, least, _by_person(np.concatenate(false), np.concatenate(who)),
            len(np.unique(np.concatenate(who))), disjoint,
        )  # fmt: skip

    def refitted(self, sizes: Sequence[int]) -> list[Refitted]:
        """Fit on a third of the people and search among the others, several times."""
        rates: dict[int, list[float]] = {n: [] for n in sizes}
        rng = np.random.default_rng(9)
        for _ in range(SPLITS):
            order = rng.permutation(len(self.names))
            part = order[: len(order) // 3]
            rest = order[len(order) // 3 :]
            found = fitting.fit_one(fitting.between(self.first[part]))
            tail = msgspec.convert({"data": "", "single": found, "fused": found}, ImpostorTail)
            scores = self.first[rest] @ self.first[rest].T
            for n in rates:
                if len(rest) < n + LEAST_PROBES:
                    continue
                least = threshold(tail, n, TARGET)
                for _ in range(REPETITIONS // SPLITS):
                    listed = rng.choice(len(rest), n, replace=False)
                    probes = np.setdiff1d(np.arange(len(rest)), listed)
                    top = scores[np.ix_(probes, listed)].max(axis=1)
                    rates[n].append(float((top >= least).mean()))
        return [
            Refitted(n, Rate(float(np.mean(r)), float(np.min(r)), float(np.max(r))))
            for n, r in rates.items()
            if r
        ]


def _by_person(false: NDArray[np.bool_], who: NDArray[np.int64]) -> Rate:
    """Return the mean rate over people, with people drawn again."""
    people, index = np.unique(who, return_inverse=True)
    wrong = np.bincount(index, weights=false.astype(np.float64))
    count = np.bincount(index)
    rng = np.random.default_rng(4)
    weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), SAMPLES)
    samples = (weights @ wrong) / (weights @ count)
    if not wrong.any():  # nothing to draw from: Clopper and Pearson's bound for none among so many
        return Rate(0.0, 0.0, 1.0 - 0.025 ** (1 / len(people)))
    return interval(float(false.mean()), samples)
