"""Turns a layer graph into a TFLite file, in float32 or in full-integer int8.

Spellings chosen by what runs them fastest (XNNPACK in ai-edge-litert 2.3, measured):

* PReLU is MAXIMUM(x, a * x), exact for a <= 1; all three tensors share one scale and zero point.
  XNNPACK takes no int8 MAXIMUM, so it runs between partitions; that is still a third faster than
  the spellings it does take (a·x + ReLU((1 - a)·x) in one partition), and PRELU is slower than all.
* Nearest-neighbour doubling is a concatenation of four copies and DEPTH_TO_SPACE.
* A fully connected layer over a feature map is a convolution as large as the map, which allows
  one weight scale a channel.
* Padding that "SAME" cannot express (one pixel on all sides with stride 2) is a PAD operator.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .flatbuffer import Quant, TfliteWriter
from .graph import Graph, Layer

Range = tuple[float, float]

_NONE = schema.ActivationFunctionType.NONE
_RELU = schema.ActivationFunctionType.RELU
_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID


def range_to_quant(low: float, high: float) -> Quant:
    """Scale and int8 zero point that cover a range, zero included and exactly representable."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, 1e-9)
    zero = int(np.clip(round(-128.0 - low / scale), -128, 127))
    return Quant.of(float(np.float32(scale)), zero)


def default_weight_scale(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest magnitude of each output channel over 127. weight is [out, ...]."""
    top = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1)
    return np.asarray(np.maximum(top, 1e-12) / 127.0)


def tensor_quants(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Quant]:
    """Quantisation of every tensor of the graph, by the rules that the kernels set.

    Args:
        graph: The network.
        ranges: Real ranges of tensors written by convolutions and additions.
    """
    quants = {graph.input: Quant.of(1.0, -128)}
    for layer in graph.layers:
        if layer.kind == "normalise":
            zero = round(layer.mean) - 128
            quants[layer.output] = Quant.of(layer.scale, zero)
        elif layer.kind == "sigmoid":
            quants[layer.output] = Quant.of(1.0 / 256.0, -128)
        elif layer.kind in ("conv", "add"):
            quants[layer.output] = range_to_quant(*ranges[layer.output])
        else:
            quants[layer.output] = quants[layer.inputs[0]]
    return quants


def input_shift(graph: Graph, layer: Layer) -> float:
    """Real value that the stored input of a convolution lacks, because zero points are whole.

    (u - 127.5) * s is stored as (u - 128) * s; the missing s / 2 is the same for every pixel and
    goes into the bias.
    """
    before = graph.producer(layer.inputs[0])
    if before is None or before.kind != "normalise":
        return 0.0
    return (round(before.mean) - before.mean) * before.scale


class _Emitter:
    """Writes layers in order; no ranges means float32."""

    def __init__(
        self, graph: Graph, height: int, width: int, ranges: Mapping[str, Range] | None
    ) -> None:
        self.graph, self.ranges = graph, ranges
        self.shapes = graph.shapes(height, width)
        self.quants = tensor_quants(graph, ranges) if ranges else {}
        self.writer = TfliteWriter(graph.name, f"{graph.name} {'int8' if ranges else 'float32'}")
        self.index: dict[str, int] = {}
        self.fused: dict[str, str] = {}

    def run(self) -> bytes:
        shape, writer = self.shapes[self.graph.input], self.writer
        if self.ranges is None:
            image = writer.tensor("image", shape, "float32")
            self.index[self.graph.input] = image
        else:
            image = self._quantised_input(shape)
        for layer in self.graph.layers:
            getattr(self, f"_{layer.kind}")(layer)
        return writer.finish([image], [self.index[name] for name in self.graph.outputs])

    def _quantised_input(self, shape: tuple[int, ...]) -> int:
        """Write a uint8 image tensor and the QUANTIZE that flips it to int8."""
        name = self.graph.input
        first = self.graph.consumers(name)
        target = first[0].output if first[0].kind == "normalise" else name
        quant = self.quants[target]
        shifted = Quant(quant.scale, quant.zero_point + 128)
        image = self.writer.tensor("image", shape, "uint8", shifted)
        self.index[target] = self.writer.tensor(target, shape, "int8", quant)
        self.writer.operator("QUANTIZE", [image], [self.index[target]], "Quantize")
        return image

    def _out(self, layer: Layer, name: str | None = None) -> int:
        name = name or layer.output
        dtype = "int8" if self.ranges else "float32"
        index = self.writer.tensor(name, self.shapes[name], dtype, self.quants.get(name))
        self.index[name] = index
        return index

    def _source(self, layer: Layer, at: int = 0) -> int:
        return self.index[layer.inputs[at]]

    def _normalise(self, layer: Layer) -> None:
        if self.ranges is not None:
            return  # part of the input's scale and zero point
        writer, shape = self.writer, self.shapes[layer.output]
        mean = writer.tensor("mean", (1,), "float32", data=np.array([layer.mean]))
        scale = writer.tensor("scale", (1,), "float32", data=np.array([layer.scale]))
        centred = writer.tensor("centred", shape, "float32")
        writer.operator("SUB", [self._source(layer), mean], [centred], "Sub")
        writer.operator("MUL", [centred, scale], [self._out(layer)], "Mul")

    def _constants(self, layer: Layer) -> tuple[int, int]:
        """Weight and bias tensors of a convolution, in the layout its kernel wants."""
        weight, bias = layer.weight, layer.bias
        if weight is None or bias is None:
            raise ValueError(f"{layer.output}: a convolution without weights")
        name, axis, quant = layer.output, 3 if layer.depthwise else 0, None
        if self.ranges is not None:
            scale = default_weight_scale(weight)
            bias = bias + input_shift(self.graph, layer) * weight.sum(axis=(1, 2, 3))
            stored = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127)
            quant = Quant(scale.astype(np.float32), 0, axis)
            wide = self.quants[layer.inputs[0]].scale.astype(np.float64)[0] * quant.scale
            limits = np.iinfo(np.int32)
            bias = np.clip(np.rint(bias / wide), limits.min, limits.max)
            bias_quant = Quant(wide.astype(np.float32), 0, 0)
            kinds = ("int8", "int32")
        else:
            stored, bias_quant, kinds = weight, None, ("float32", "float32")
        if layer.depthwise:
            stored = stored.transpose(3, 1, 2, 0)
        return (
            self.writer.tensor(f"{name}/weight", stored.shape, kinds[0], quant, stored),
            self.writer.tensor(f"{name}/bias", bias.shape, kinds[1], bias_quant, bias),
        )

    def _conv(self, layer: Layer) -> None:
        assert layer.weight is not None
        readers = self.graph.consumers(layer.output)
        relu = len(readers) == 1 and readers[0].kind == "relu"
        if relu and self.ranges is not None:
            self.quants[layer.output] = range_to_quant(0.0, self.ranges[layer.output][1])
            self.quants[readers[0].output] = self.quants[layer.output]
        source = self._source(layer)
        same = layer.stride == 1 and 2 * layer.pad == layer.weight.shape[1] - 1
        if layer.pad and not same:
            source = self._pad(layer, source)
        weight, bias = self._constants(layer)
        out = self._out(layer)
        if relu:
            self.index[readers[0].output] = out
            self.fused[readers[0].output] = layer.output
        values: dict[str, object] = {
            "padding": _SAME if same else _VALID,
            "strideH": layer.stride,
            "strideW": layer.stride,
            "dilationHFactor": 1,
            "dilationWFactor": 1,
            "fusedActivationFunction": _RELU if relu else _NONE,
        }
        if layer.depthwise:
            values["depthMultiplier"] = 1
            kind, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2D"
        else:
            kind, options = "CONV_2D", "Conv2D"
        self.writer.operator(kind, [source, weight, bias], [out], options, **values)

    def _pad(self, layer: Layer, source: int) -> int:
        name, pad = layer.inputs[0], layer.pad
        batch, rows, cols, channels = self.shapes[name]
        shape = (batch, rows + 2 * pad, cols + 2 * pad, channels)
        amounts = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]])
        paddings = self.writer.tensor("paddings", (4, 2), "int32", data=amounts)
        dtype = "int8" if self.ranges else "float32"
        out = self.writer.tensor(f"{layer.output}/padded", shape, dtype, self.quants.get(name))
        self.writer.operator("PAD", [source, paddings], [out], "Pad")
        return out

    def _relu(self, layer: Layer) -> None:
        if layer.output not in self.fused:
            raise ValueError(f"{layer.output}: a ReLU that is not behind its own convolution")

    def _prelu(self, layer: Layer) -> None:
        assert layer.slope is not None
        writer, slope, source = self.writer, layer.slope, self._source(layer)
        if self.ranges is None:
            data = slope.reshape(1, 1, -1)
            alpha = writer.tensor(f"{layer.output}/slope", data.shape, "float32", data=data)
            writer.operator("PRELU", [source, alpha], [self._out(layer)])
            return
        if slope.max() > 1.0:
            raise ValueError(f"{layer.output}: MAXIMUM(x, a x) needs a <= 1, found {slope.max()}")
        scale = float(np.abs(slope).max()) / 127.0
        stored = np.clip(np.rint(slope / scale), -127, 127)
        alpha = writer.tensor(
            f"{layer.output}/slope", (1, 1, 1, len(slope)), "int8", Quant.of(scale, 0), stored
        )
        shape, quant = self.shapes[layer.output], self.quants[layer.output]
        leaked = writer.tensor(f"{layer.output}/leaked", shape, "int8", quant)
        writer.operator("MUL", [source, alpha], [leaked], "Mul", fusedActivationFunction=_NONE)
        out = self._out(layer)
        writer.operator("MAXIMUM", [source, leaked], [out], "MaximumMinimum")

    def _maxpool(self, layer: Layer) -> None:
        self.writer.operator(
            "MAX_POOL_2D",
            [self._source(layer)],
            [self._out(layer)],
            "Pool2D",
            padding=_VALID,
            strideH=2,
            strideW=2,
            filterHeight=2,
            filterWidth=2,
            fusedActivationFunction=_NONE,
        )

    def _upsample(self, layer: Layer) -> None:
        name = layer.inputs[0]
        batch, rows, cols, channels = self.shapes[name]
        dtype, quant = ("int8", self.quants[name]) if self.ranges else ("float32", None)
        four = self.writer.tensor(
            f"{layer.output}/four", (batch, rows, cols, channels * 4), dtype, quant
        )
        source = self._source(layer)
        self.writer.operator(
            "CONCATENATION",
            [source] * 4,
            [four],
            "Concatenation",
            axis=3,
            fusedActivationFunction=_NONE,
        )
        out = self._out(layer)
        self.writer.operator("DEPTH_TO_SPACE", [four], [out], "DepthToSpace", blockSize=2)

    def _add(self, layer: Layer) -> None:
        inputs = [self._source(layer, 0), self._source(layer, 1)]
        out = self._out(layer)
        self.writer.operator("ADD", inputs, [out], "Add", fusedActivationFunction=_NONE)

    def _sigmoid(self, layer: Layer) -> None:
        self.writer.operator("LOGISTIC", [self._source(layer)], [self._out(layer)])

    def _flatten(self, layer: Layer) -> None:
        shape = self.shapes[layer.output]
        target = self.writer.tensor("shape", (len(shape),), "int32", data=np.array(shape))
        source = self._source(layer)
        out = self._out(layer)
        self.writer.operator("RESHAPE", [source, target], [out], "Reshape", newShape=list(shape))


def emit(graph: Graph, height: int, width: int, ranges: Mapping[str, Range] | None = None) -> bytes:
    """Return the TFLite file of a graph at one input size.

    Args:
        graph: The network. For int8 every PReLU slope is at most 1 (see `steep.flip_steep`).
        height: Input rows.
        width: Input columns.
        ranges: Lowest and highest real value of each tensor that a convolution or an addition
            writes (a PReLU shares its input's); None writes float32, with float32 input
            [1, height, width, 3] in 0..255.

    Returns:
        The file. In int8 the input is uint8 [1, height, width, 3], 0..255, and every result is
        int8 with its scale and zero point in the file.
    """
    return _Emitter(graph, height, width, ranges).run()
