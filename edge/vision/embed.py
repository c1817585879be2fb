"""A template from an aligned face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import FrameError, ModelError
from edge.inference.base import Network
from edge.inference.manifest import EmbedderModel


class Embedder:
    """The embedder network. Not for use by two threads at once."""

    def __init__(self, network: Network, model: EmbedderModel) -> None:
        self._network = network
        self._model = model
        self._input = np.zeros(model.input.shape, np.uint8)
        self.embedder_id = model.embedder_id
        self.dimension = model.dimension

    def embed(self, aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the template of a face.

        Args:
            aligned: (112, 112, 3) uint8, BGR, from `edge.vision.align.align`.

        Returns:
            (dimension,) float32 of length 1.

        Raises:
            FrameError: not of that shape.
            ModelError: the runtime failed or gave no usable vector.
        """
        if aligned.shape != self._model.input.shape[1:]:
            raise FrameError(f"aligned face of {aligned.shape}, not {self._model.input.shape[1:]}")
        if self._model.input.colour == "RGB":
            cv2.cvtColor(aligned, cv2.COLOR_BGR2RGB, dst=self._input[0])
        else:
            self._input[0] = aligned
        vector = self._network.run(self._input)["embedding"].ravel()
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length < 1e-6:
            raise ModelError("the embedder gave no usable vector")
        return (vector / np.float32(length)).astype(np.float32, copy=False)
