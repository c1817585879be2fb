"""The shipped int8 models beside the float networks they were made from, in one run.

    python -m benchmarks.int8_vs_float --data ../shared/data

Both get the same pixels: faces found and aligned by `edge.vision`, frames letterboxed to the
detector's input. Float runs twice, in the same runtime as int8 (so that a ratio of times says what
quantisation does and nothing else) and in OpenCV (so that nothing of ours stands between the
published file and the figure). Times are medians of runs taken in turn.

Needs requirements/models.txt and the research data; see docs/models.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import load_manifest
from edge.vision.detect import Detector
from edge.vision.embed import Embedder
from edge.vision.faces import Face
from edge.vision.pictures import read_picture
from models.build import datasets, networks
from models.build.emit import emit
from models.build.runtime import Trial

Image = NDArray[np.uint8]
Vectors = NDArray[np.float32]

THREADS = 2
FOLDS = 10
FMR = (1e-2, 1e-3, 1e-4)
SAME_FACE = 0.5
"""IoU from which two boxes are one face."""

BIG = 120
"""Width in pixels of the detector's input from which a face counts as large."""


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=60, help="frames taken of each video")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 100)
    manifest = load_manifest()
    detector_name, detector_model = manifest.detector()
    embedder_name, embedder_model = manifest.embedder()
    detector_network = LiteRtNetwork(manifest.read(detector_model), detector_model, threads=THREADS)
    embedder_network = LiteRtNetwork(manifest.read(embedder_model), embedder_model, threads=THREADS)
    cv2.setNumThreads(THREADS)
    console.print(embedder_network.runtime, "; OpenCV", cv2.__version__)

    detector = Detector(detector_network, detector_model)
    embedders = Embedders.open(Embedder(embedder_network, embedder_model))
    compare_embedders(console, embedder_name, embedders, options.data, detector)

    _, height, width, _ = detector_model.input.shape
    graph = networks.read(networks.YUNET)
    float_network = Trial(emit(graph, height, width), graph.outputs, threads=THREADS)
    compare_detectors(
        console,
        detector_name,
        Detectors(
            detector,
            Detector(float_network, detector_model),
            opencv_detector(width, height, detector_model.nms_iou),
            (width, height),
        ),
        options.data,
        options.frames,
    )


# --- Embedder ------------------------------------------------------------------------------------


@dataclass
class Embedders:
    """Three ways from an aligned face, (112, 112, 3) uint8 BGR, to a (128,) vector of length 1."""

    int8: Callable[[Image], Vectors]
    float_same: Callable[[Image], Vectors]
    float_opencv: Callable[[Image], Vectors]

    @classmethod
    def open(cls, int8: Embedder) -> Embedders:
        """Load the float network in both runtimes."""
        graph = networks.read(networks.SFACE)
        trial = Trial(emit(graph, 112, 112), graph.outputs, threads=THREADS)
        published = published_file(networks.SFACE)
        opencv = cv2.FaceRecognizerSF.create("onnx", published, np.zeros(0, np.uint8))
        return cls(
            int8.embed,
            lambda face: _unit(trial.run(face[None, ..., ::-1])["embedding"]),
            lambda face: _unit(opencv.feature(face)),
        )

    def all(self) -> dict[str, Callable[[Image], Vectors]]:
        """Return them by the name that the table shows."""
        return {
            "int8": self.int8,
            "float, same runtime": self.float_same,
            "float, OpenCV": self.float_opencv,
        }


def published_file(network: networks.Published) -> NDArray[np.uint8]:
    """Return the published ONNX file as OpenCV takes it."""
    return np.frombuffer(networks.published_bytes(network), np.uint8)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE)


def _unit(vector: NDArray[Any]) -> Vectors:
    flat = vector.ravel()
    return np.asarray(flat / np.linalg.norm(flat), np.float32)


def compare_embedders(
    console: Console, name: str, embedders: Embedders, data: Path, detector: Detector
) -> None:
    """Print accuracy, agreement and time of the embedders."""
    faces: dict[str, Image] = {}
    person_of: dict[str, str] = {}
    for person, path in track(datasets.lfw_images(data), "finding and aligning faces"):
        face = datasets.portrait(read_picture(path), detector)
        if face is not None:
            faces[path.stem], person_of[path.stem] = face, person
    stems = list(faces)
    ways = embedders.all()
    vectors = {
        way: dict(zip(stems, (run(faces[s]) for s in track(stems, way)), strict=True))
        for way, run in ways.items()
    }
    pairs = [p for p in datasets.lfw_pairs(data) if p[0] in faces and p[1] in faces]
    same = np.array([p[2] for p in pairs])
    first = list({person: stem for stem, person in reversed(person_of.items())}.values())

    table = _table(f"{name}: {len(pairs)} pairs of LFW's development part, {FOLDS} folds")
    table.add_column("", no_wrap=True)
    columns = ("accuracy", "±", *(f"TAR {100 * fmr:g} %" for fmr in FMR), "ms")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    times = interleaved({way: partial(run, faces[stems[0]]) for way, run in ways.items()})
    for way, by_stem in vectors.items():
        scores = np.array([float(by_stem[a] @ by_stem[b]) for a, b, _ in pairs])
        mean, deviation = ten_fold(scores, same)
        one_each = np.stack([by_stem[s] for s in first])
        impostors = np.sort((one_each @ one_each.T)[np.triu_indices(len(first), 1)])
        tar = [
            f"{100 * (scores[same] > impostors[int(len(impostors) * (1 - fmr)) - 1]).mean():.2f}"
            for fmr in FMR
        ]
        table.add_row(way, f"{100 * mean:.2f}", f"{100 * deviation:.2f}", *tar, f"{times[way]:.1f}")
    console.print(table)
    console.print("in %; TAR: pairs of one person above that false match rate; ms: of one face")
    console.print(f"int8 takes {times['int8'] / times['float, same runtime']:.2f} × float's time")

    held_out = [s for s in stems if not datasets.for_calibration(person_of[s])]
    crowds = [
        face
        for path in track(datasets.wider_images(data), "crowds")
        if not datasets.for_calibration(path.name)
        for face in datasets.crowd_crops(path, detector)
    ]
    hard = [datasets.worsen(faces[s], f"t{i}") for i, s in enumerate(held_out[::4])]
    cosines = {
        "LFW": np.array(
            [float(vectors["int8"][s] @ vectors["float, same runtime"][s]) for s in held_out]
        ),
        "LFW, made dark, blurred, turned, small": agreement(embedders, hard),
        "crowds (WIDER), from 20 pixels": agreement(embedders, crowds),
    }
    table = _table("cosine between int8 and float; nobody of the calibration")
    for column in ("", "faces", "mean", "p1", "least"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for what, values in cosines.items():
        table.add_row(
            what,
            str(len(values)),
            f"{values.mean():.4f}",
            f"{np.quantile(values, 0.01):.4f}",
            f"{values.min():.4f}",
        )
    console.print(table)


def agreement(embedders: Embedders, faces: list[Image]) -> NDArray[np.float64]:
    """Return the cosine between int8 and float of every face."""
    return np.array(
        [float(embedders.int8(f) @ embedders.float_same(f)) for f in track(faces, "agreement")]
    )


def ten_fold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[float, float]:
    """Accuracy by LFW's protocol: a threshold from nine folds, measured on the tenth.

    Returns:
        Mean and standard deviation over the folds, in [0, 1].
    """
    fold = np.zeros(len(same), np.int64)
    for kind in (True, False):
        of_kind = np.flatnonzero(same == kind)
        fold[of_kind] = np.arange(len(of_kind)) * FOLDS // len(of_kind)
    accuracies = []
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        candidates = np.unique(scores[train])
        right = [((scores[train] >= c) == same[train]).mean() for c in candidates]
        best = candidates[int(np.argmax(right))]
        accuracies.append(((scores[test] >= best) == same[test]).mean())
    return float(np.mean(accuracies)), float(np.std(accuracies))


# --- Detector ------------------------------------------------------------------------------------


@dataclass
class Detectors:
    """The detector in int8, in float, and OpenCV's; all at one input size (width, height)."""

    int8: Detector
    float_same: Detector
    float_opencv: Callable[[Image], list[Face]]
    size: tuple[int, int]


@dataclass
class Tally:
    """How int8's faces compare with float's."""

    matched: int = 0
    missed: int = 0
    extra: int = 0
    iou: list[float] = field(default_factory=list)
    landmarks: list[float] = field(default_factory=list)
    landmarks_big: list[float] = field(default_factory=list)

    def add(self, reference: list[Face], strict: list[Face], lenient: list[Face]) -> None:
        """Count one picture.

        Args:
            reference: float's faces at the threshold.
            strict: int8's at the threshold: those beyond `lenient` pairs are extra.
            lenient: int8's a little below it, so that a score on the border is no miss.
        """
        for face in reference:
            near = max(lenient, key=lambda f: overlap(f, face), default=None)
            if near is None or overlap(near, face) < SAME_FACE:
                self.missed += 1
                continue
            self.matched += 1
            self.iou.append(overlap(near, face))
            error = np.linalg.norm(near.landmarks - face.landmarks, axis=1).mean()
            relative = float(error / max(0.45 * face.width, 1.0))
            self.landmarks.append(relative)
            if face.width >= BIG:
                self.landmarks_big.append(relative)
        self.extra += sum(
            1 for f in strict if max((overlap(f, r) for r in reference), default=0) < SAME_FACE
        )


def opencv_detector(width: int, height: int, nms_iou: float) -> Callable[[Image], list[Face]]:
    """Return OpenCV's own detector, from the published file."""
    published = published_file(networks.YUNET)
    network = cv2.FaceDetectorYN.create(
        "onnx", published, np.zeros(0, np.uint8), (width, height), 0.6, nms_iou
    )

    def detect(image: Image) -> list[Face]:
        _, rows = network.detect(image)
        return [
            Face(
                box=(float(r[0]), float(r[1]), float(r[0] + r[2]), float(r[1] + r[3])),
                landmarks=r[4:14].reshape(5, 2),
                score=float(r[14]),
            )
            for r in (rows if rows is not None else ())
        ]

    return detect


def overlap(one: Face, two: Face) -> float:
    """Intersection over union of two boxes."""
    a, b = np.array(one.box), np.array(two.box)
    shared = float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)))
    return shared / (one.width * one.height + two.width * two.height - shared)


def compare_detectors(
    console: Console, name: str, detectors: Detectors, data: Path, frames: int
) -> None:
    """Print agreement and time of the detectors."""
    table = _table(f"{name}: against OpenCV's FaceDetectorYN (float), score ≥ 0.6")
    for column in (
        "", "faces", "found %", "extra", "IoU", "points", "p99", "large",
    ):  # fmt: skip
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    sets = {p.stem: video_frames(p, frames) for p in sorted((data / "video").glob("*.mp4"))}
    sets["crowds (WIDER)"] = (
        read_picture(p) for p in datasets.wider_images(data) if not datasets.for_calibration(p.name)
    )
    some: list[Image] = []
    for what, pictures in sets.items():
        tally = Tally()
        for picture in pictures:
            scene = datasets.letterboxed(picture, *detectors.size)
            some.append(scene)
            lenient = detectors.int8.detect(scene, 0.5)
            strict = [f for f in lenient if f.score >= 0.65]
            tally.add(detectors.float_opencv(scene), strict, lenient)
        faces = tally.matched + tally.missed
        table.add_row(
            what,
            str(faces),
            f"{100 * tally.matched / faces:.1f}" if faces else "–",
            str(tally.extra),
            *(f"{f(v):.3f}" if v else "–" for f, v in (
                (np.mean, tally.iou),
                (np.mean, tally.landmarks),
                (lambda v: np.quantile(v, 0.99), tally.landmarks),
                (np.mean, tally.landmarks_big),
            )),
        )  # fmt: skip
    console.print(table)
    console.print(
        "IoU: mean. points: landmarks, mean distance, in eye distances of a frontal face (0.45 of"
        f" the box's width); large: the same for faces from {BIG} pixels"
    )
    scene = some[len(some) // 2]
    times = interleaved(
        {
            "int8": lambda: detectors.int8.detect(scene),
            "float, same runtime": lambda: detectors.float_same.detect(scene),
            "float, OpenCV": lambda: detectors.float_opencv(scene),
        }
    )
    console.print(
        "ms a frame: " + ", ".join(f"{way} {ms:.1f}" for way, ms in times.items()),
        f"; int8 takes {times['int8'] / times['float, same runtime']:.2f} × float's time",
    )


def video_frames(path: Path, count: int) -> Iterator[Image]:
    """Yield frames spread evenly over a video."""
    video = cv2.VideoCapture(str(path))
    step = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // count)
    at = 0
    while video.grab():
        if at % step == 0:
            good, frame = video.retrieve()
            if good:
                yield np.asarray(frame, np.uint8)
        at += 1
    video.release()


def interleaved(runs: dict[str, Callable[[], object]], rounds: int = 40) -> dict[str, float]:
    """Time functions in turn, so that what else the machine does falls on all of them alike.

    Returns:
        Median milliseconds by name.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(values[3:])) for name, values in taken.items()}


if __name__ == "__main__":
    main()
