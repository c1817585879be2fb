"""Int8 beside float on the same pixels: agreement, landmarks, time. The bars of a release."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import Progress

from edge.errors import FrameError
from edge.vision.align import align
from edge.vision.faces import Face
from edge.vision.pictures import read_picture
from edge.vision.quality import frontal_eye_distance
from evaluation.data import Picture, Scene
from evaluation.precision import overlaps
from evaluation.systems import FLOAT, INT8, Image, System, subject
from models.build.datasets import for_calibration, worsen

MOST_FACES = 1500
SMALLEST_CROWD = 20.0
SAME_FACE = 0.5
"""Overlap from which two boxes are one face."""

LANDMARK_SIZES = ((40.0, 150.0), (150.0, np.inf))
"""Heights of faces in pixels of the detector's input."""

ROUNDS = 40


class Cosines(msgspec.Struct, frozen=True):
    """Cosine between the int8 and the float template of the same crop."""

    pictures: str
    faces: int
    mean: float
    p1: float
    least: float


class Landmarks(msgspec.Struct, frozen=True):
    """Distance of int8's landmarks to float's, in distances between the eyes.

    Attributes:
        detector: its name.
        sizes: heights of the faces in pixels of the detector's input, in words.
        faces: found by both.
        missed: found by float alone, at the detector's threshold (int8: a little below it).
        median: of the mean over the five landmarks; by the distance between the eyes that the
            face would have if it were frontal.
        p99: the same.
        median_seen: by the distance as it is seen: a profile's is small.
        p99_seen: the same.
    """

    detector: str
    sizes: str
    faces: int
    missed: int
    median: float
    p99: float
    median_seen: float
    p99_seen: float


class Times(msgspec.Struct, frozen=True):
    """Median milliseconds on one thread, and the ratio, from runs taken in turn."""

    what: str
    ms_int8: float
    ms_float: float
    ratio: float


def cosines(
    int8: System, reference: System, pictures: Sequence[Picture], scenes: Sequence[Scene],
    progress: Progress,
) -> list[Cosines]:  # fmt: skip
    """Compare templates of the same crops; nobody of the calibration.

    Args:
        int8: finds the faces, and embeds them.
        reference: embeds them in float.
        pictures: portraits.
        scenes: crowds; may be empty.
        progress: shows how far it is.
    """
    mine = [p for p in pictures if not for_calibration(p.person)]
    mine = mine[:: max(1, len(mine) // MOST_FACES)]
    plain, hard = [], []
    for i, picture in enumerate(progress.track(mine, description="same crops, portraits")):
        crop = _crop(int8, picture.path)
        if crop is None:
            continue
        plain.append(_agreement(int8, reference, crop))
        if i % 3 == 0:
            hard.append(_agreement(int8, reference, worsen(crop, picture.name)))
    crowds = [s for s in scenes if not for_calibration(s.path.name)]
    faces = [
        _agreement(int8, reference, align(image, face.landmarks))
        for image in _images((s.path for s in crowds), progress, "same crops, crowds")
        for face in int8.detector.detect(image)
        if face.height >= SMALLEST_CROWD
    ]
    return [
        Cosines(name, len(v), float(np.mean(v)), float(np.quantile(v, 0.01)), float(np.min(v)))
        for name, v in (("portraits", plain), ("portraits made worse", hard), ("crowds", faces))
        if v
    ]


def _crop(system: System, path: Path) -> Image | None:
    try:
        image = read_picture(path)
    except FrameError:
        return None  # named where all pictures are acquired
    face = subject(system.detector.detect(image), image)
    return None if face is None else align(image, face.landmarks)


def _images(paths: Iterable[Path], progress: Progress, what: str) -> Iterator[Image]:
    for path in progress.track(list(paths), description=what):
        try:
            yield read_picture(path)
        except FrameError as error:
            progress.console.print(f"skipped: {error}")


def _agreement(int8: System, reference: System, crop: Image) -> float:
    return float(int8.embedder.embed(crop) @ reference.embedder.embed(crop))


def landmarks(
    detector: str, int8: System, reference: System, paths: Sequence[Path], progress: Progress
) -> list[Landmarks]:
    """Compare where both see the same faces.

    Args:
        detector: its name.
        int8: one detector.
        reference: the other.
        paths: pictures of any kind.
        progress: shows how far it is.
    """
    rows: list[tuple[float, float, float]] = []
    missed: list[float] = []
    _, height, width, _ = int8.detector_model.input.shape
    for image in _images(paths, progress, f"landmarks, {detector}"):
        scale = min(width / image.shape[1], height / image.shape[0])
        # Just below the threshold too: a score on the border is no miss.
        near = int8.detector.detect(image, int8.detector.strong_score - 0.1)
        for face in reference.detector.detect(image):
            partner = _same(face, near)
            if partner is None:
                missed.append(face.height * scale)
                continue
            apart = float(np.linalg.norm(partner.landmarks - face.landmarks, axis=1).mean())
            rows.append((
                face.height * scale,
                apart / frontal_eye_distance(face.landmarks),
                apart / max(face.eye_distance, 1e-6),
            ))  # fmt: skip
    table, lost = np.array(rows).reshape(-1, 3), np.array(missed)
    report = []
    for least, most in LANDMARK_SIZES:
        chosen = table[(table[:, 0] >= least) & (table[:, 0] < most)]
        if len(chosen):
            report.append(
                Landmarks(
                    detector,
                    f"{least:g} to {most:g}" if np.isfinite(most) else f"from {least:g}",
                    len(chosen),
                    int(((lost >= least) & (lost < most)).sum()),
                    *(float(np.quantile(chosen[:, k], q)) for k in (1, 2) for q in (0.5, 0.99)),
                )
            )
    return report


def _same(face: Face, others: Sequence[Face]) -> Face | None:
    if not others:
        return None
    table = overlaps(np.array([face.box]), np.array([f.box for f in others]))[0]
    best = int(np.argmax(table))
    return others[best] if table[best] >= SAME_FACE else None


def times(int8: System, reference: System) -> list[Times]:
    """Time the networks of both in turn, one thread each."""
    rng = np.random.default_rng(3)
    report = []
    for what, one, two, model in (
        ("embedder, a face", int8.embedder_network, reference.embedder_network,
         int8.embedder_model),
        ("detector, a frame", int8.detector_network, reference.detector_network,
         int8.detector_model),
    ):  # fmt: skip
        pixels = rng.integers(0, 256, model.input.shape, np.uint8)
        taken: dict[str, list[float]] = {INT8: [], FLOAT: []}
        for _ in range(ROUNDS + 3):
            for name, network in ((INT8, one), (FLOAT, two)):
                start = time.perf_counter()
                network.run(pixels)
                taken[name].append(time.perf_counter() - start)
        ms = {name: 1000 * float(np.median(values[3:])) for name, values in taken.items()}
        report.append(Times(what, ms[INT8], ms[FLOAT], ms[INT8] / ms[FLOAT]))
    return report
