"""Error rates of biometrics, after ISO/IEC 19795-1. Pure: scores in, rates out.

A comparison matches where its score reaches the threshold. A picture without a template (failure
to acquire) has score -2 with everything: it never matches, so it is a false non-match of its own
person and no false match of anybody else's, as in the generalised rates of the standard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

NO_TEMPLATE = -2.0
"""Score of a comparison that could not be made: below every cosine."""

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate with its confidence interval (95 %), all in [0, 1].

    Attributes:
        value: the estimate.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float


def interval(value: float, samples: Floats) -> Rate:
    """Return an estimate with the middle 95 % of its bootstrap samples (percentile method)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Rate(value, float(low), float(high))


def threshold_at(impostors: Floats, far: float, weights: Floats | None = None) -> float:
    """Return the least threshold at which at most `far` of the impostor scores match.

    Args:
        impostors: (n,) scores of different people.
        far: wanted false match (accept) rate, in [0, 1].
        weights: (n,) how often each score counts; once if None.
    """
    order = np.argsort(-impostors, kind="stable")
    scores = impostors[order]
    if weights is None:
        allowed = int(np.floor(far * len(scores) + 1e-9))
    else:
        heavy = np.cumsum(weights[order])
        allowed = int(np.searchsorted(heavy, far * heavy[-1] * (1 + 1e-12), side="right"))
    if allowed >= len(scores):
        return float(scores[-1])
    # The first score that is one too many must not match.
    return float(np.nextafter(scores[allowed], np.inf))


def ten_fold(scores: Floats, same: Bools, folds: int = 10) -> tuple[float, float]:
    """Accuracy by LFW's protocol: the threshold from nine folds, measured on the tenth.

    Args:
        scores: (n,) of pairs, in the order of the list: a fold is a stretch of each kind.
        same: (n,) whether the pair shows one person.
        folds: at least 2.

    Returns:
        Mean and standard deviation over the folds, in [0, 1].
    """
    fold = np.zeros(len(same), np.int64)
    for kind in (True, False):
        of_kind = np.flatnonzero(same == kind)
        fold[of_kind] = np.arange(len(of_kind)) * folds // max(1, len(of_kind))
    accuracies = []
    for k in range(folds):
        train, test = fold != k, fold == k
        if not test.any():
            continue
        order = np.argsort(scores[train])
        sorted_same = same[train][order]
        # Right answers with the threshold at each score: impostors below, mates from there on.
        below = np.concatenate([[0], np.cumsum(~sorted_same)])
        above = sorted_same.sum() - np.concatenate([[0], np.cumsum(sorted_same)])
        values = scores[train][order]
        allowed = np.concatenate([[True], values[1:] > values[:-1]])  # between equals is no place
        right = np.where(allowed, (below + above)[:-1], -1)
        least = values[int(np.argmax(right))]
        accuracies.append(((scores[test] >= least) == same[test]).mean())
    return float(np.mean(accuracies)), float(np.std(accuracies))


def person_weights(people: int, samples: int, seed: int = 0) -> NDArray[np.float64]:
    """Return how often each person is drawn in each bootstrap sample.

    People, not comparisons, are what is drawn: the comparisons of one person depend on each other.
    A comparison of persons i and j then counts w[i]·w[j] times.

    Returns:
        (samples, people).
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), samples).astype(np.float64)


def discard_curve(
    genuine: Floats, quality: Floats, threshold: float, fractions: Floats
) -> NDArray[np.float64]:
    """Error versus discard: false non-matches among what is left (ISO/IEC 29794-1).

    Args:
        genuine: (n,) scores of pairs of one person.
        quality: (n,) of each pair: the lower of its two pictures'.
        threshold: what a match must reach.
        fractions: (f,) share of the pairs discarded, lowest quality first, in [0, 1).

    Returns:
        (f,) false non-match rates.
    """
    order = np.argsort(quality, kind="stable")
    errors = (genuine[order] < threshold).astype(np.float64)
    left = np.concatenate([np.cumsum(errors[::-1])[::-1], [0.0]])
    start = np.floor(fractions * len(errors)).astype(np.int64)
    return np.asarray(left[start] / (len(errors) - start))
