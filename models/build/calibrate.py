"""Observes a network on calibration images and chooses the range of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .emit import Range, emit
from .graph import Graph, Layer
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

    def scaled(self, factor: NDArray[np.float64]) -> Observation:
        """Return what is seen when each channel is multiplied by a positive factor."""
        samples = (self.samples * factor).astype(np.float32)
        return Observation(self.low * factor, self.high * factor, samples)


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


SAMPLES = 4096
"""Positions of a tensor that the search for its range looks at."""


def _prelu(x: NDArray[Any], slope: NDArray[np.float64]) -> NDArray[Any]:
    return np.where(x > 0, x, x * slope.astype(x.dtype))


def _noise(
    x: NDArray[np.float32],
    slope: NDArray[np.float64] | None,
    weight: NDArray[np.float64],
    bounds: Range,
) -> float:
    """Mean squared error of a tensor stored in a range, after the PReLU that follows, if any."""
    scale = max((bounds[1] - bounds[0]) / 255.0, 1e-9)
    zero = round(-128 - bounds[0] / scale)
    stored = (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale
    error = stored - x if slope is None else _prelu(stored, slope) - _prelu(x, slope)
    return float(((error**2).mean(axis=0) * weight).sum())


def best_range(
    observation: Observation,
    slope: NDArray[np.float64] | None,
    weight: NDArray[np.float64],
    floor: float = 0.4,
) -> Range:
    """Return the range that loses least to rounding and clipping together.

    Args:
        observation: Samples and extremes of the tensor.
        slope: Of the PReLU that follows, or None.
        weight: [channels] how much an error of a channel matters downstream.
        floor: Smallest share of the observed extremes that is tried.
    """
    low, high = min(float(observation.low.min()), 0.0), max(float(observation.high.max()), 0.0)
    every = -(-len(observation.samples) // SAMPLES)
    samples = observation.samples[::every]
    shares = np.geomspace(1.0, floor, 10)

    def noise(bounds: Range) -> float:
        return _noise(samples, slope, weight, bounds)

    # One end at a time: what is clipped above says little of what is lost below.
    bounds = (low, high)
    for _ in range(2):
        if high > 0:
            bounds = min(((bounds[0], high * float(share)) for share in shares), key=noise)
        if low < 0:
            bounds = min(((low * float(share), bounds[1]) for share in shares), key=noise)
    return bounds


def _above_zero(observation: Observation) -> Observation:
    """Return what a ReLU makes of an observation."""
    low, high, samples = (
        np.maximum(values, 0) for values in (observation.low, observation.high, observation.samples)
    )
    return Observation(low, high, samples)


def _matters(graph: Graph, name: str, channels: int) -> NDArray[np.float64]:
    """Return how much an error of each channel matters where the tensor is read."""
    total = np.zeros(channels)
    for reader in graph.consumers(name):
        if reader.kind == "conv" and reader.weight is not None:
            axes = (1, 2, 3) if reader.depthwise else (0, 1, 2)
            total += (reader.weight**2).sum(axis=axes)
        else:
            total += _matters(graph, reader.output, channels)
    return total


LOWEST_LOGIT = -7.0


def is_score(graph: Graph, name: str) -> bool:
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
        name, observation = layer.output, seen[layer.output]
        readers = graph.consumers(name)
        after = readers[0] if len(readers) == 1 else None
        weight = _matters(graph, name, len(observation.low))
        weight = weight if weight.any() else np.ones_like(weight)
        if after is not None and is_score(graph, name):
            # Below a logit of -7 there is no face; the steps are better spent above.
            ranges[name] = (LOWEST_LOGIT, max(float(observation.high.max()), -LOWEST_LOGIT / 2))
        elif after is not None and after.kind == "relu":
            ranges[name] = best_range(_above_zero(observation), None, weight)
        elif after is not None and after.kind == "prelu" and after.slope is not None:
            ranges[name] = best_range(observation, after.slope, weight)
        else:
            ranges[name] = best_range(observation, None, weight)
    return ranges


def face_mask(graph: Graph, least: float = 0.3) -> Mask:
    """Return a mask by which only what belongs to faces counts.

    Boxes and landmarks count in cells that find a face: elsewhere they are noise, and would stretch
    the range. What the network computes before counts within the faces' boxes: errors elsewhere
    cost little. Scores count everywhere.

    Args:
        graph: YuNet; its outputs are named cls_8, obj_8, bbox_8, kps_8 and so on.
        least: score from which a grid cell counts.
    """
    heads = {name: _conv_behind(graph, name) for name in graph.outputs}
    strides = sorted(int(name.partition("_")[2]) for name in heads if name.startswith("cls"))
    ends = {layer.output for name in heads for layer in _head(graph, name)}

    def mask(values: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.bool_]]:
        found = {}
        area = np.zeros(values[heads[f"cls_{strides[0]}"]].shape[1:3], np.bool_)
        for stride in strides:
            cls, obj = (1 / (1 + np.exp(-values[heads[f"{k}_{stride}"]])) for k in ("cls", "obj"))
            there = (np.sqrt(cls * obj) > least)[0, ..., 0]
            found[heads[f"bbox_{stride}"]] = found[heads[f"kps_{stride}"]] = there
            _paint(area, there, values[heads[f"bbox_{stride}"]][0], stride // strides[0])
        for name, tensor in values.items():
            if name not in ends:
                found[name] = _resized(area, tensor.shape[1])
        return found

    return mask


def _head(graph: Graph, output: str) -> list[Layer]:
    """Return the two convolutions of a head: pointwise, depthwise."""
    last = graph.producer(_conv_behind(graph, output))
    before = graph.producer(last.inputs[0]) if last is not None else None
    return [layer for layer in (last, before) if layer is not None]


def _paint(
    area: NDArray[np.bool_], there: NDArray[np.bool_], boxes: NDArray[np.float32], step: int
) -> None:
    """Mark the boxes of cells; `area` has cells `step` times as fine as `boxes`."""
    for row, column in np.argwhere(there):
        dx, dy, w, h = boxes[row, column]
        x, y = (column + dx) * step, (row + dy) * step
        half_w, half_h = np.exp(w) * step / 2, np.exp(h) * step / 2
        rows = slice(max(0, int(y - half_h)), int(y + half_h) + 1)
        area[rows, max(0, int(x - half_w)) : int(x + half_w) + 1] = True


def _resized(area: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Return an area on another grid: a coarser cell counts if any of its own does."""
    if rows >= len(area):
        return np.kron(area, np.ones((rows // len(area),) * 2, np.bool_))
    side = len(area) // rows
    return np.asarray(area.reshape(rows, side, -1, side).any(axis=(1, 3)))


def _conv_behind(graph: Graph, output: str) -> str:
    layer = graph.producer(output)
    while layer is not None and layer.kind in ("sigmoid", "flatten"):
        layer = graph.producer(layer.inputs[0])
    if layer is None or layer.kind != "conv":
        raise ValueError(f"{output}: no convolution behind it")
    return layer.output
