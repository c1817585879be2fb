"""Observes a network on calibration images and chooses the range of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .emit import Range, emit
from .graph import Graph
from .runtime import Trial

Image = NDArray[np.uint8]
Mask = Callable[[dict[str, NDArray[np.float32]]], dict[str, NDArray[np.bool_]]]


@dataclass
class Observation:
    """What one tensor did on the calibration images.

    Attributes:
        low: [channels] lowest value of each channel.
        high: [channels] highest value.
        samples: [n, channels] values at random places.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    samples: NDArray[np.float32]


def observe(
    graph: Graph, images: Sequence[Image], places: int, mask: Mask | None = None
) -> dict[str, Observation]:
    """Run images through the float network and gather what every tensor does.

    Args:
        graph: the network.
        images: (height, width, 3) uint8, all of one size, in the network's colour order.
        places: grid positions sampled per image and tensor, from a fixed seed.
        mask: gives, from all tensors of one image, the positions (height, width) that count for
            some of them; the others count everywhere.

    Returns:
        By the name of the tensor.
    """
    height, width = images[0].shape[:2]
    names = [x.output for x in graph.layers if x.kind in ("conv", "add")]
    # Reporting every tensor keeps the graph as it is; only its list of outputs is longer.
    everything = replace(graph, layers=list(graph.layers), outputs=names)
    network = Trial(emit(everything, height, width), names)
    low: dict[str, NDArray[np.float64]] = {}
    high: dict[str, NDArray[np.float64]] = {}
    taken: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    rng = np.random.default_rng(7)
    for image in images:
        values = network.run(image[None])
        keep = mask(values) if mask else {}
        for name in names:
            flat = values[name].reshape(-1, values[name].shape[-1])
            if name in keep:
                flat = flat[keep[name].reshape(-1)]
            drawn = rng.integers(0, 2**31, places)
            if not len(flat):
                continue
            low[name] = np.minimum(low.get(name, np.inf), flat.min(axis=0))
            high[name] = np.maximum(high.get(name, -np.inf), flat.max(axis=0))
            taken[name].append(flat[drawn % len(flat)])
    return {
        name: Observation(low[name], high[name], np.concatenate(taken[name]))
        for name in names
        if name in low
    }


def _noise(
    x: NDArray[np.float32],
    slope: NDArray[np.float64] | None,
    weight: NDArray[np.float64],
    bounds: Range,
) -> float:
    """Mean squared error of a tensor stored in a range, after its PReLU."""
    scale = max((bounds[1] - bounds[0]) / 255.0, 1e-9)
    zero = round(-128 - bounds[0] / scale)
    stored = np.clip(np.rint(x / scale) + zero, -128, 127) - zero
    if slope is None:
        error = stored * scale - x
    else:
        a = slope.astype(np.float32)
        after = np.maximum(stored, np.rint(stored * a)) * scale
        error = after - np.maximum(x, x * a)
    return float(((error**2).mean(axis=0) * weight).sum())


def best_range(
    observation: Observation,
    slope: NDArray[np.float64] | None,
    weight: NDArray[np.float64],
    floor: float = 0.3,
) -> Range:
    """Return the range that loses least to rounding and clipping together.

    Args:
        observation: Samples and extremes of the tensor.
        slope: Of the PReLU that follows, or None.
        weight: [channels] how much an error of a channel matters downstream.
        floor: Smallest share of the observed extremes that is tried.
    """
    low, high = min(float(observation.low.min()), 0.0), max(float(observation.high.max()), 0.0)
    shares, best = np.geomspace(1.0, floor, 10), (low, high)
    least = np.inf
    for below in shares if low < 0 else [1.0]:
        for above in shares:
            bounds = (low * float(below), high * float(above))
            noise = _noise(observation.samples, slope, weight, bounds)
            if noise < least:
                least, best = noise, bounds
    return best


LOWEST_LOGIT = -7.0


def _is_score(graph: Graph, name: str) -> bool:
    """Whether a tensor becomes a probability."""
    layers = graph.consumers(name)
    while layers and layers[0].kind == "flatten":
        layers = graph.consumers(layers[0].output)
    return bool(layers) and layers[0].kind == "sigmoid"


def choose_ranges(graph: Graph, seen: dict[str, Observation]) -> dict[str, Range]:
    """Ranges of all tensors that need one, each by the error it causes where it is read."""
    ranges: dict[str, Range] = {}
    for layer in graph.layers:
        if layer.kind not in ("conv", "add") or layer.output not in seen:
            continue
        name, slope, relu = layer.output, None, False
        readers = graph.consumers(name)
        if len(readers) == 1 and readers[0].kind in ("relu", "prelu"):
            slope, relu = readers[0].slope, readers[0].kind == "relu"
            readers = graph.consumers(readers[0].output)
        observation = seen[name]
        if len(readers) == 1 and _is_score(graph, name):
            # Below a logit of -7 there is no face; the steps are better spent above.
            ranges[name] = (LOWEST_LOGIT, max(float(observation.high.max()), -LOWEST_LOGIT / 2))
            continue
        weight = np.zeros(len(observation.low))
        for reader in readers:
            if reader.kind == "conv" and reader.weight is not None:
                axes = (1, 2, 3) if reader.depthwise else (0, 1, 2)
                weight = weight + (reader.weight**2).sum(axis=axes)
        if relu:
            observation = Observation(
                np.zeros_like(observation.low), observation.high, np.maximum(observation.samples, 0)
            )
        weight = weight if weight.any() else np.ones_like(weight)
        ranges[name] = best_range(observation, slope, weight)
    return ranges


def head_mask(graph: Graph, least: float = 0.3) -> Mask:
    """Return a mask by which boxes and landmarks count only where there is a face.

    Args:
        graph: YuNet; its outputs are named cls_8, obj_8, bbox_8, kps_8 and so on.
        least: score from which a grid cell counts.
    """
    heads = {name: _conv_behind(graph, name) for name in graph.outputs}

    def mask(values: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.bool_]]:
        found = {}
        for name in graph.outputs:
            kind, _, stride = name.partition("_")
            if kind == "cls":
                cls, obj = (
                    1 / (1 + np.exp(-values[heads[f"{k}_{stride}"]])) for k in ("cls", "obj")
                )
                there = (np.sqrt(cls * obj) > least)[..., 0]
                found[heads[f"bbox_{stride}"]] = found[heads[f"kps_{stride}"]] = there
        return found

    return mask


def _conv_behind(graph: Graph, output: str) -> str:
    layer = graph.producer(output)
    while layer is not None and layer.kind in ("sigmoid", "flatten"):
        layer = graph.producer(layer.inputs[0])
    if layer is None or layer.kind != "conv":
        raise ValueError(f"{output}: no convolution behind it")
    return layer.output
