"""Fits the impostor score tail that thresholds follow from, with its uncertainty.

Peaks over threshold (Davison and Smith 1990; Coles 2001, chapter 4): rates that are measured well
are kept as they are; the scores beyond the last of them are described by how far they lie above
it on average. Excesses of a tail that falls off exponentially have this mean wherever one begins,
so the score at a rate rarer than any measured follows in closed form (`edge.watchlist.decide`).
Why exponential, and what else was looked at: docs/adr/0010-impostor-tail.md.

People are the sampling unit, not comparisons: intervals come from drawing people again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import limits

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]

MEASURED = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
"""Rates read off the scores; the exponential goes on from the last."""

BOUNDED = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Rates at which the uncertainty of the score is told."""

MIN_PEOPLE = 100
SAMPLES = 200


@dataclass(frozen=True)
class Comparisons:
    """Scores of different people.

    Attributes:
        score: (n,) cosines.
        one: (n,) index of the probe's person.
        two: (n,) index of the person compared with.
        people: number of people; indices are below it.
        probes: indices of the people whose probes there are.
    """

    score: Floats
    one: NDArray[np.int64]
    two: NDArray[np.int64]
    people: int
    probes: NDArray[np.int64]


def fit(templates: Vectors, people: Sequence[str], data: str) -> dict[str, Any]:
    """Return the manifest's `impostor_tail`.

    Args:
        templates: (n, dimension) of length 1, of pictures that calibration has not seen. The first
            of each person counts as a single template. Up to `limits.SHOTS_KEPT` of one person
            give a fused one, which is compared with the single ones of everybody else.
        people: (n,) whose they are.
        data: what it is, for people.

    Raises:
        ValueError: too few people, altogether or with several pictures.
    """
    names = list(dict.fromkeys(people))
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row, name in enumerate(people):
        rows[name].append(row)
    first = templates[[rows[name][0] for name in names]]
    several = [i for i, name in enumerate(names) if len(rows[name]) > 1]
    if min(len(names), len(several)) < MIN_PEOPLE:
        raise ValueError(
            f"{len(names)} people, {len(several)} with several pictures: "
            f"at least {MIN_PEOPLE} of each are needed to fit the tail"
        )
    means = []
    for i in several:
        mean = templates[rows[names[i]][: limits.SHOTS_KEPT]].mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    fused = np.stack(means)
    return {
        "data": data,
        "single": fit_one(between(first)),
        "fused": fit_one(against(fused, np.array(several), first)),
    }


def between(first: Vectors) -> Comparisons:
    """Compare everybody with everybody else.

    Args:
        first: (people, dimension).
    """
    one, two = np.triu_indices(len(first), 1)
    score = (first @ first.T)[one, two].astype(np.float64)
    return Comparisons(score, one, two, len(first), np.arange(len(first)))


def against(fused: Vectors, who: NDArray[np.int64], first: Vectors) -> Comparisons:
    """Compare fused templates with the single ones of everybody else.

    Args:
        fused: (probes, dimension).
        who: (probes,) index of each probe's person.
        first: (people, dimension).
    """
    others = who[:, None] != np.arange(len(first))[None, :]
    row, two = np.nonzero(others)
    score = (fused @ first.T)[row, two].astype(np.float64)
    return Comparisons(score, who[row], two, len(first), who)


def fit_one(found: Comparisons) -> dict[str, Any]:
    """Return one kind of template's tail, with what drawing people again makes of it."""
    order = np.argsort(-found.score)[: int(MEASURED[0] * 2 * len(found.score))]
    score, one, two = found.score[order], found.one[order], found.two[order]
    symmetric = len(found.probes) == found.people  # each pair stands there once

    def read(weight: Floats) -> tuple[Floats, float]:
        """Scores at the measured rates, and the mean excess over the last."""
        each = weight[one] * weight[two]
        if symmetric:
            total = (weight.sum() ** 2 - (weight**2).sum()) / 2
        else:
            total = (weight[found.probes] * (weight.sum() - weight[found.probes])).sum()
        heavy = np.cumsum(each)
        at = np.minimum(np.searchsorted(heavy, np.array(MEASURED) * total), len(score) - 1)
        beyond = score[: at[-1]] - score[at[-1]]
        return score[at], float((each[: at[-1]] @ beyond) / max(heavy[at[-1] - 1], 1e-12))

    rng = np.random.default_rng(5)
    measured, scale = read(np.ones(found.people))
    drawn = [
        at_rates(*read(rng.multinomial(found.people, np.full(found.people, 1 / found.people))
                       .astype(np.float64)))
        for _ in range(SAMPLES)
    ]  # fmt: skip
    low, high = np.quantile(np.stack(drawn), [0.025, 0.975], axis=0)
    return {
        "people": len(found.probes),
        "comparisons": len(found.score),
        "fmr": MEASURED,
        "score": [round(float(value), 4) for value in measured],
        "scale": round(scale, 5),
        "bounds": [
            {"fmr": fmr, "low": round(float(a), 4), "high": round(float(b), 4)}
            for fmr, a, b in zip(BOUNDED, low, high, strict=True)
        ],
    }


def at_rates(measured: Floats, scale: float) -> Floats:
    """Return the scores at `BOUNDED` of a tail: read off, or continued as `decide` does it."""
    rates = np.array(BOUNDED)
    inside = np.interp(-np.log(rates), -np.log(MEASURED), measured)
    beyond = measured[-1] + scale * np.log(MEASURED[-1] / rates)
    return np.asarray(np.where(rates >= MEASURED[-1], inside, beyond), np.float64)
