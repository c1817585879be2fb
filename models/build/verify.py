"""Checks a model folder: hashes, shapes, quantisation, and what accelerators take of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.errors import ModelError
from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import DetectorModel, EmbedderModel, Manifest, load_manifest

from .operators import beyond_edge_tpu, delegation, operator_names, parse

_TYPES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_CONVOLUTIONS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""The axis of their weights that has a scale for each of its entries."""


class Report(msgspec.Struct, frozen=True):
    """What was found of one file.

    Attributes:
        file: its name.
        operators: how many it has.
        partitions: parts that XNNPACK runs.
        outside_xnnpack: operators that it leaves out, by name.
        beyond_edge_tpu: operators not on the Edge TPU's list, by name.
        problems: what is not as it must be; empty if all is well.
    """

    file: str
    operators: int
    partitions: int
    outside_xnnpack: dict[str, int]
    beyond_edge_tpu: dict[str, int]
    problems: list[str]


def verify(folder: Path | None = None) -> list[Report]:
    """Check every model of a folder (the shipped one by default), and its variants.

    Raises:
        ModelError: the manifest itself cannot be used.
    """
    manifest = load_manifest(folder)
    return [_verify(manifest, model) for model in manifest.models().values()]


def _verify(manifest: Manifest, model: DetectorModel | EmbedderModel) -> Report:
    problems: list[str] = []
    try:
        content = manifest.read(model)
    except ModelError as error:
        return Report(model.file, 0, 0, {}, {}, [str(error)])
    try:
        # The input's shape and type and every output's shape, as when a device loads it.
        LiteRtNetwork(content, model, threads=1)
    except ModelError as error:
        problems.append(str(error))
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    divided = delegation(interpreter)
    parsed = parse(content)
    missing = beyond_edge_tpu(parsed)
    # Detectors take uint8; flipping its sign is left to the runtime.
    declared = {"QUANTIZE": 1} if isinstance(model, DetectorModel) else {}
    if divided.outside != declared:
        problems.append(f"outside of XNNPACK: {dict(divided.outside)}, not {declared}")
    if divided.partitions != 1:
        problems.append(f"{divided.partitions} partitions of XNNPACK, not 1")
    problems += [f"{n} {name}: not on the Edge TPU's list" for name, n in missing.items()]
    problems += quantisation_problems(parsed)
    for kind, variant in model.variants.items():
        if (manifest.folder / variant.file).exists():
            try:
                manifest.read(variant)
            except ModelError as error:
                problems.append(f"{kind}: {error}")
    return Report(
        model.file,
        len(operator_names(parsed)),
        divided.partitions,
        dict(divided.outside),
        dict(missing),
        problems,
    )


def quantisation_problems(model: Any) -> list[str]:  # noqa: ANN401 (generated class)
    """Say what in a TFLite file is not full-integer int8 with a scale for each weight channel.

    The input is uint8 or int8; everything computed is int8; weights are int8 with zero point 0 and
    a scale a channel; biases are int32 in steps of input scale times weight scale; shapes int32.
    """
    (subgraph,) = model.subgraphs
    problems = []
    for index, tensor in enumerate(subgraph.tensors):
        kind, constant = _TYPES[tensor.type], _is_constant(model, tensor)
        kinds = {"INT8", "INT32"} if constant else {"INT8"}
        if index in subgraph.inputs:
            kinds.add("UINT8")
        if kind not in kinds:
            problems.append(f"{_name(tensor)}: {kind}")
        elif kind != "INT32" and not _scales(tensor).size:
            problems.append(f"{_name(tensor)}: {kind} without a scale")
    for name, operator in zip(operator_names(model), subgraph.operators, strict=True):
        if name in _CONVOLUTIONS:
            source, weight, bias = (subgraph.tensors[int(i)] for i in operator.inputs)
            problems += _convolution_problems(source, weight, bias, _CONVOLUTIONS[name])
    return problems


def _convolution_problems(source: Any, weight: Any, bias: Any, axis: int) -> list[str]:  # noqa: ANN401
    """Check the constants of one convolution."""
    problems, channels = [], int(weight.shape[axis])
    scales, quantisation = _scales(weight), weight.quantization
    if scales.size != channels or (channels > 1 and quantisation.quantizedDimension != axis):
        problems.append(f"{_name(weight)}: {scales.size} scales for {channels} channels")
    elif np.any(quantisation.zeroPoint):
        problems.append(f"{_name(weight)}: zero points other than 0")
    elif not np.allclose(_scales(bias), _scales(source)[0] * scales, rtol=1e-5):
        problems.append(f"{_name(bias)}: its scale is not input scale times weight scale")
    return problems


def _is_constant(model: Any, tensor: Any) -> bool:  # noqa: ANN401
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _scales(tensor: Any) -> np.ndarray:  # noqa: ANN401
    found = tensor.quantization.scale if tensor.quantization is not None else None
    return np.array([] if found is None else found, np.float64)


def _name(tensor: Any) -> str:  # noqa: ANN401
    return str(tensor.name.decode("utf-8"))
