"""Rescales channels so that one int8 scale a tensor wastes little, without changing the function.

What a convolution writes for others to read may be multiplied, channel by channel, by any positive
number and divided by it again in those that read it: ReLU, PReLU and max-pooling let it through.
Channels that reach equally far all use the 256 steps.

* A depthwise layer has a weight scale for each channel, so the division costs nothing there
  (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019).
* In any other convolution the unevenness moves into the weights, which share a scale: half of it,
  in octaves, is left with either (Xiao et al., SmoothQuant, 2022, with alpha = 0.5).

Factors are whole quarters of an octave, 2^(n/4), so that they can be kept as small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .calibrate import Observation
from .graph import Graph, Layer

SHARE = 0.9999
"""Part of a channel's values that must lie within its reach; the rest may be clipped."""

SHARED = 0.5
"""Part of the unevenness, in octaves, that moves into weights which share a scale."""

MOST = 24
"""Largest factor either way, in quarters of an octave: keeps dead channels from growing."""

_ROOTS = np.array([1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429])
"""2^(0/4) to 2^(3/4), written out: computed powers may differ by a bit between processors."""

_THROUGH = ("relu", "prelu", "maxpool")


def choose_steps(graph: Graph, seen: Mapping[str, Observation]) -> dict[str, list[int]]:
    """Return, by the name of a convolution's output, the factor of each of its channels."""
    steps = {}
    for name, observation in seen.items():
        readers = _readers(graph, name)
        if not readers:
            continue
        depthwise = {reader.depthwise for reader in readers}
        high = np.maximum(np.quantile(observation.samples, SHARE, axis=0), 1e-9)
        low = np.maximum(-np.quantile(observation.samples, 1 - SHARE, axis=0), 1e-9)
        after = graph.consumers(name)[0]
        if depthwise != {True}:
            low = low * (1.0 if after.slope is None else np.abs(after.slope))
            factor = np.maximum(high, low if after.kind != "relu" else 0.0) ** -SHARED
        elif after.kind == "relu":
            factor = 1.0 / high
        else:
            gain = np.sum([_gain(reader) for reader in readers], axis=0)
            factor = _two_sided(low, high, gain)
        quarters = np.rint(4 * np.log2(factor / np.median(factor)))
        steps[name] = [int(n) for n in np.clip(quarters, -MOST, MOST)]
    return steps


def factors(quarters: list[int]) -> NDArray[np.float64]:
    """Return 2^(n/4) of each n."""
    octaves, rest = np.divmod(quarters, 4)
    return np.asarray(np.ldexp(_ROOTS[rest], octaves))


def equalise(graph: Graph, steps: Mapping[str, list[int]]) -> None:
    """Rescale the channels of a graph, in place, as `choose_steps` said."""
    for name, quarters in steps.items():
        factor = factors(quarters)
        writer = graph.producer(name)
        readers = _readers(graph, name)
        if writer is None or writer.weight is None or writer.bias is None or not readers:
            raise ValueError(f"{name}: cannot be rescaled; is the calibration of another graph?")
        weight = writer.weight * factor[:, None, None, None]
        graph.swap(replace(writer, weight=weight, bias=writer.bias * factor))
        for reader in readers:
            if reader.weight is not None:
                # Depthwise weights are [channels, kh, kw, 1], others [out, kh, kw, channels].
                divisor = factor[:, None, None, None] if reader.depthwise else factor
                graph.swap(replace(reader, weight=reader.weight / divisor))


def _readers(graph: Graph, name: str) -> list[Layer]:
    """Return the convolutions that read a convolution's output; none if anything else does."""
    writer = graph.producer(name)
    if name in graph.outputs or writer is None or writer.kind not in ("conv", *_THROUGH):
        return []
    found: list[Layer] = []
    for layer in graph.consumers(name):
        further = [layer] if layer.kind == "conv" else _readers(graph, layer.output)
        if not further:
            return []
        found += further
    return found


def _gain(reader: Layer) -> NDArray[np.float64]:
    """Return how much an error of each channel matters to a depthwise layer."""
    if reader.weight is None:
        raise ValueError(f"{reader.output}: a convolution without weights")
    return np.asarray((reader.weight**2).sum(axis=(1, 2, 3)))


def _two_sided(
    low: NDArray[np.float64], high: NDArray[np.float64], gain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the factors with which a tensor of both signs loses least to rounding.

    The range is [-below, 1] in scaled units; a channel grows until it touches either end. `below`
    is found by search: the noise of a channel is (1 + below)² / factor².

    Args:
        low: (channels,) how far below zero, positive.
        high: (channels,) how far above.
        gain: (channels,) how much an error matters.
    """
    least, best = np.inf, 1 / np.maximum(low, high)
    for below in np.geomspace(0.05, 4.0, 45):
        factor = np.minimum(1 / high, below / low)
        noise = float((gain * ((1 + below) / factor) ** 2).sum())
        if noise < least:
            least, best = noise, factor
    return np.asarray(best)
