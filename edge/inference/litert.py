"""LiteRT on the CPU: `ai-edge-litert`, or `tflite-runtime` where that is installed instead."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.inference.manifest import DetectorModel, EmbedderModel

_RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)


def find_runtime() -> tuple[type[Any], str]:
    """Return the Interpreter class of the installed runtime, and its name with version.

    Raises:
        ModelError: neither is installed.
    """
    for module, package in _RUNTIMES:
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ModuleNotFoundError:
            continue
        return interpreter, f"{package} {importlib.metadata.version(package)}"
    raise ModelError("no runtime for the models: install ai-edge-litert (or tflite-runtime)")


class LiteRtNetwork:
    """A TFLite model on CPU threads; meets `edge.inference.base.Network`."""

    def __init__(
        self, content: bytes, model: DetectorModel | EmbedderModel, *, threads: int
    ) -> None:
        """Load a model.

        Args:
            content: the file's bytes, already checked against the manifest's hash.
            model: its entry in the manifest.
            threads: CPU threads.

        Raises:
            ModelError: the runtime refuses the file, or its tensors are not the manifest's.
        """
        interpreter_type, name = find_runtime()
        self.runtime = f"{name}, CPU, {threads} thread{'s' if threads > 1 else ''}"
        try:
            self._interpreter = interpreter_type(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.file}: {name} refuses it: {error}") from error
        self._file = model.file
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        found = [(tuple(i["shape"]), np.dtype(i["dtype"]).name) for i in inputs]
        if found != [(model.input.shape, model.input.dtype)]:
            raise ModelError(f"{model.file}: inputs are {found}, the manifest says {model.input}")
        self._shape = model.input.shape
        self._input = inputs[0]["index"]
        self._outputs: list[tuple[str, int, float, int]] = []
        for key, spec in model.outputs.items():
            if spec.index >= len(outputs) or tuple(outputs[spec.index]["shape"]) != spec.shape:
                raise ModelError(f"{model.file}: output {key} is not {spec.shape}")
            scale, zero = outputs[spec.index]["quantization"]
            self._outputs.append((key, outputs[spec.index]["index"], scale or 1.0, zero))

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model once; see `Network.run`."""
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ModelError(
                f"{self._file}: given {pixels.dtype} {pixels.shape}, takes uint8 {self._shape}"
            )
        try:
            self._interpreter.set_tensor(self._input, pixels)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._file}: the runtime failed: {error}") from error
        results = {}
        for key, index, scale, zero in self._outputs:
            values = self._interpreter.get_tensor(index).astype(np.float32)
            values -= np.float32(zero)
            values *= np.float32(scale)
            results[key] = values
        return results
