"""Makes every PReLU expressible as x + ReLU((a - 1) x), without changing the function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .graph import Graph, Layer


def flip_steep(graph: Graph) -> int:
    """Bring every PReLU slope into [-1, 1]: x + ReLU((a - 1) x) is exact for a <= 1.

    For |a| > 1 and z = -x, PReLU(x; a) = -a PReLU(z; 1 / a): the sign goes into the convolution
    before and -a into those after. (Slopes below -1 would be exact too, but would waste the range
    that the channels share.)

    Returns:
        How many channels were flipped.

    Raises:
        ValueError: a steep slope lies between layers that cannot take the factors.
    """
    flipped = 0
    for layer in list(graph.layers):
        if layer.kind != "prelu" or layer.slope is None:
            continue
        steep = np.abs(layer.slope) > 1.0
        if not steep.any():
            continue
        readers, conv = graph.consumers(layer.output), graph.producer(layer.inputs[0])
        if conv is None or conv.weight is None or conv.bias is None:
            raise ValueError(f"{layer.output}: a steep slope that no convolution precedes")
        sign = np.where(steep, -1.0, 1.0)
        graph.swap(
            replace(conv, weight=conv.weight * sign[:, None, None, None], bias=conv.bias * sign)
        )
        for reader in readers:
            _scale_reader(graph, reader, np.where(steep, -layer.slope, 1.0))
        graph.swap(
            replace(
                layer, slope=np.where(steep, 1.0 / np.where(steep, layer.slope, 1.0), layer.slope)
            )
        )
        flipped += int(steep.sum())
    return flipped


def _scale_reader(graph: Graph, reader: Layer, factor: np.ndarray) -> None:
    if reader.kind != "conv" or reader.weight is None or reader.output in graph.outputs:
        raise ValueError(f"{reader.output}: cannot take a factor for its input")
    shaped = factor[:, None, None, None] if reader.depthwise else factor
    graph.swap(replace(reader, weight=reader.weight * shaped))
