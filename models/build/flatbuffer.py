"""Writes a TFLite file operator by operator.

Writing the file directly, rather than through a converter, gives the build full say over every
scale, zero point and operator, and makes it deterministic: the bytes depend on the numbers alone.
The schema is https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/
schema/schema.fbs, in the generated form that ai-edge-litert carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
}

_VERSIONS = {  # the versions whose kernels take int8 with the options used here; of others, 1
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "MAX_POOL_2D": 2,
    "ADD": 2,
    "MUL": 2,
    "CONCATENATION": 2,
    "LOGISTIC": 2,
    "PAD": 2,
    "QUANTIZE": 2,
}


@dataclass(frozen=True)
class Quant:
    """Affine quantisation: real = scale * (stored - zero_point).

    Attributes:
        scale: One number, or one a channel.
        zero_point: In the stored type; zero for per-channel weights.
        axis: The channel axis where scale holds several numbers.
    """

    scale: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0

    @classmethod
    def of(cls, scale: float, zero_point: int) -> Quant:
        """One scale for the whole tensor."""
        return cls(np.array([scale], np.float32), zero_point)


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """Constant data on a 16-byte boundary, as the schema's force_align asks."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (name set by the schema)
        vector = None
        if self.data is not None:
            raw = bytes(self.data)
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class TfliteWriter:
    """Collects tensors and operators, then gives the file's bytes."""

    def __init__(self, name: str, description: str) -> None:
        self._name = name
        self._description = description
        self._buffers: list[schema.BufferT] = [_AlignedBuffer()]
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._codes: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        quant: Quant | None = None,
        data: NDArray[np.generic] | None = None,
    ) -> int:
        """Add a tensor.

        Args:
            name: Shown by tools; need not be unique.
            shape: Static shape.
            dtype: float32, int8, uint8 or int32.
            quant: Scale and zero point of a quantised tensor.
            data: Values of a constant; None for one that is computed.

        Returns:
            Its index, to be named as an operator's input or output.
        """
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [int(n) for n in shape], _TYPES[dtype]
        tensor.buffer = 0
        if data is not None:
            buffer = _AlignedBuffer()
            buffer.data = np.ascontiguousarray(data, dtype=np.dtype(dtype)).tobytes()
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        if quant is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = [float(s) for s in quant.scale]
            parameters.zeroPoint = [int(quant.zero_point)] * len(quant.scale)
            parameters.quantizedDimension = quant.axis
            tensor.quantization = parameters
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        **values: object,
    ) -> None:
        """Add an operator.

        Args:
            kind: Name in the schema's BuiltinOperator.
            inputs: Tensor indices.
            outputs: Tensor indices.
            options: Name of the options table without its suffix, such as Conv2D; None for none.
            **values: Fields of the options table, in the schema's camelCase.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            table = getattr(schema, f"{options}OptionsT")()
            for field_name, value in values.items():
                if not hasattr(table, field_name):
                    raise AttributeError(f"{options}Options has no field {field_name}")
                setattr(table, field_name, value)
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
        self._operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the complete file.

        Args:
            inputs: Tensor indices of the subgraph's inputs.
            outputs: Tensor indices of its results, in reporting order.
        """
        subgraph = schema.SubGraphT()
        subgraph.name = self._name
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.description = 3, self._description
        model.subgraphs, model.buffers = [subgraph], self._buffers
        model.operatorCodes = []
        for kind in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = _VERSIONS.get(kind, 1)
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
