"""What accelerators take: the Edge TPU by its published list, XNNPACK by asking it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

EDGE_TPU = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS",
        "FULLY_CONNECTED", "L2_NORMALIZATION", "LOGISTIC", "LSTM", "MAXIMUM", "MAX_POOL_2D", "MEAN",
        "MINIMUM", "MUL", "PACK", "PAD", "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU",
        "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT",
        "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQUARED_DIFFERENCE", "SQUEEZE",
        "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
    }
)  # fmt: skip
"""What the Edge TPU's compiler, version 16, says it takes:
https://coral.ai/docs/edgetpu/models-intro/#supported-operations.
"""

NO_FUSED_ACTIVATION = frozenset({"AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D"})
"""Of these the list says: no fused activation function."""

_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def parse(content: bytes) -> Any:  # noqa: ANN401 (generated class)
    """Return a TFLite file as the schema's objects."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def operator_names(model: Any) -> list[str]:  # noqa: ANN401
    """Return the name of every operator, in the order of execution."""
    codes = model.operatorCodes
    return [
        _NAMES[max(codes[o.opcodeIndex].builtinCode, codes[o.opcodeIndex].deprecatedBuiltinCode)]
        for o in model.subgraphs[0].operators
    ]


def beyond_edge_tpu(model: Any) -> Counter[str]:  # noqa: ANN401
    """Count the operators that are not on the Edge TPU's list, or not in the form it asks for."""
    found: Counter[str] = Counter()
    for name, operator in zip(operator_names(model), model.subgraphs[0].operators, strict=True):
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        if name not in EDGE_TPU:
            found[name] += 1
        elif fused and name in NO_FUSED_ACTIVATION:
            found[f"{name} with a fused activation"] += 1
    return found


@dataclass(frozen=True)
class Delegation:
    """How a runtime divides a model.

    Attributes:
        partitions: parts that XNNPACK runs.
        outside: operators that run outside of them, by name.
    """

    partitions: int
    outside: Counter[str]


def delegation(interpreter: Any) -> Delegation:  # noqa: ANN401 (either runtime's Interpreter)
    """Say what an interpreter, with its tensors allocated, really runs.

    The runtime keeps the operators that a delegate has taken in its list, beside the delegate's own
    nodes. So this walks from the results back to the input: a tensor that a delegate's node writes
    is computed by that node; any other by the operator that the file names.
    """
    operators = interpreter._get_ops_details()  # there is no public way
    constant = {
        detail["index"]
        for detail in interpreter.get_tensor_details()
        if detail["index"] not in {int(t) for o in operators for t in o["outputs"]}
    }
    writers: dict[int, dict[str, Any]] = {}
    for operator in operators:  # a delegate's nodes come last, and so take the place of others
        for tensor in operator["outputs"]:
            writers[int(tensor)] = operator
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    done: dict[int, str] = {}
    while waiting:
        tensor = waiting.pop()
        if tensor in constant or tensor not in writers:
            continue
        writer = writers[tensor]
        if writer["index"] not in done:
            done[writer["index"]] = writer["op_name"]
            waiting.extend(int(t) for t in writer["inputs"] if t >= 0)
    names = Counter(done.values())
    partitions = names.pop("DELEGATE", 0)
    return Delegation(partitions, names)
