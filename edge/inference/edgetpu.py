"""Coral Edge TPU: a compiled TFLite model, run through libedgetpu's delegate.

The delegate's options: https://github.com/google-coral/libedgetpu, `tflite/
edgetpu_delegate_for_custom_op_tflite_plugin.cc`. libedgetpu must be built for the version of the
runtime it is loaded into; a wrong pair ends the process. tflite-runtime is what it is documented
for, so that one is preferred here.

Runs in the accelerator's process (`edge.inference.worker`) only: standard library and numpy,
Python 3.9 upwards.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edge.errors import ModelError
from edge.inference.litert import AI_EDGE_LITERT, TFLITE_RUNTIME, TfLiteNetwork, find_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.inference.base import ModelSpec

LIBRARY = "libedgetpu.so.1"


def load(content: bytes, model: ModelSpec, options: Mapping[str, str]) -> TfLiteNetwork:
    """Load a compiled model. Those of one process share one Edge TPU.

    Args:
        content: what `edgetpu_compiler` made, checked against the manifest's hash.
        model: what its tensors must be: those of the plain model.
        options: "device", as libedgetpu knows it: "usb", "pci:1", ":0"; any if absent or empty.

    Raises:
        ModelError: no runtime, no libedgetpu, no Edge TPU, or the model is not for it.
    """
    interpreter_type, name = find_runtime(TFLITE_RUNTIME, AI_EDGE_LITERT)
    runtime = importlib.import_module(interpreter_type.__module__)
    device = options.get("device", "")
    try:
        delegate = runtime.load_delegate(LIBRARY, {"device": device} if device else {})
        interpreter = interpreter_type(model_content=content, experimental_delegates=[delegate])
    except (ValueError, RuntimeError, OSError) as error:
        # libedgetpu gives no reason; most often no Edge TPU is there, or another process has it.
        text = f"no Edge TPU {device!r} for {name}: {error}"
        raise ModelError(text.strip()) from error
    return TfLiteNetwork(interpreter, model, runtime=f"Edge TPU, {name}")
