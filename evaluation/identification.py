"""Measures open-set identification: FNIR at FPIR for lists of several sizes, and the knob itself.

One picture each of N people is enrolled. Mated probes are their other pictures; unmated probes are
one picture each of people who are not enrolled. This is repeated with other people enrolled; rates
are over all repetitions, intervals come from drawing probed people again. The repetitions, people
and draws are the same for every system, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import EvaluationError
from edge.vision.quality import ENROL, VIEW
from evaluation.acquire import Acquired
from evaluation.data import Picture
from evaluation.metrics import (
    NO_TEMPLATE,
    Floats,
    Ints,
    Rate,
    interval,
    person_weights,
    threshold_at,
)
from evaluation.people import Crowd, both, compare

FPIR = (1e-2, 1e-3)
GALLERIES = (10, 100, 500, 1000)
REPETITIONS = 20
"""At least so often other people are enrolled; short lists, of whom little is seen, more often."""
SAMPLES = 200
LEAST_PROBES = 100
TOP = 0.05
"""Share of the unmated searches that is kept for drawing again: more than the laxest FPIR."""


class Point(msgspec.Struct, frozen=True):
    """FNIR at one FPIR, with the cosine that gives it."""

    fpir: float
    threshold: float
    fnir: Rate


class Searched(msgspec.Struct, frozen=True):
    """What searching a list of one size came to.

    Attributes:
        gallery: people enrolled, one picture each.
        mated: probes of enrolled people, over all repetitions.
        unmated: probes of others, over all repetitions.
        systems: FNIR at each of `FPIR`, by system.
        det: (FPIR, FNIR) points of the detection error trade-off, by system.
        loss: FNIR of int8 - float at each of `FPIR`; None without float.
    """

    gallery: int
    mated: int
    unmated: int
    systems: dict[str, list[Point]]
    det: dict[str, list[tuple[float, float]]]
    loss: list[Rate] | None


class Identification(msgspec.Struct, frozen=True):
    """What `lethe evaluate identification` found.

    Attributes:
        people: number of people.
        several: how many have two pictures or more.
        gates: whether poor views were refused, as on the device and at enrolment.
        failed: by system: pictures without a template, and why.
        gated: by system: number of pictures refused as too poor.
        searched: by size of list.
        skipped: sizes that these people are too few for.
    """

    people: int
    several: int
    gates: bool
    failed: dict[str, dict[str, str]]
    gated: dict[str, dict[str, int]]
    searched: list[Searched]
    skipped: list[int]


class Drawn:
    """Who is enrolled in each repetition. The same for every system."""

    def __init__(self, crowd: Crowd, gallery: int, repetitions: int) -> None:
        """Choose people with several pictures first, so that there is somebody to look for."""
        counts = np.bincount(crowd.person, minlength=len(crowd.people))
        several, one = np.flatnonzero(counts > 1), np.flatnonzero(counts == 1)
        rng = np.random.default_rng(gallery)
        self.enrolled: list[Ints] = []
        for _ in range(repetitions):
            order = np.concatenate([rng.permutation(several), rng.permutation(one)])
            self.enrolled.append(order[:gallery])


def measure(
    pictures: Sequence[Picture],
    found: Mapping[str, Acquired],
    galleries: Sequence[int] = GALLERIES,
    *,
    gates: bool = False,
    repetitions: int = REPETITIONS,
) -> Identification:
    """Search lists of several sizes.

    Args:
        pictures: all that were acquired; the first of a person is the one that is enrolled.
        found: by system.
        galleries: sizes of the list.
        gates: refuse views and photos as the device and enrolment do. What is refused counts as
            failed: its person is missed.
        repetitions: with other people enrolled.

    Raises:
        EvaluationError: nobody has two pictures, or there are too few people for any size.
    """
    crowd = Crowd(pictures)
    counts = np.bincount(crowd.person)
    several = int((counts > 1).sum())
    fitting = [n for n in galleries if n + LEAST_PROBES <= len(crowd.people)]
    if not several or not fitting:
        raise EvaluationError(
            f"{len(crowd.people)} people, {several} with two pictures or more: too few; a list of "
            f"N needs people with two pictures, and {LEAST_PROBES} people more than N"
        )
    gated: dict[str, dict[str, int]] = {}
    scores = {}
    for name, acquired in found.items():
        probes, probes_there = crowd.templates(acquired, VIEW if gates else None)
        photos, photos_there = crowd.templates(acquired, ENROL if gates else None)
        firsts = photos_there[crowd.first]
        scores[name] = compare(probes, probes_there, photos[crowd.first], firsts)
        got = len(acquired.captures)
        gated[name] = {
            "views": got - int(probes_there.sum()),
            "photos": sum(crowd.names[row] in acquired.captures for row in crowd.first)
            - int(firsts.sum()),
        }
    searched = [_search(crowd, scores, n, max(repetitions, min(100, 2000 // n))) for n in fitting]
    return Identification(
        len(crowd.people), several, gates,
        {name: acquired.failed for name, acquired in found.items()}, gated,
        searched, [n for n in galleries if n not in fitting],
    )  # fmt: skip


def _search(crowd: Crowd, scores: Mapping[str, Floats], gallery: int, repetitions: int) -> Searched:
    drawn = Drawn(crowd, gallery, repetitions)
    weights = person_weights(len(crowd.people), SAMPLES)
    systems: dict[str, list[Point]] = {}
    det: dict[str, list[tuple[float, float]]] = {}
    draws: dict[str, Floats] = {}
    mated = unmated = 0
    for name, table in scores.items():
        hits, hit_people, tops, top_people = pool(crowd, table, drawn)
        mated, unmated = len(hits), len(tops)
        points, samples = [], np.empty((len(FPIR), SAMPLES))
        order = np.argsort(-tops)[: max(10, int(TOP * len(tops)))]
        for i, fpir in enumerate(FPIR):
            least = threshold_at(tops, fpir)
            for k, weight in enumerate(weights):
                heavy = np.cumsum(weight[top_people[order]])
                allowed = fpir * weight[top_people].sum()
                at = min(int(np.searchsorted(heavy, allowed, side="right")), len(order) - 1)
                mates = weight[hit_people]
                samples[i, k] = mates @ (hits <= tops[order[at]]) / max(mates.sum(), 1e-9)
            points.append(Point(fpir, least, interval(float((hits < least).mean()), samples[i])))
        systems[name], draws[name] = points, samples
        rates = np.logspace(np.log10(max(1e-4, 2 / len(tops))), np.log10(0.3), 33)
        det[name] = [(float(r), float((hits < threshold_at(tops, float(r))).mean())) for r in rates]
    loss = None
    if both(scores):
        loss = [
            interval(
                systems["int8"][i].fnir.value - systems["float"][i].fnir.value,
                draws["int8"][i] - draws["float"][i],
            )
            for i in range(len(FPIR))
        ]
    return Searched(gallery, mated, unmated, systems, det, loss)


def pool(
    crowd: Crowd, table: Floats, drawn: Drawn
) -> tuple[Floats, NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Search every repetition.

    Args:
        crowd: whose the rows of the table are.
        table: (pictures, people) scores against each person's enrolled picture.
        drawn: who is enrolled.

    Returns:
        Score of the mate where it was the best candidate (`NO_TEMPLATE` elsewhere) and person of
        each mated probe; best score and person of each unmated one.
    """
    is_first = np.zeros(len(crowd.names), bool)
    is_first[crowd.first] = True
    hits, hit_people, tops, top_people = [], [], [], []
    for enrolled in drawn.enrolled:
        listed = np.zeros(len(crowd.people), bool)
        listed[enrolled] = True
        column = np.full(len(crowd.people), -1)
        column[enrolled] = np.arange(len(enrolled))
        mated = np.flatnonzero(~is_first & listed[crowd.person])
        part = table[np.ix_(mated, enrolled)]
        best = part.argmax(axis=1)
        right = best == column[crowd.person[mated]]
        hits.append(np.where(right, part.max(axis=1), NO_TEMPLATE))
        hit_people.append(crowd.person[mated])
        others = crowd.first[~listed]
        tops.append(table[np.ix_(others, enrolled)].max(axis=1))
        top_people.append(crowd.person[others])
    return (
        np.concatenate(hits), np.concatenate(hit_people),
        np.concatenate(tops), np.concatenate(top_people),
    )  # fmt: skip
