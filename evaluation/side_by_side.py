"""Everything that is measured of int8 beside float, in one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rich.progress import Progress

from edge.inference.manifest import DetectorModel, load_manifest
from evaluation import detection, identification, parity, verification
from evaluation.acquire import Acquired
from evaluation.bars import Parity
from evaluation.data import Pair, People, Scene
from evaluation.systems import FLOAT, INT8, Choice

EVERY = 10
"""Of the portraits, every tenth is looked at for landmarks."""


def detectors(choice: Choice) -> list[str]:
    """Return the name of every detector of the manifest."""
    models = load_manifest(choice.models).models()
    return [name for name, model in models.items() if isinstance(model, DetectorModel)]


def measure(
    choice: Choice,
    people: People,
    pairs: Sequence[Pair],
    found: Mapping[str, Acquired],
    scenes: Sequence[Scene],
    progress: Progress,
) -> Parity:
    """Measure int8 and float on the same pixels.

    Args:
        choice: the models; every detector of the manifest is compared.
        people: portraits.
        pairs: of them.
        found: what both systems made of them.
        scenes: labelled crowds; may be empty.
        progress: shows how far it is.
    """
    int8, reference = choice.open(INT8), choice.open(FLOAT)
    agreed = parity.cosines(int8, reference, people.pictures, scenes, progress)
    taken = parity.times(int8, reference)
    runtime = f"{int8.detector_network.runtime}; {int8.embedder_network.runtime}"
    int8.close()
    paths = [p.path for p in people.pictures[::EVERY]] + [s.path for s in scenes]
    points = []
    for name in detectors(choice):
        at = dataclasses.replace(choice, detector=name)
        int8 = at.open(INT8)
        points += parity.landmarks(name, int8, at.open(FLOAT), paths, progress)
        int8.close()
    crowds = detection.measure(choice, detectors(choice), scenes, progress) if scenes else None
    return Parity(
        runtime,
        agreed,
        points,
        taken,
        crowds,
        verification.measure(people.pictures, pairs, found),
        identification.measure(people.pictures, found),
    )
