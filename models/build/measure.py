"""Measures on pictures what a build needs, and writes it as numbers: no picture is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from edge.inference.manifest import DetectorModel
from edge.vision.detect import Detector
from edge.vision.pictures import read_picture

from . import bias, datasets, networks, tail
from .build import NUMBERS, Say
from .calibrate import Mask, choose_ranges, face_mask, observe
from .emit import emit
from .equalise import choose_steps, equalise, factors
from .graph import Graph
from .networks import NETWORKS, YUNET, Published
from .runtime import Trial


def measure(data: Path, only: Sequence[str] = (), say: Say = lambda _: None) -> None:
    """Choose factors and ranges, fit impostor tails, and write numbers/*.json.

    Args:
        data: the research pictures, in the layout of `datasets`.
        only: names of networks; all if empty.
        say: is told of every file.

    Raises:
        ModelError: a package is missing, or another one.
    """
    wanted = [p for p in NETWORKS if not only or p.name in only]
    if YUNET in wanted:
        width, height = YUNET.sizes[0]
        yunet = networks.read(YUNET)
        numbers = _choose(yunet, _scenes(data, width, height), 200, face_mask(yunet))
        _write(YUNET, numbers, say)
    embedders = [p for p in wanted if p.role == "embedder"]
    if not embedders:
        return
    people, crowds = _faces(data)
    mine = [crop for person, crop in people if datasets.for_calibration(person)]
    plain = mine[::12]
    hard = [datasets.worsen(crop, f"c{i}") for i, crop in enumerate(mine[1::8])]
    faces = [crop[..., ::-1].copy() for crop in (*plain, *hard, *crowds[::4])]
    for published in embedders:
        graph = networks.read(published)
        numbers = _choose(graph, faces, 24)
        content = emit(graph, 112, 112, numbers["ranges"])
        numbers["impostor_tail"] = _impostor_tail(Trial(content, graph.outputs), people)
        _write(published, numbers, say)


def _faces(data: Path) -> tuple[list[tuple[str, datasets.Image]], list[datasets.Image]]:
    """Return aligned faces: of LFW with their names, and of the calibration part of crowds."""
    width, height = YUNET.sizes[0]
    yunet = networks.read(YUNET)
    detector = trial_detector(Trial(emit(yunet, height, width), yunet.outputs), width, height)
    people = [
        (person, crop)
        for person, path in track(datasets.lfw_images(data), "portraits")
        if (crop := datasets.portrait(read_picture(path), detector)) is not None
    ]
    crowds = [
        crop
        for path in track(datasets.wider_images(data), "crowds")
        if datasets.for_calibration(path.name)
        for crop in datasets.crowd_crops(path, detector)
    ]
    return people, crowds


def _write(published: Published, numbers: dict[str, Any], say: Say) -> None:
    # A list of numbers a line: readable, and small in a change.
    text = re.sub(
        r"\[[^][{}]*\]", lambda m: re.sub(r"\s+", "", m[0]), json.dumps(numbers, indent=1)
    )
    path = NUMBERS / f"{published.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n", "utf-8")
    say(f"{path}: written; now build")


def trial_detector(network: Trial, width: int, height: int) -> Detector:
    """Return a detector around a model that has no manifest yet."""
    entry = {
        **networks.detector_entry({}),
        "file": "trial", "sha256": "0" * 64, "bytes": 1, "licence": "", "origin": "",
        "source": YUNET.source(),
        "input": {"shape": (1, height, width, 3), "dtype": "uint8", "colour": "BGR",
                  "range": (0, 255)},
    }  # fmt: skip
    return Detector(network, msgspec.convert(entry, DetectorModel))


def _scenes(data: Path, width: int, height: int) -> list[datasets.Image]:
    """Return calibration pictures for the detector: crowds, and portraits of all sizes."""
    crowds = [p for p in datasets.wider_images(data) if datasets.for_calibration(p.name)]
    portraits = [p for n, p in datasets.lfw_images(data) if datasets.for_calibration(n)]
    scenes = [datasets.letterboxed(read_picture(p), width, height) for p in crowds[:60]]
    for i, path in enumerate(portraits[:: max(1, len(portraits) // 60)][:60]):
        image = read_picture(path)
        scale = np.random.default_rng(i).uniform(0.4, 1.0) if i % 2 else 1.0
        canvas = datasets.letterboxed(image, int(width * scale), int(height * scale))
        scenes.append(
            datasets.letterboxed(canvas, width, height)
            if scale == 1.0
            else _corner(canvas, width, height)
        )
    return scenes


def _corner(image: datasets.Image, width: int, height: int) -> datasets.Image:
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def _choose(
    graph: Graph, images: list[datasets.Image], places: int, mask: Mask | None = None
) -> dict[str, Any]:
    """Choose factors, rescale the graph by them, and choose the ranges of what it then computes."""
    seen = observe(graph, images, places, mask)
    steps = choose_steps(graph, seen)
    equalise(graph, steps)
    seen = {
        name: observation.scaled(factors(steps[name])) if name in steps else observation
        for name, observation in seen.items()
    }
    ranges = choose_ranges(graph, seen)
    # Six digits: enough for any scale, and readable in a change.
    short = {n: (float(f"{low:.6g}"), float(f"{high:.6g}")) for n, (low, high) in ranges.items()}
    corrections = bias.correct(graph, short, images[::3], mask)
    return {"steps": steps, "ranges": short, "biases": corrections}


def _impostor_tail(network: Trial, people: list[tuple[str, datasets.Image]]) -> dict[str, Any]:
    """Fit the tail on the people whom calibration has not seen."""
    mine = [(person, crop) for person, crop in people if not datasets.for_calibration(person)]
    vectors = []
    for _, crop in track(mine, "impostors"):
        vector = network.run(crop[None, ..., ::-1])["embedding"].ravel()
        vectors.append(vector / np.linalg.norm(vector))
    return tail.fit(
        np.stack(vectors),
        [person for person, _ in mine],
        "LFW, development part, people not used in calibration",
    )
