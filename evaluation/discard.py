"""Justifies the quality measure: error versus discard, and what poor faces do to strangers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.inference.manifest import ImpostorTail
from edge.vision.align import align
from edge.vision.pictures import read_picture
from edge.vision.quality import ENROL, VIEW, Quality, measure, shortcoming
from edge.watchlist.decide import threshold
from evaluation.acquire import Acquired
from evaluation.data import Picture, Scene
from evaluation.metrics import Floats, discard_curve
from evaluation.people import Crowd
from evaluation.systems import Capture, System

FRACTIONS = np.round(np.arange(0, 0.51, 0.05), 2)
LIST = 1000
"""The threshold is that of a list of so many, at a target of 1 %: what a real search must reach."""

MEASURES: dict[str, Callable[[Quality], float]] = {
    "overall": lambda q: q.overall,
    "detector's score": lambda q: q.score,
    "size": lambda q: q.size,
    "sharpness": lambda q: q.sharpness,
    "exposure": lambda q: -abs(q.brightness - 0.5),
    "contrast": lambda q: q.contrast,
    "frontality": lambda q: q.frontality,
}
IMPOSTOR_RATES = (1e-2, 1e-3, 1e-4)


class Curve(msgspec.Struct, frozen=True):
    """False non-match rate by share discarded, for one measure."""

    measure: str
    fnmr: list[float]


class Discard(msgspec.Struct, frozen=True):
    """Error versus discard on one kind of pictures.

    Attributes:
        pictures: which.
        pairs: of one person.
        threshold: cosine.
        curves: by measure; the last is the ideal one, that discards by the score itself.
        judged: share of the pairs whose views the device would judge.
        fnmr_judged: false non-match rate of these.
        fnmr_refused: of the others; None where nothing was refused.
    """

    pictures: str
    pairs: int
    threshold: float
    curves: list[Curve]
    judged: float
    fnmr_judged: float
    fnmr_refused: float | None


class Strangers(msgspec.Struct, frozen=True):
    """Scores that strangers reach, by the quality of both sides.

    Attributes:
        kind: which comparisons.
        comparisons: how many.
        score: cosine at each of `IMPOSTOR_RATES`; None where there are too few for the rate.
    """

    kind: str
    comparisons: int
    score: list[float | None]


class QualityReport(msgspec.Struct, frozen=True):
    """What `lethe evaluate quality` found."""

    fractions: list[float]
    discard: list[Discard]
    failed_worse: int
    strangers: list[Strangers]


def curves(
    name: str, pairs: Sequence[tuple[Capture, Capture]], tail: ImpostorTail, *, both: bool
) -> Discard:
    """Discard pairs of one person by each measure.

    Args:
        name: of the kind of pictures.
        pairs: reference and probe.
        tail: what the threshold follows from.
        both: a pair is as good as the worse of its two; else as its probe.
    """
    genuine = np.array([float(a.template @ b.template) for a, b in pairs])
    least = threshold(tail, LIST, 0.01)

    def of(value: Callable[[Quality], float]) -> Floats:
        probe = np.array([value(b.quality) for _, b in pairs], np.float64)
        if not both:
            return probe
        return np.minimum(probe, np.array([value(a.quality) for a, _ in pairs], np.float64))

    found = [
        Curve(measure_name, discard_curve(genuine, of(value), least, FRACTIONS).tolist())
        for measure_name, value in MEASURES.items()
    ]
    found.append(Curve("ideal", discard_curve(genuine, genuine, least, FRACTIONS).tolist()))
    judged = np.array([shortcoming(b.quality, VIEW) is None for _, b in pairs])
    wrong = genuine < least
    return Discard(
        name, len(pairs), least, found, float(judged.mean()), float(wrong[judged].mean()),
        float(wrong[~judged].mean()) if not judged.all() else None,
    )  # fmt: skip


def genuine_pairs(
    pictures: Sequence[Picture], references: Acquired, probes: Acquired
) -> list[tuple[Capture, Capture]]:
    """Return every two different pictures of one person that both have a template."""
    rows: dict[str, list[str]] = {}
    for picture in pictures:
        rows.setdefault(picture.person, []).append(picture.name)
    return [
        (references.captures[a], probes.captures[b])
        for names in rows.values()
        for a in names
        for b in names
        if a != b and a in references.captures and b in probes.captures
    ]


@dataclass(frozen=True)
class CrowdFace:
    """A face of a crowd, and the picture that it is in."""

    quality: Quality
    template: NDArray[np.float32]
    scene: int


def crowd_faces(system: System, scenes: Sequence[Scene]) -> list[CrowdFace]:
    """Embed every face that is found in labelled pictures."""
    faces = []
    for number, scene in enumerate(scenes):
        image = read_picture(scene.path)
        for face in system.detector.detect(image):
            aligned = align(image, face.landmarks)
            faces.append(CrowdFace(measure(face, aligned), system.embedder.embed(aligned), number))
    return faces


def strangers(
    pictures: Sequence[Picture], found: Acquired, faces: Sequence[CrowdFace]
) -> list[Strangers]:
    """Tell how the scores of strangers depend on the quality of the two sides."""
    crowd = Crowd(pictures)
    vectors, there = crowd.templates(found)
    rows = crowd.first[there[crowd.first]]
    portraits = vectors[rows]
    overall = np.array([found.captures[crowd.names[row]].quality.overall for row in rows])
    one, two = np.triu_indices(len(rows), 1)
    scores = portraits @ portraits.T
    poor = overall < np.quantile(overall, 0.2)
    report = [
        _at("portraits", scores[one, two]),
        _at("portraits, the poorest fifth against the others", scores[np.ix_(poor, ~poor)]),
    ]
    if not faces:
        return report
    templates = np.stack([f.template for f in faces])
    scene = np.array([f.scene for f in faces])
    usable = np.array([shortcoming(f.quality, VIEW) is None for f in faces])
    fit = np.array([shortcoming(f.quality, ENROL) is None for f in faces])
    report.append(_at("crowd, judged as views, against portraits", templates[usable] @ portraits.T))
    between: Mapping[str, NDArray[np.bool_]] = {
        "crowd against crowd, good enough to enrol": fit,
        "crowd against crowd, too poor to enrol": usable & ~fit,
    }
    for kind, chosen in between.items():
        mine, where = templates[chosen], scene[chosen]
        one, two = np.triu_indices(len(mine), 1)
        apart = where[one] != where[two]  # in one picture a person may be seen twice (mirrors)
        report.append(_at(kind, (mine @ mine.T)[one[apart], two[apart]]))
    return report


def _at(kind: str, scores: NDArray[np.float32]) -> Strangers:
    flat = scores.ravel()
    return Strangers(
        kind,
        len(flat),
        [
            float(np.quantile(flat, 1 - rate)) if rate * len(flat) >= 5 else None
            for rate in IMPOSTOR_RATES
        ],
    )
