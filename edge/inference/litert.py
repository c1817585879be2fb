"""LiteRT on the CPU: `ai-edge-litert`, or `tflite-runtime` where that is installed instead.

Imported by an Edge TPU's process too: standard library and numpy only, Python 3.9 upwards.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import ModelError
from edge.inference.base import check_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.inference.base import ModelSpec

AI_EDGE_LITERT = "ai-edge-litert"
TFLITE_RUNTIME = "tflite-runtime"


def find_runtime(*preferred: str) -> tuple[type[Any], str]:
    """Return the Interpreter class of an installed runtime, and its name with version.

    Args:
        preferred: packages, best first; ai-edge-litert before tflite-runtime unless given.

    Raises:
        ModelError: none is installed.
    """
    for package in preferred or (AI_EDGE_LITERT, TFLITE_RUNTIME):
        try:
            module = importlib.import_module(f"{package.replace('-', '_')}.interpreter")
        except ModuleNotFoundError:
            continue
        return module.Interpreter, f"{package} {importlib.metadata.version(package)}"
    raise ModelError("no runtime for the models: install ai-edge-litert (or tflite-runtime)")


class TfLiteNetwork:
    """A TFLite model in an interpreter, with or without a delegate; meets `base.Network`."""

    def __init__(self, interpreter: Any, model: ModelSpec, *, runtime: str) -> None:  # noqa: ANN401
        """Take an interpreter and prepare it.

        Args:
            interpreter: of ai-edge-litert or tflite-runtime, which have the same interface but
                no type in common.
            model: what its tensors must be.
            runtime: what runs it, for people.

        Raises:
            ModelError: the runtime refuses the file, or its tensors are not the manifest's.
        """
        self.runtime = runtime
        self._model = model
        self._interpreter = interpreter
        try:
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.file}: {runtime} refuses it: {error}") from error
        inputs = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        found = [(tuple(i["shape"]), np.dtype(i["dtype"]).name) for i in inputs]
        taken = [(tuple(model.input.shape), dtype) for dtype in (model.input.dtype, "int8")]
        if len(found) != 1 or found[0] not in taken:
            raise ModelError(f"{model.file}: inputs are {found}, the manifest says {model.input}")
        self._input = inputs[0]["index"]
        # An int8 input holds pixel - 128. Flipped here, it needs no operator in the file, which
        # would be the only one that XNNPACK leaves out.
        self._signed = found[0][1] == "int8"
        self._outputs: list[tuple[str, int, float, int]] = []
        for key, spec in model.outputs.items():
            shape = tuple(spec.shape)
            if spec.index >= len(outputs) or tuple(outputs[spec.index]["shape"]) != shape:
                raise ModelError(f"{model.file}: output {key} is not {shape}")
            scale, zero = outputs[spec.index]["quantization"]
            self._outputs.append((key, outputs[spec.index]["index"], scale or 1.0, zero))

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model once; see `Network.run`."""
        check_pixels(self._model, pixels)
        stored = np.bitwise_xor(pixels, 128).view(np.int8) if self._signed else pixels
        try:
            self._interpreter.set_tensor(self._input, stored)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._model.file}: the runtime failed: {error}") from error
        results = {}
        for key, index, scale, zero in self._outputs:
            values = self._interpreter.get_tensor(index).astype(np.float32)
            values -= np.float32(zero)
            values *= np.float32(scale)
            results[key] = values
        return results


class LiteRtNetwork(TfLiteNetwork):
    """A TFLite model on CPU threads."""

    def __init__(self, content: bytes, model: ModelSpec, *, threads: int) -> None:
        """Load a model.

        Args:
            content: the file's bytes, already checked against the manifest's hash.
            model: its entry in the manifest.
            threads: CPU threads.

        Raises:
            ModelError: the runtime refuses the file, or its tensors are not the manifest's.
        """
        interpreter_type, name = find_runtime()
        try:
            interpreter = interpreter_type(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.file}: {name} refuses it: {error}") from error
        runtime = f"{name}, CPU, {threads} thread{'s' if threads > 1 else ''}"
        super().__init__(interpreter, model, runtime=runtime)
