"""Folds a published ONNX file into the layer graph.

Everything that only describes constants (block-quantised weights, batch normalisation, input
scaling, reshapes of weights) is folded away while reading; what remains computes the same function
as the file, in float32, without approximation. An operation that is not known is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .graph import Graph, Layer, UnsupportedGraphError


class _Reader:
    """Walks the ONNX nodes once, folding constants and emitting layers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.layers: list[Layer] = []
        self.alias: dict[str, str] = {}

    def data(self, name: str) -> str:
        """Return the tensor that a name stands for, seen through what only moves data."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def last_for(self, tensor: str) -> Layer:
        """Return the layer that writes a tensor."""
        return next(layer for layer in self.layers if layer.output == tensor)

    def read(self, node: onnx.NodeProto) -> None:
        """Take the next node: a constant, or a layer."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            return
        if node.input[0] in self.constants:
            self.constants[node.output[0]] = self._fold(node, attributes)
            return
        handler = getattr(self, f"_on_{node.op_type.lower()}", None)
        if handler is None:
            raise UnsupportedGraphError(f"operation {node.op_type} of node {node.name!r}")
        handler(node, attributes)

    def _fold(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> NDArray[Any]:
        values = [self.constants[name] for name in node.input if name]
        if node.op_type == "Reshape":
            return values[0].reshape([int(n) for n in values[1]])
        if node.op_type == "DequantizeLinear":
            axis = int(attributes.get("axis", 1))
            block = int(attributes.get("block_size", 0))
            return _dequantise(values, axis, block)
        raise UnsupportedGraphError(f"constant operation {node.op_type}")

    def _on_conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight = self.constants[node.input[1]].astype(np.float64)
        groups, pads = int(attributes["group"]), list(attributes["pads"])
        strides = list(attributes["strides"])
        if len(set(pads)) != 1 or len(set(strides)) != 1 or (groups > 1 and weight.shape[1] != 1):
            raise UnsupportedGraphError(f"convolution {node.name!r}: pads, strides or groups")
        bias = np.zeros(weight.shape[0])
        if len(node.input) > 2:
            bias = self.constants[node.input[2]].astype(np.float64).ravel()
        self.layers.append(
            Layer(
                "conv",
                node.output[0],
                (self.data(node.input[0]),),
                weight=weight.transpose(0, 2, 3, 1),
                bias=bias,
                stride=int(strides[0]),
                pad=(int(pads[0]), int(pads[0])),
                depthwise=weight.shape[1] == 1 and groups == weight.shape[0],
            )
        )

    def _on_batchnormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        gamma, beta, mean, variance = (
            self.constants[name].astype(np.float64) for name in node.input[1:5]
        )
        factor = gamma / np.sqrt(variance + float(attributes["epsilon"]))
        source = self.data(node.input[0])
        before = self.last_for(source)
        if before.weight is not None and before.bias is not None:
            folded = replace(
                before,
                output=node.output[0],
                weight=before.weight * factor[:, None, None, None],
                bias=(before.bias - mean) * factor + beta,
            )
            self.layers[self.layers.index(before)] = folded
        else:  # no convolution to take it: kept as a 1x1 depthwise layer for the next to absorb
            self.layers.append(
                Layer(
                    "conv",
                    node.output[0],
                    (source,),
                    weight=factor[:, None, None, None],
                    bias=beta - mean * factor,
                    depthwise=True,
                )
            )

    def _on_prelu(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        slope = self.constants[node.input[1]].astype(np.float64).ravel()
        self.layers.append(Layer("prelu", node.output[0], (self.data(node.input[0]),), slope=slope))

    def _on_relu(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.layers.append(Layer("relu", node.output[0], (self.data(node.input[0]),)))

    def _on_maxpool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if list(attributes["kernel_shape"]) != [2, 2] or any(attributes["pads"]):
            raise UnsupportedGraphError("only 2x2 max-pooling without padding")
        self.layers.append(Layer("maxpool", node.output[0], (self.data(node.input[0]),)))

    def _on_resize(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes["mode"] != b"nearest":
            raise UnsupportedGraphError("only nearest-neighbour doubling")
        self.layers.append(Layer("upsample", node.output[0], (self.data(node.input[0]),)))

    def _on_add(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.layers.append(
            Layer("add", node.output[0], tuple(self.data(name) for name in node.input))
        )

    def _on_sub(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        mean = float(self.constants[node.input[1]].ravel()[0])
        self.layers.append(
            Layer("normalise", node.output[0], (self.data(node.input[0]),), mean=mean)
        )

    def _on_mul(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        before = self.last_for(self.data(node.input[0]))
        if before.kind != "normalise":
            raise UnsupportedGraphError("multiplication outside the input scaling")
        scale = float(self.constants[node.input[1]].ravel()[0])
        at = self.layers.index(before)
        self.layers[at] = replace(before, output=node.output[0], scale=scale)

    def _on_transpose(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.alias[node.output[0]] = node.input[0]  # NCHW to NHWC: the graph is NHWC already

    def _on_reshape(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.layers.append(Layer("flatten", node.output[0], (self.data(node.input[0]),)))

    def _on_sigmoid(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.layers.append(Layer("sigmoid", node.output[0], (self.data(node.input[0]),)))

    def _on_dropout(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.alias[node.output[0]] = node.input[0]

    def _on_flatten(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        self.alias[node.output[0]] = node.input[0]  # only before Gemm, read as a convolution

    def _on_gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if not attributes.get("transB") or attributes.get("transA"):
            raise UnsupportedGraphError("only Gemm with transposed weights")
        source = self.data(node.input[0])
        norm = self.last_for(source)
        if norm.kind != "conv" or not norm.depthwise or norm.weight is None or norm.bias is None:
            raise UnsupportedGraphError("Gemm is expected after a batch normalisation")
        flat = self.constants[node.input[1]].astype(np.float64)
        bias = self.constants[node.input[2]].astype(np.float64).ravel()
        channels = norm.weight.shape[0]
        side = round((flat.shape[1] / channels) ** 0.5)
        weight = flat.reshape(-1, channels, side, side).transpose(0, 2, 3, 1)
        self.layers.remove(norm)
        self.layers.append(
            Layer(
                "conv",
                node.output[0],
                norm.inputs,
                weight=weight * norm.weight[:, 0, 0, 0],
                bias=bias + np.einsum("ohwc,c->o", weight, norm.bias),
            )
        )


def _dequantise(values: list[NDArray[Any]], axis: int, block: int) -> NDArray[np.float32]:
    """DequantizeLinear of ONNX opset 21: per tensor, per axis or blocked along an axis."""
    quantised, scale = values[0].astype(np.float32), values[1].astype(np.float32)
    zero = values[2].astype(np.float32) if len(values) > 2 else np.zeros_like(scale)
    if (scale.ndim and scale.size > 1) or block:
        length = quantised.shape[axis]
        if block:
            scale, zero = (np.repeat(v, block, axis=axis) for v in (scale, zero))
            scale, zero = (np.take(v, range(length), axis=axis) for v in (scale, zero))
        else:
            wide = [1] * quantised.ndim
            wide[axis] = length
            scale, zero = scale.reshape(wide), zero.reshape(wide)
    return ((quantised - zero) * scale).astype(np.float32)


def read_onnx(content: bytes, name: str) -> Graph:
    """Read a published ONNX file and fold its constants.

    Args:
        content: the file. Its input is NCHW float, three channels, 0..255.
        name: of the resulting graph.

    Returns:
        A graph in NHWC that computes the same function.

    Raises:
        UnsupportedGraphError: the file holds an operation that is not known.
    """
    model = onnx.load_model_from_string(content)
    reader = _Reader(model)
    for node in model.graph.node:
        reader.read(node)
    names = {t.name for t in model.graph.initializer}
    image = next(i.name for i in model.graph.input if i.name not in names)
    graph = Graph(name, image, reader.layers)
    wanted = [o.name for o in model.graph.output]
    missing = [o for o in wanted if graph.producer(o) is None]
    if missing:
        raise UnsupportedGraphError(f"results not found: {missing}")
    graph.outputs = wanted
    return graph
