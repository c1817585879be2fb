"""Takes back, in the biases, what rounding shifts every channel by on average.

Rounded weights and clipped tensors shift the mean of a channel, and the shifts of one layer are
passed on to the next. So layer by layer, from the picture on, the int8 network so far is run on the
calibration pictures, and the difference between its means and float's goes into the bias. (Nagel et
al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2, with
pictures.)

Corrections are whole sixteenths of the step in which the layer's output is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from .calibrate import Image, Mask, is_score
from .emit import Range, emit, range_to_quant
from .graph import Graph
from .runtime import Trial

PARTS = 16

Keep = dict[str, NDArray[np.bool_]]


def correct(
    graph: Graph,
    ranges: Mapping[str, Range],
    images: Sequence[Image],
    mask: Mask | None = None,
) -> dict[str, list[int]]:
    """Correct the biases of a graph, in place, and return by how much, by the layer's output.

    Args:
        graph: the network, equalised.
        ranges: of its tensors.
        images: (height, width, 3) uint8, all of one size, in the network's colour order.
        mask: as of `calibrate.observe`.
    """
    # Scores are clipped on purpose where there is no face: their mean says nothing.
    names = [
        layer.output
        for layer in graph.layers
        if layer.kind == "conv" and not is_score(graph, layer.output)
    ]
    everything = [layer.output for layer in graph.layers if layer.kind == "conv"]
    network = _network(graph, everything, images[0], None)
    keeps: list[Keep] = []
    goal: list[dict[str, tuple[NDArray[np.float64], int]]] = []
    for image in images:
        values = network.run(image[None])
        keeps.append(mask(values) if mask else {})
        goal.append({name: _total(values[name], keeps[-1].get(name)) for name in names})
    corrections: dict[str, list[int]] = {}
    for name in track(names, f"{graph.name}: biases"):
        network = _network(graph, [name], images[0], ranges)
        found = [
            _total(network.run(image[None])[name], keep.get(name))
            for image, keep in zip(images, keeps, strict=True)
        ]
        places = sum(count for _, count in found)
        if not places:
            continue
        missing = sum(each[name][0] for each in goal) - sum(total for total, _ in found)
        parts = np.rint(missing / places / _part(ranges[name]))
        corrections[name] = [int(n) for n in parts]
        shift(graph, ranges, {name: corrections[name]})
    return corrections


def shift(
    graph: Graph, ranges: Mapping[str, Range], corrections: Mapping[str, Sequence[int]]
) -> None:
    """Add corrections to the biases of a graph, in place."""
    for name, parts in corrections.items():
        layer = graph.producer(name)
        if layer is None or layer.bias is None:
            raise ValueError(f"{name}: has no bias; is the calibration of another graph?")
        graph.swap(replace(layer, bias=layer.bias + np.array(parts) * _part(ranges[name])))


def _part(bounds: Range) -> float:
    return float(range_to_quant(*bounds).scale[0]) / PARTS


def _total(
    values: NDArray[np.float32], keep: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], int]:
    """Return the sum over the places that count, for each channel, and their number."""
    flat = values.reshape(-1, values.shape[-1])
    if keep is not None:
        flat = flat[keep.reshape(-1)]
    return flat.sum(axis=0, dtype=np.float64), len(flat)


def _network(
    graph: Graph, names: list[str], image: Image, ranges: Mapping[str, Range] | None
) -> Trial:
    """Return the network up to the last of some tensors, which it reports."""
    last = max(i for i, layer in enumerate(graph.layers) if layer.output in names)
    # A ReLU is part of the operator before it.
    also = 2 if graph.layers[last + 1 : last + 2] and graph.layers[last + 1].kind == "relu" else 1
    part = replace(graph, layers=graph.layers[: last + also], outputs=names)
    height, width = image.shape[:2]
    return Trial(emit(part, height, width, ranges), names)
