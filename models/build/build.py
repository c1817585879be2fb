"""Turns the published weights into models/quantized/: the same bytes wherever it runs.

What was measured on pictures lies beside this file as numbers (`measure` writes them), so that a
build needs the published packages and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import networks
from .bias import shift
from .edgetpu import Compiled
from .emit import emit
from .equalise import equalise
from .graph import Graph
from .networks import NETWORKS, SFACE, YUNET, Published
from .qdq import write_qdq

NUMBERS = Path(__file__).resolve().parent / "numbers"
TARGET = Path(__file__).resolve().parents[1] / "quantized"

Say = Callable[[str], None]


def numbers_of(published: Published) -> dict[str, Any]:
    """Return what was measured for a network."""
    return dict(json.loads((NUMBERS / f"{published.name}.json").read_text("utf-8")))


def prepared(published: Published, numbers: dict[str, Any]) -> Graph:
    """Return a network's graph as it is quantised; the same function as the published file.

    Raises:
        ModelError: its package is missing, or another one.
    """
    graph = networks.read(published)
    equalise(graph, numbers["steps"])
    return graph


def build(
    out: Path,
    floats: Path | None = None,
    onnx: Path | None = None,
    say: Say = lambda _: None,
) -> None:
    """Write every model and the manifest.

    Args:
        out: where the int8 files and manifest.json go.
        onnx: where the quantised ONNX files for TensorRT go; None for nowhere. The manifest holds
            their hashes in either case.
        floats: where the same networks in float32 go, under the same names; None for nowhere.
        say: is told of every file.

    Raises:
        ModelError: a package is missing, or another one.
    """
    models: dict[str, dict[str, Any]] = {}
    compiled = Compiled.load()
    for published in NETWORKS:
        numbers = numbers_of(published)
        graph = prepared(published, numbers)
        shifted = replace(graph, layers=list(graph.layers))
        shift(shifted, numbers["ranges"], numbers["biases"])
        for width, height in published.sizes:
            name = published.model_name(width, height)
            signed = published.role == "embedder"
            content = emit(shifted, height, width, numbers["ranges"], signed=signed)
            quantised = write_qdq(graph, height, width, numbers["ranges"])
            models[name] = {
                **_entry(published, name, graph, (height, width), content, numbers),
                "variants": {"qdq-onnx": _file(f"{name}.onnx", quantised)}
                | compiled.variant(content),
            }
            _write(out / f"{name}.tflite", content, say)
            if onnx is not None:
                _write(onnx / f"{name}.onnx", quantised, say)
            if floats is not None:
                _write(floats / f"{name}.tflite", emit(graph, height, width), say)
    manifest = {
        "schema": 1,
        "defaults": {"detector": YUNET.model_name(*YUNET.sizes[0]), "embedder": SFACE.name},
        "models": models,
    }
    _write(out / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode("utf-8"), say)


def _entry(
    published: Published,
    name: str,
    graph: Graph,
    size: tuple[int, int],
    content: bytes,
    numbers: dict[str, Any],
) -> dict[str, Any]:
    """Return the manifest's entry of a model."""
    shapes = graph.shapes(*size)
    outputs = {key: {"index": i, "shape": shapes[key]} for i, key in enumerate(graph.outputs)}
    decoding = (
        networks.embedder_entry(published, outputs, numbers["impostor_tail"])
        if published.role == "embedder"
        else networks.detector_entry(outputs)
    )
    return {
        **decoding,
        **_file(f"{name}.tflite", content),
        "licence": published.licence,
        "origin": published.origin,
        "source": published.source(),
        "input": {
            "shape": (1, *size, 3),
            "dtype": "uint8",
            "colour": published.colour,
            "range": (0, 255),
        },
    }


def _file(name: str, content: bytes) -> dict[str, Any]:
    """Return what the manifest says of a file."""
    return {
        "file": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }


def _write(path: Path, content: bytes, say: Say) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    say(f"{path.name}  {len(content):,} bytes  SHA-256 {hashlib.sha256(content).hexdigest()}")
