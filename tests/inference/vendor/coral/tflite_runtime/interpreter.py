"""tflite-runtime with a libedgetpu that computes on the CPU, and fails when told to.

The interface: https://ai.google.dev/edge/api/tflite/python/tf/lite/Interpreter and
https://github.com/google-coral/libedgetpu (`tflite/edgetpu_delegate_for_custom_op_tflite_plugin.cc`
for the options, `tflite/custom_op.cc` for what is refused).
"""

import re

import lethe_simulation as simulation

_real = simulation.cpu_runtime()


class Delegate:
    pass


def load_delegate(library, options=None):
    if library != "libedgetpu.so.1":
        raise OSError(f"{library}: cannot open shared object file: No such file or directory")
    options = options or {}
    if set(options) - {"device"}:
        raise AssertionError(f"options that are not documented: {options}")
    known = re.fullmatch(r"|usb|pci|(usb|pci)?:[0-9]+", options.get("device", ""))
    wanted = options.get("device", "").partition(":")[0]
    there = simulation.plugged() and simulation.settings()["bus"] in (wanted or "usb", "usb")
    if not known or not there or wanted == "pci":
        raise ValueError(f"Failed to load delegate from {library}\n")
    simulation.note("opened")
    return Delegate()


class Interpreter:
    def __init__(
        self, model_path=None, model_content=None, experimental_delegates=None, num_threads=None
    ):
        self._compiled = model_content.endswith(simulation.COMPILED)
        self._delegated = any(isinstance(d, Delegate) for d in experimental_delegates or ())
        if self._compiled:
            model_content = model_content[: -len(simulation.COMPILED)]
        self._interpreter = _real.Interpreter(model_content=model_content, num_threads=2)

    def allocate_tensors(self):
        if self._compiled and not self._delegated:
            raise RuntimeError(
                "Encountered unresolved custom op: edgetpu-custom-op.Node number 0 "
                "(edgetpu-custom-op) failed to prepare."
            )
        if not self._compiled:
            raise AssertionError("a model that is not compiled would run on the CPU, unnoticed")
        self._interpreter.allocate_tensors()
        self._shape = tuple(self.get_input_details()[0]["shape"])

    def get_input_details(self):
        return self._interpreter.get_input_details()

    def get_output_details(self):
        return self._interpreter.get_output_details()

    def set_tensor(self, index, value):
        self._interpreter.set_tensor(index, value)

    def invoke(self):
        simulation.suffer(self._shape)
        self._interpreter.invoke()
        indices = [detail["index"] for detail in self.get_output_details()]
        tensors = [self._interpreter.get_tensor(index) for index in indices]
        self._tensors = dict(zip(indices, simulation.spoil(tensors, self._shape), strict=True))

    def get_tensor(self, index):
        return self._tensors[index].copy()
