"""A small layer graph in NHWC: the nine kinds of layer that the published networks need."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


class UnsupportedGraphError(ValueError):
    """A published file holds something that its reader does not fold or translate."""


@dataclass(frozen=True)
class Layer:
    """One operation with at most two data inputs and exactly one output.

    Attributes:
        kind: conv, prelu, relu, maxpool, upsample, add, sigmoid, flatten or normalise.
        output: Name of the tensor written; unique in the graph.
        inputs: Names of the tensors read.
        weight: conv: [out, kh, kw, in / groups] float64.
        bias: conv: [out] float64.
        slope: prelu: [channels] float64.
        stride: conv: the same step in both directions.
        pad: conv: zeros added before (above, left) and after (below, right).
        depthwise: conv: one filter a channel (groups = in = out).
        mean: normalise: output is (input - mean) * scale.
        scale: normalise: see mean.
    """

    kind: str
    output: str
    inputs: tuple[str, ...]
    weight: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] | None = None
    slope: NDArray[np.float64] | None = None
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    depthwise: bool = False
    mean: float = 0.0
    scale: float = 1.0


@dataclass
class Graph:
    """Layers in execution order, one input, named outputs.

    Attributes:
        name: Short name, used for the TFLite subgraph.
        input: Name of the image tensor, float [1, height, width, 3] in 0..255.
        layers: In an order in which every input is written before it is read.
        outputs: Names of result tensors, in the order they should be reported.
    """

    name: str
    input: str
    layers: list[Layer]
    outputs: list[str] = field(default_factory=list)

    def producer(self, tensor: str) -> Layer | None:
        """Return the layer that writes a tensor, or None for the graph's input."""
        return next((layer for layer in self.layers if layer.output == tensor), None)

    def consumers(self, tensor: str) -> list[Layer]:
        """Return the layers that read a tensor."""
        return [layer for layer in self.layers if tensor in layer.inputs]

    def swap(self, new: Layer) -> None:
        """Replace the layer that writes the same output."""
        at = next(i for i, layer in enumerate(self.layers) if layer.output == new.output)
        self.layers[at] = new

    def shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor for one input size, batch 1, NHWC."""
        known: dict[str, tuple[int, ...]] = {self.input: (1, height, width, 3)}
        for layer in self.layers:
            known[layer.output] = _output_shape(layer, known[layer.inputs[0]])
        return known


def _output_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    if layer.kind == "conv":
        assert layer.weight is not None
        out, kernel_h, kernel_w, _ = layer.weight.shape
        rows = (shape[1] + sum(layer.pad) - kernel_h) // layer.stride + 1
        cols = (shape[2] + sum(layer.pad) - kernel_w) // layer.stride + 1
        return (1, rows, cols, out)
    if layer.kind == "maxpool":
        return (1, shape[1] // 2, shape[2] // 2, shape[3])
    if layer.kind == "upsample":
        return (1, shape[1] * 2, shape[2] * 2, shape[3])
    if layer.kind == "flatten":
        rows = shape[1] * shape[2]
        return (1, shape[3]) if rows == 1 else (1, rows, shape[3])
    return shape
