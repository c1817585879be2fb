"""Runs a model under construction, in real values; meets `edge.inference.base.Network`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.inference.litert import find_runtime


class Trial:
    """A TFLite model from memory.

    Attributes:
        runtime: what runs it, for people.
    """

    def __init__(self, content: bytes, names: Sequence[str], *, threads: int = 2) -> None:
        """Load a model.

        Args:
            content: the file.
            names: of its outputs, in the file's order.
            threads: CPU threads.
        """
        interpreter, self.runtime = find_runtime()
        self._interpreter = interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = list(zip(names, self._interpreter.get_output_details(), strict=True))

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by name, in real values.

        Args:
            pixels: (1, height, width, 3) uint8.
        """
        dtype = self._input["dtype"]
        stored = np.bitwise_xor(pixels, 128).view(np.int8) if dtype == np.int8 else pixels
        self._interpreter.set_tensor(self._input["index"], stored.astype(dtype))
        self._interpreter.invoke()
        results = {}
        for name, detail in self._outputs:
            values = self._interpreter.get_tensor(detail["index"])
            scale, zero = detail["quantization"]
            if values.dtype != np.float32:
                values = (values.astype(np.float32) - zero) * np.float32(scale)
            results[name] = values
        return results
