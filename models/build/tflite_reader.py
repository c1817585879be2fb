"""Folds a published float TFLite file into the layer graph.

Knows what the file of MobileFaceNet holds and refuses the rest: convolutions with their batch
normalisation folded, residual additions, and PReLU spelled as relu(x) + m * (x - |x|), whose slope
below zero is 2 m. A baked batch is read as a batch of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .graph import Graph, Layer, UnsupportedGraphError

_CODES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


@dataclass(frozen=True)
class _Partial:
    """A tensor that is part of a PReLU: of what, and how far it has come."""

    step: str
    source: str
    factor: NDArray[np.float64] | None = None


class _Reader:
    """Walks the operators once, in the file's order, which is one of execution."""

    def __init__(self, content: bytes) -> None:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        (self._subgraph,) = model.subgraphs
        self._buffers, self._codes = model.buffers, model.operatorCodes
        (self.input,), (self.output,) = self._subgraph.inputs, self._subgraph.outputs
        self.layers: list[Layer] = []
        self._partial: dict[int, _Partial] = {}

    def name(self, index: int) -> str:
        """Return the name of a tensor."""
        return str(self._subgraph.tensors[index].name.decode("utf-8"))

    def _constant(self, index: int) -> NDArray[np.float64] | None:
        tensor = self._subgraph.tensors[index]
        data = self._buffers[tensor.buffer].data
        if data is None or not len(data) or tensor.type != schema.TensorType.FLOAT32:
            return None
        return np.frombuffer(bytes(data), "<f4").reshape(tensor.shape).astype(np.float64)

    def read(self) -> None:
        """Take every operator."""
        for operator in self._subgraph.operators:
            code = self._codes[operator.opcodeIndex]
            kind = _CODES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            handler = getattr(self, f"_on_{kind.lower()}", None)
            if handler is None:
                raise UnsupportedGraphError(f"operation {kind}")
            options = operator.builtinOptions
            if getattr(options, "fusedActivationFunction", 0):
                raise UnsupportedGraphError(f"{kind} with a fused activation")
            handler([int(i) for i in operator.inputs], int(operator.outputs[0]), options)

    def _convolution(self, inputs: list[int], output: int, options: Any, depthwise: bool) -> None:  # noqa: ANN401 (generated class)
        weight, bias = self._constant(inputs[1]), self._constant(inputs[2])
        if weight is None or bias is None or options.strideH != options.strideW:
            raise UnsupportedGraphError(f"convolution {self.name(output)!r}")
        if depthwise:
            weight = weight.transpose(3, 1, 2, 0)
        pad = (0, 0)
        if options.padding == schema.Padding.SAME:
            size = int(self._subgraph.tensors[inputs[0]].shape[1])
            steps, taps = -(-size // options.strideH) - 1, weight.shape[1]
            total = max(steps * options.strideH + taps - size, 0)
            pad = (total // 2, total - total // 2)
        self.layers.append(
            Layer(
                "conv",
                self.name(output),
                (self.name(inputs[0]),),
                weight=weight,
                bias=bias,
                stride=int(options.strideH),
                pad=pad,
                depthwise=depthwise,
            )
        )

    def _on_conv_2d(self, inputs: list[int], output: int, options: Any) -> None:  # noqa: ANN401
        self._convolution(inputs, output, options, depthwise=False)

    def _on_depthwise_conv_2d(self, inputs: list[int], output: int, options: Any) -> None:  # noqa: ANN401
        self._convolution(inputs, output, options, depthwise=True)

    def _on_relu(self, inputs: list[int], output: int, _: object) -> None:
        self._partial[output] = _Partial("relu", self.name(inputs[0]))

    def _on_abs(self, inputs: list[int], output: int, _: object) -> None:
        self._partial[output] = _Partial("abs", self.name(inputs[0]))

    def _on_sub(self, inputs: list[int], output: int, _: object) -> None:
        taken = self._partial.get(inputs[1])
        if taken != _Partial("abs", self.name(inputs[0])):
            raise UnsupportedGraphError(f"subtraction {self.name(output)!r}")
        self._partial[output] = _Partial("twice below zero", taken.source)

    def _on_mul(self, inputs: list[int], output: int, _: object) -> None:
        factor, below = self._constant(inputs[0]), self._partial.get(inputs[1])
        if factor is None or below is None or below.step != "twice below zero":
            raise UnsupportedGraphError(f"multiplication {self.name(output)!r}")
        self._partial[output] = _Partial("below zero", below.source, 2.0 * factor.ravel())

    def _on_add(self, inputs: list[int], output: int, _: object) -> None:
        above, below = (self._partial.get(index) for index in inputs)
        if above is None and below is None:
            names = tuple(self.name(index) for index in inputs)
            self.layers.append(Layer("add", self.name(output), names))
        elif (
            above is not None
            and below is not None
            and (above.step, below.step) == ("relu", "below zero")
            and above.source == below.source
        ):
            self.layers.append(
                Layer("prelu", self.name(output), (above.source,), slope=below.factor)
            )
        else:
            raise UnsupportedGraphError(f"addition {self.name(output)!r}")

    def _on_reshape(self, inputs: list[int], output: int, _: object) -> None:
        self.layers.append(Layer("flatten", self.name(output), (self.name(inputs[0]),)))


def read_tflite(content: bytes, name: str) -> Graph:
    """Read a published float TFLite file.

    Args:
        content: the file: one input in NHWC, one output.
        name: of the resulting graph.

    Returns:
        A graph that computes the same function on a batch of one.

    Raises:
        UnsupportedGraphError: the file holds an operation, or a use of one, that is not known.
    """
    reader = _Reader(content)
    reader.read()
    return Graph(name, reader.name(reader.input), reader.layers, [reader.name(reader.output)])
