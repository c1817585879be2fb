"""Measures one-to-one comparison: accuracy by folds, and TAR at FAR with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import EvaluationError
from evaluation.acquire import Acquired
from evaluation.data import Pair, Picture
from evaluation.metrics import (
    NO_TEMPLATE,
    Floats,
    Rate,
    interval,
    person_weights,
    ten_fold,
    threshold_at,
)
from evaluation.people import MOST_PEOPLE, Crowd, both, compare

FAR = (1e-2, 1e-3, 1e-4)
SAMPLES = 200
TOP = 0.03
"""Share of the impostor comparisons that is kept for drawing again: more than the laxest FAR."""


class TrueAccept(msgspec.Struct, frozen=True):
    """TAR at one FAR.

    Attributes:
        far: false accept rate.
        threshold: cosine, from the comparisons of everybody with everybody else.
        tar: of the pairs of one person, 0 to 1.
        threshold_pairs: the same from the list's own pairs of different people; None where these
            are too few for this rate.
        tar_pairs: TAR at that.
    """

    far: float
    threshold: float
    tar: Rate
    threshold_pairs: float | None
    tar_pairs: Rate | None


class OneSystem(msgspec.Struct, frozen=True):
    """The figures of one system.

    Attributes:
        accuracy: mean over ten folds.
        deviation: standard deviation over them.
        genuine_mean: mean cosine of pairs of one person.
        impostor_mean: mean cosine of the list's pairs of different people.
        failed: pictures without a template, and why.
        tar: at each of `FAR`.
        curve: (FAR, TAR) points.
    """

    accuracy: float
    deviation: float
    genuine_mean: float
    impostor_mean: float
    failed: dict[str, str]
    tar: list[TrueAccept]
    curve: list[tuple[float, float]]


class Verification(msgspec.Struct, frozen=True):
    """What `lethe evaluate verification` found.

    Attributes:
        same: pairs of one person.
        different: pairs of different people in the list.
        people: number of people compared with each other for the thresholds.
        comparisons: number of these comparisons.
        systems: by name.
        loss: TAR of float - int8 at each of `FAR`; None without float.
    """

    same: int
    different: int
    people: int
    comparisons: int
    systems: dict[str, OneSystem]
    loss: list[Rate] | None


def make_pairs(pictures: Sequence[Picture]) -> list[Pair]:
    """Return pairs where no list says which: all of one person, and as many of different people.

    Those of different people are neighbours in the order of names.

    Raises:
        EvaluationError: nobody has two pictures.
    """
    rows: dict[str, list[str]] = {}
    for picture in pictures:
        rows.setdefault(picture.person, []).append(picture.name)
    same = [Pair(a, b, True) for names in rows.values() for a, b in combinations(names, 2)]
    if not same or len(rows) < 2:
        raise EvaluationError(
            "nobody has two pictures, or there is one person only: nothing to compare"
        )
    firsts = [names[0] for names in rows.values()]
    steps = range(1, min(len(firsts), 2 + len(same) // len(firsts)))
    different = [
        Pair(name, firsts[(i + step) % len(firsts)], False)
        for step in steps
        for i, name in enumerate(firsts)
    ]
    return same + different[: max(len(same), 1)]


def measure(
    pictures: Sequence[Picture], pairs: Sequence[Pair], found: Mapping[str, Acquired]
) -> Verification:
    """Compare pairs, and everybody with everybody else.

    Args:
        pictures: all that were acquired.
        pairs: by name of picture.
        found: by system.
    """
    crowd = Crowd(pictures)
    same = np.array([p.same for p in pairs])
    rows = np.array([(crowd.row[p.first], crowd.row[p.second]) for p in pairs])
    chosen = crowd.first[:MOST_PEOPLE]
    one, two = np.triu_indices(len(chosen), 1)
    weights = person_weights(len(crowd.people), SAMPLES)
    systems, drawn = {}, {}
    for name, acquired in found.items():
        vectors, there = crowd.templates(acquired)
        scores = np.einsum("ij,ij->i", vectors[rows[:, 0]], vectors[rows[:, 1]]).astype(np.float64)
        scores[~(there[rows[:, 0]] & there[rows[:, 1]])] = NO_TEMPLATE
        mine, mine_there = vectors[chosen], there[chosen]
        impostors = compare(mine, mine_there, mine, mine_there)[one, two]
        who = (crowd.person[chosen[one]], crowd.person[chosen[two]])
        systems[name], drawn[name] = _system(
            acquired, scores, same, crowd.person[rows], impostors, who, weights
        )
    loss = None
    if both(found):
        loss = [
            interval(
                systems["float"].tar[i].tar.value - systems["int8"].tar[i].tar.value,
                drawn["float"][i] - drawn["int8"][i],
            )
            for i in range(len(FAR))
        ]
    return Verification(int(same.sum()), int((~same).sum()), len(chosen), len(one), systems, loss)


def _system(
    acquired: Acquired,
    scores: Floats,
    same: NDArray[np.bool_],
    persons: NDArray[np.int64],
    impostors: Floats,
    who: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: Floats,
) -> tuple[OneSystem, Floats]:
    """Return the figures of one system, and TAR of each draw of people, (FAR, draws)."""
    mean, deviation = ten_fold(scores, same)
    genuine, different = scores[same], scores[~same]
    of_whom = persons[same][:, 0]
    # The highest impostor scores are all that thresholds depend on, and what is drawn again.
    top = np.argsort(-impostors)[: max(10, int(TOP * len(impostors)))]
    high, first, second = impostors[top], who[0][top], who[1][top]
    tars, draws = [], np.empty((len(FAR), len(weights)))
    in_play = np.zeros(weights.shape[1])
    in_play[np.unique(np.concatenate(who))] = 1
    for k, weight in enumerate(weights):
        heavy = np.cumsum(weight[first] * weight[second])
        present = weight * in_play
        total = (present.sum() ** 2 - (present**2).sum()) / 2
        mates = weight[of_whom]
        for i, far in enumerate(FAR):
            at = min(int(np.searchsorted(heavy, far * total, side="right")), len(high) - 1)
            draws[i, k] = mates @ (genuine > high[at]) / max(mates.sum(), 1e-9)
    for i, far in enumerate(FAR):
        least = threshold_at(impostors, far)
        own = threshold_at(different, far) if far * len(different) >= 1 else None
        own_tar = None
        if own is not None:
            by_draw = np.array([w[of_whom] @ (genuine >= own) / w[of_whom].sum() for w in weights])
            own_tar = interval(float((genuine >= own).mean()), by_draw)
        tars.append(
            TrueAccept(
                far, least, interval(float((genuine >= least).mean()), draws[i]), own, own_tar
            )
        )
    met, apart = genuine > NO_TEMPLATE, different > NO_TEMPLATE
    return (
        OneSystem(
            mean, deviation, float(genuine[met].mean()), float(different[apart].mean()),
            acquired.failed, tars, _curve(genuine, impostors),
        ),
        draws,
    )  # fmt: skip


def _curve(genuine: Floats, impostors: Floats) -> list[tuple[float, float]]:
    rates = np.logspace(np.log10(max(1e-6, 2 / len(impostors))), -1, 41)
    return [(float(r), float((genuine >= threshold_at(impostors, float(r))).mean())) for r in rates]
