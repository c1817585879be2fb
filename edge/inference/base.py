"""The protocol that every back end meets."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Network(Protocol):
    """A loaded model on some processor. One caller at a time."""

    @property
    def runtime(self) -> str:
        """What runs it, for people: 'ai-edge-litert 2.3.0, CPU, 2 threads'."""

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model once.

        Args:
            pixels: uint8, C-contiguous, of exactly the shape that the manifest names (NHWC).

        Returns:
            The outputs by the manifest's names, dequantised to float32, each a fresh array.

        Raises:
            ModelError: wrong shape or dtype, or the runtime failed.
        """
