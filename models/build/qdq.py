"""Writes a layer graph as a quantised ONNX file, from which TensorRT builds its engine.

Explicit quantisation: QuantizeLinear and DequantizeLinear stand where a tensor is int8, with zero
points of 0, which is all that TensorRT takes (NVIDIA, *Working with Quantized Types*). Weights are
stored as int8. What is in float: the first convolution, because pixels of 0 to 255 would lose a bit
to the sign, and results, which nothing reads in int8.

Input and outputs are the plain file's: uint8 [1, height, width, 3], outputs by name and shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .emit import Range, default_weight_scale
from .graph import Graph, Layer

OPSET, IR_VERSION = 19, 9
"""Read by every TensorRT from 10 on; the first opset that onnx's own reference can run."""

IMAGE = "image"


class _Writer:
    """Writes layers in order; `names` says which ONNX tensor holds a tensor of the graph."""

    def __init__(self, graph: Graph, height: int, width: int, ranges: Mapping[str, Range]) -> None:
        self.graph, self.ranges = graph, ranges
        self.shapes = graph.shapes(height, width)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.names: dict[str, str] = {}

    def run(self) -> bytes:
        self._node("Cast", [IMAGE], "pixels/float", to=TensorProto.FLOAT)
        self._node("Transpose", ["pixels/float"], "pixels/nchw", perm=[0, 3, 1, 2])
        self.names[self.graph.input] = "pixels/nchw"
        for layer in self.graph.layers:
            getattr(self, f"_{layer.kind}")(layer)
        image = helper.make_tensor_value_info(
            IMAGE, TensorProto.UINT8, self.shapes[self.graph.input]
        )
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])
            for name in self.graph.outputs
        ]
        body = helper.make_graph(self.nodes, self.graph.name, [image], results, self.constants)
        model = helper.make_model(
            body,
            producer_name="lethe",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:  # noqa: ANN401
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _source(self, layer: Layer, at: int = 0) -> str:
        return self.names[layer.inputs[at]]

    def _stored(self, layer: Layer, tensor: str, reach: float) -> None:
        """Store a tensor as int8; what only results come from is clipped as the plain file does.

        Boxes and landmarks of cells without a face are noise far outside of it, by which a device
        that compares an accelerator with its CPU would think the accelerator wrong.
        """
        name = layer.output
        if self._is_result(name):
            ends = [
                self._constant(f"{name}/{end}", np.array(value, np.float32))
                for end, value in zip(("low", "high"), self.ranges[name], strict=True)
            ]
            self.names[name] = self._node("Clip", [tensor, *ends], f"{name}/clipped")
            return
        scale = self._constant(f"{name}/scale", np.array(max(reach, 1e-9) / 127.0, np.float32))
        zero = self._constant(f"{name}/zero", np.array(0, np.int8))
        quantised = self._node("QuantizeLinear", [tensor, scale, zero], f"{name}/int8")
        self.names[name] = self._node(
            "DequantizeLinear", [quantised, scale, zero], f"{name}/stored"
        )

    def _is_result(self, name: str) -> bool:
        return all(reader.kind == "flatten" for reader in self.graph.consumers(name))

    def _normalise(self, layer: Layer) -> None:
        mean = self._constant("mean", np.array(layer.mean, np.float32))
        scale = self._constant("scale", np.array(layer.scale, np.float32))
        centred = self._node("Sub", [self._source(layer), mean], "pixels/centred")
        self.names[layer.output] = self._node("Mul", [centred, scale], "pixels/scaled")

    def _conv(self, layer: Layer) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        name, channels = layer.output, len(layer.bias)
        weight = layer.weight.transpose(0, 3, 1, 2)
        before = self.graph.producer(layer.inputs[0])
        if before is None or before.kind == "normalise":
            filters = self._constant(f"{name}/weight", weight.astype(np.float32))
        else:
            scale = default_weight_scale(layer.weight).astype(np.float32)
            shaped = scale.reshape(-1, 1, 1, 1)
            stored = np.clip(np.rint(weight / shaped), -127, 127).astype(np.int8)
            parts = [
                self._constant(f"{name}/weight", stored),
                self._constant(f"{name}/weight/scale", scale),
                self._constant(f"{name}/weight/zero", np.zeros(channels, np.int8)),
            ]
            filters = self._node("DequantizeLinear", parts, f"{name}/weight/real", axis=0)
        bias = self._constant(f"{name}/bias", layer.bias.astype(np.float32))
        result = self._node(
            "Conv",
            [self._source(layer), filters, bias],
            f"{name}/conv",
            strides=[layer.stride] * 2,
            pads=[layer.pad[0]] * 2 + [layer.pad[1]] * 2,
            group=channels if layer.depthwise else 1,
        )
        readers = self.graph.consumers(name)
        if len(readers) == 1 and readers[0].kind in ("relu", "prelu"):
            self.names[name] = result  # stored when the activation is done
        else:
            self._stored(layer, result, max(map(abs, self.ranges[name])))

    def _relu(self, layer: Layer) -> None:
        result = self._node("Relu", [self._source(layer)], f"{layer.output}/relu")
        self._stored(layer, result, self.ranges[layer.inputs[0]][1])

    def _prelu(self, layer: Layer) -> None:
        assert layer.slope is not None
        slope = self._constant(
            f"{layer.output}/slope", layer.slope.reshape(-1, 1, 1).astype(np.float32)
        )
        result = self._node("PRelu", [self._source(layer), slope], f"{layer.output}/prelu")
        low, high = self.ranges[layer.inputs[0]]
        self._stored(layer, result, max(high, -low * float(np.abs(layer.slope).max())))

    def _maxpool(self, layer: Layer) -> None:
        self.names[layer.output] = self._node(
            "MaxPool",
            [self._source(layer)],
            f"{layer.output}/pooled",
            kernel_shape=[2, 2],
            strides=[2, 2],
        )

    def _upsample(self, layer: Layer) -> None:
        scales = self._constant(f"{layer.output}/scales", np.array([1, 1, 2, 2], np.float32))
        self.names[layer.output] = self._node(
            "Resize",
            [self._source(layer), "", scales],
            f"{layer.output}/doubled",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _add(self, layer: Layer) -> None:
        result = self._node(
            "Add", [self._source(layer, 0), self._source(layer, 1)], f"{layer.output}/sum"
        )
        self._stored(layer, result, max(map(abs, self.ranges[layer.output])))

    def _flatten(self, layer: Layer) -> None:
        """Reshape as the plain file does: to NHWC first."""
        name = layer.output
        last = self._node("Transpose", [self._source(layer)], f"{name}/nhwc", perm=[0, 2, 3, 1])
        shape = self._constant(f"{name}/shape", np.array(self.shapes[name], np.int64))
        self.names[name] = self._node("Reshape", [last, shape], self._result(name))

    def _sigmoid(self, layer: Layer) -> None:
        name = layer.output
        self.names[name] = self._node("Sigmoid", [self._source(layer)], self._result(name))

    def _result(self, name: str) -> str:
        return name if name in self.graph.outputs else f"{name}/flat"


def write_qdq(graph: Graph, height: int, width: int, ranges: Mapping[str, Range]) -> bytes:
    """Return the ONNX file of a graph at one input size.

    Args:
        graph: the network.
        height: input rows.
        width: input columns.
        ranges: as of `emit.emit`; the larger end counts for both.
    """
    return _Writer(graph, height, width, ranges).run()
