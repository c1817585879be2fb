"""Turns a layer graph into a TFLite file, in float32 or in full-integer int8.

Every int8 operator is one that XNNPACK takes (so that a network is one partition of its delegate)
and one on the Edge TPU's list (`operators`). Spellings:

* PReLU is x + ReLU((a - 1) x), exact for a <= 1: a 1x1 depthwise convolution, which holds each
  slope exactly because every channel has a weight scale, and an ADD. Its output shares the scale of
  x, so that what is above zero is not rounded again. XNNPACK takes neither int8 PRELU nor MAXIMUM.
* Nearest-neighbour doubling is two concatenations, each followed by a RESHAPE: [H, W, 2C] read as
  [H, 2W, C] is every column twice, [H, 4W, C] read as [2H, 2W, C] every row twice. XNNPACK takes no
  int8 RESIZE_NEAREST_NEIGHBOR, the Edge TPU no DEPTH_TO_SPACE.
* A fully connected layer over a feature map is a convolution as large as the map, which allows
  one weight scale a channel.
* The first convolution of stride 2 reads pixels in pairs, [H, W, 3] as [H, W / 2, 6]: int8 kernels
  work on eight channels at a time, and three would fill them badly.
* Padding that "SAME" cannot express (one pixel on all sides with stride 2) is a PAD operator, which
  XNNPACK folds into the convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def in_pairs(weight: NDArray[np.float64], skip: int) -> NDArray[np.float64]:
    """Return [out, 3, 2, 2 c] weights over pairs of pixels for [out, 3, 3, c] over pixels.

    Args:
        weight: of a convolution of stride 2.
        skip: pixels of the first pair that lie left of the window: 1 or 0.
    """
    out, rows, _, channels = weight.shape
    wide = np.zeros((out, rows, 4, channels))
    wide[:, :, skip : skip + 3] = weight
    return wide.reshape(out, rows, 2, 2 * channels)


class _Emitter:
    """Writes layers in order; no ranges means float32."""

    def __init__(
        self,
        graph: Graph,
        height: int,
        width: int,
        ranges: Mapping[str, Range] | None,
        *,
        signed: bool,
    ) -> None:
        self.graph, self.ranges, self.signed = graph, ranges, signed
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
        """Write the image tensor: int8, or uint8 and the QUANTIZE that flips its sign bit."""
        name = self.graph.input
        first = self.graph.consumers(name)
        target = first[0].output if first[0].kind == "normalise" else name
        quant = self.quants[target]
        if self.signed:
            image = self.index[target] = self.writer.tensor("image", shape, "int8", quant)
            return image
        shifted = Quant(quant.scale, quant.zero_point + 128)
        image = self.writer.tensor("image", shape, "uint8", shifted)
        self.index[target] = self.writer.tensor(target, shape, "int8", quant)
        self.writer.operator("QUANTIZE", [image], [self.index[target]], "Quantize")
        return image

    def _out(self, layer: Layer) -> int:
        name = layer.output
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
        elif self._reads_pairs(layer):
            stored = in_pairs(stored, skip=layer.pad[0])
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
        weight, bias = self._constants(layer)
        source, step = self._source(layer), layer.stride
        same = layer.pad == self._same_padding(layer)
        if self._reads_pairs(layer):
            source, step, same = self._pairs(layer, source), 1, False
        elif any(layer.pad) and not same:
            source = self._pad(source, self.shapes[layer.inputs[0]], layer.inputs[0], layer.pad)
        out = self._out(layer)
        if relu:
            self.index[readers[0].output] = out
            self.fused[readers[0].output] = layer.output
        values: dict[str, object] = {
            "padding": _SAME if same else _VALID,
            "strideH": layer.stride,
            "strideW": step,
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

    def _same_padding(self, layer: Layer) -> tuple[int, int] | None:
        """Return what TFLite's "SAME" adds before and after; None if not alike both ways."""
        assert layer.weight is not None
        kernel, found = layer.weight.shape[1:3], set()
        for size, taps in zip(self.shapes[layer.inputs[0]][1:3], kernel, strict=True):
            total = max((-(-size // layer.stride) - 1) * layer.stride + taps - size, 0)
            found.add((total // 2, total - total // 2))
        return found.pop() if len(found) == 1 else None

    def _pad(
        self,
        source: int,
        shape: tuple[int, ...],
        name: str,
        rows: tuple[int, int],
        columns: tuple[int, int] | None = None,
    ) -> int:
        """Put zeros around a tensor that is stored as `name` is, alike both ways by default."""
        columns = rows if columns is None else columns
        amounts = np.array([[0, 0], rows, columns, [0, 0]])
        paddings = self.writer.tensor("paddings", (4, 2), "int32", data=amounts)
        padded = tuple(int(n) for n in np.array(shape) + amounts.sum(axis=1))
        dtype = "int8" if self.ranges else "float32"
        out = self.writer.tensor(f"{name}/padded", padded, dtype, self.quants.get(name))
        self.writer.operator("PAD", [source, paddings], [out], "Pad")
        return out

    def _reads_pairs(self, layer: Layer) -> bool:
        """Whether an int8 convolution is the first one, and may read pixels in pairs."""
        assert layer.weight is not None
        name, kernel = layer.inputs[0], layer.weight.shape[1:]
        before = self.graph.producer(name)
        return (
            self.ranges is not None
            and (before is None or before.kind == "normalise")
            and (kernel, layer.stride) == ((3, 3, 3), 2)
            and self.shapes[name][2] % 2 == 0
        )

    def _pairs(self, layer: Layer, source: int) -> int:
        """Read a picture as pairs of pixels, with a pair of zeros where the window leaves it."""
        name = layer.inputs[0]
        batch, rows, columns, channels = self.shapes[name]
        shape = (batch, rows, columns // 2, channels * 2)
        pairs = self._reshape(name, source, shape)
        return self._pad(pairs, shape, name, layer.pad, (1, 0) if layer.pad[0] else (0, 1))

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
            raise ValueError(f"{layer.output}: x + ReLU((a - 1) x) needs a <= 1, not {slope.max()}")
        falling = self._falling(layer, source, np.maximum(1.0 - slope, 1e-9))
        out = self._out(layer)
        writer.operator("ADD", [source, falling], [out], "Add", fusedActivationFunction=_NONE)

    def _falling(self, layer: Layer, source: int, fall: NDArray[np.float64]) -> int:
        """Write ReLU(-fall * x), channel by channel, in a range that it cannot leave.

        Were it clipped, the slope would turn from a to 1 there.
        """
        assert self.ranges is not None
        writer, name, channels = self.writer, f"{layer.output}/falling", len(fall)
        lowest = min(self.ranges[layer.inputs[0]][0], 0.0)
        scale = (fall / 127.0).astype(np.float32)
        wide = self.quants[layer.inputs[0]].scale * scale
        weight = writer.tensor(
            f"{name}/weight",
            (1, 1, 1, channels),
            "int8",
            Quant(scale, 0, 3),
            np.full((1, 1, 1, channels), -127),
        )
        bias = writer.tensor(
            f"{name}/bias", (channels,), "int32", Quant(wide, 0, 0), np.zeros(channels)
        )
        out = writer.tensor(
            name,
            self.shapes[layer.output],
            "int8",
            range_to_quant(0.0, float(-lowest * fall.max())),
        )
        writer.operator(
            "DEPTHWISE_CONV_2D",
            [source, weight, bias],
            [out],
            "DepthwiseConv2D",
            padding=_VALID,
            strideH=1,
            strideW=1,
            dilationHFactor=1,
            dilationWFactor=1,
            depthMultiplier=1,
            fusedActivationFunction=_RELU,
        )
        return out

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
        batch, rows, cols, channels = self.shapes[layer.inputs[0]]
        name = layer.output
        columns = self._twice(name, self._source(layer), 3, (batch, rows, cols, channels * 2))
        wide = self._reshape(name, columns, (batch, rows, cols * 2, channels))
        both = self._twice(name, wide, 2, (batch, rows, cols * 4, channels))
        self.index[name] = self._reshape(name, both, self.shapes[name])

    def _between(self, name: str, shape: Sequence[int]) -> int:
        """Add a tensor that is stored as `name` is, in another shape."""
        dtype = "int8" if self.ranges else "float32"
        return self.writer.tensor(name, shape, dtype, self.quants.get(name))

    def _twice(self, name: str, source: int, axis: int, shape: Sequence[int]) -> int:
        out = self._between(name, shape)
        self.writer.operator(
            "CONCATENATION",
            [source, source],
            [out],
            "Concatenation",
            axis=axis,
            fusedActivationFunction=_NONE,
        )
        return out

    def _reshape(self, name: str, source: int, shape: Sequence[int]) -> int:
        target = self.writer.tensor("shape", (len(shape),), "int32", data=np.array(shape))
        out = self._between(name, shape)
        self.writer.operator("RESHAPE", [source, target], [out], "Reshape", newShape=list(shape))
        return out

    def _add(self, layer: Layer) -> None:
        inputs = [self._source(layer, 0), self._source(layer, 1)]
        out = self._out(layer)
        self.writer.operator("ADD", inputs, [out], "Add", fusedActivationFunction=_NONE)

    def _sigmoid(self, layer: Layer) -> None:
        self.writer.operator("LOGISTIC", [self._source(layer)], [self._out(layer)])

    def _flatten(self, layer: Layer) -> None:
        name = layer.output
        self.index[name] = self._reshape(name, self._source(layer), self.shapes[name])


def emit(
    graph: Graph,
    height: int,
    width: int,
    ranges: Mapping[str, Range] | None = None,
    *,
    signed: bool = False,
) -> bytes:
    """Return the TFLite file of a graph at one input size.

    Args:
        graph: The network. For int8 every PReLU slope is at most 1 (see `steep.flip_steep`).
        height: Input rows.
        width: Input columns.
        ranges: Lowest and highest real value of each tensor that a convolution or an addition
            writes; None writes float32, with float32 input [1, height, width, 3] in 0..255.

        signed: An int8 file takes pixel - 128 as int8, not the pixel as uint8: the operator that
            would flip the sign is the only one that XNNPACK does not take.

    Returns:
        The file. In int8 the input is [1, height, width, 3], and every result is
        int8 with its scale and zero point in the file.
    """
    return _Emitter(graph, height, width, ranges, signed=signed).run()
