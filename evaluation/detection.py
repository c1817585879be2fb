"""Measures the detector on labelled crowds: average precision by size of face, int8 and float."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from edge.errors import EvaluationError, FrameError
from edge.vision.pictures import read_picture
from evaluation.data import Scene
from evaluation.metrics import Rate, interval
from evaluation.precision import Found, Judged
from evaluation.systems import Choice, System

WEAKEST = 0.02
"""Boxes from this score on are ranked; a lower one would hardly change the area."""

BUCKETS = ((20.0, np.inf), (10.0, 20.0), (20.0, 40.0), (40.0, 80.0), (80.0, np.inf))
"""Heights of faces in pixels of the detector's input; the first is the one that bars are set on."""

SAMPLES = 200


class Bucket(msgspec.Struct, frozen=True):
    """Average precision for faces of some size.

    Attributes:
        sizes: in words.
        faces: how many were labelled.
        ap: by system.
        loss: float - int8, in [-1, 1], with the pictures drawn again; None without float.
    """

    sizes: str
    faces: int
    ap: dict[str, float]
    loss: Rate | None


class Size(msgspec.Struct, frozen=True):
    """The figures at one input size of the detector."""

    detector: str
    buckets: list[Bucket]


class Detection(msgspec.Struct, frozen=True):
    """What `lethe evaluate detection` found.

    Attributes:
        pictures: number measured.
        skipped: name of every picture that could not be read, and why.
        sizes: by detector.
    """

    pictures: int
    skipped: dict[str, str]
    sizes: list[Size]


def measure(
    choice: Choice, detectors: Sequence[str], scenes: Sequence[Scene], progress: Progress
) -> Detection:
    """Run the detectors, each in int8 and where there is one in float.

    Args:
        choice: the models; its detector is replaced by each of `detectors`.
        detectors: names in the manifest.
        scenes: labelled pictures.
        progress: shows how far it is.

    Raises:
        EvaluationError: no picture could be read.
    """
    sizes, skipped = [], {}
    for name in detectors:
        at = dataclasses.replace(choice, detector=name)
        found: dict[str, list[Found]] = {}
        for system in at.names():
            opened = at.open(system)
            found[system] = []
            for scene in progress.track(scenes, description=f"{name} {system}"):
                try:
                    found[system].append(look(opened, scene))
                except FrameError as error:
                    skipped[scene.path.name] = str(error)
            opened.close()
        if not found["int8"]:
            raise EvaluationError(
                f"no labelled picture could be read: {next(iter(skipped.values()))}"
            )
        sizes.append(Size(name, [bucket(found, *b) for b in BUCKETS]))
    return Detection(len(scenes) - len(skipped), skipped, sizes)


def look(system: System, scene: Scene) -> Found:
    """Find the faces of one labelled picture.

    Raises:
        FrameError: it cannot be read.
    """
    image = read_picture(scene.path)
    height, width = image.shape[:2]
    _, rows, columns, _ = system.detector_model.input.shape
    # Labels were made on the picture's stored size.
    factor = np.array([width / scene.width, height / scene.height] * 2)
    faces = system.detector.detect(image, WEAKEST)
    return Found(
        scene.boxes * factor,
        np.array([f.box for f in faces], np.float64).reshape(-1, 4),
        np.array([f.score for f in faces], np.float64),
        min(columns / width, rows / height),
    )


def bucket(found: dict[str, list[Found]], least: float, most: float) -> Bucket:
    """Judge all systems on faces of one size, and how much int8 loses."""
    judged = {system: Judged(pictures, least, most) for system, pictures in found.items()}
    ap = {system: each.average() for system, each in judged.items()}
    loss = None
    if "float" in judged:
        count = len(found["int8"])
        rng = np.random.default_rng(2)
        drawn: NDArray[np.float64] = np.array([
            judged["float"].average(w) - judged["int8"].average(w)
            for w in rng.multinomial(count, np.full(count, 1 / count), SAMPLES).astype(np.float64)
        ])  # fmt: skip
        if np.isfinite(drawn).any():
            loss = interval(ap["float"] - ap["int8"], drawn[np.isfinite(drawn)])
    sizes = f"from {least:g}" if np.isinf(most) else f"{least:g} to {most:g}"
    return Bucket(sizes, judged["int8"].faces, ap, loss)
