"""The protocol that every back end meets, and what it must know of a model.

Imported by accelerators' processes too: standard library and numpy only, Python 3.9 upwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class InputSpec(Protocol):
    """The one input of a model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, NHWC."""

    @property
    def dtype(self) -> str:
        """Its dtype by numpy's name: always "uint8"."""


class OutputSpec(Protocol):
    """One output of a model."""

    @property
    def index(self) -> int:
        """Its position among the outputs of a TFLite file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


class ModelSpec(Protocol):
    """What a back end must know of a model; an entry of the manifest meets it."""

    @property
    def file(self) -> str:
        """The file's name, for messages."""

    @property
    def input(self) -> InputSpec:
        """The input."""

    @property
    def outputs(self) -> Mapping[str, OutputSpec]:
        """The outputs by name."""


def check_pixels(model: ModelSpec, pixels: NDArray[np.uint8]) -> None:
    """Refuse what is not the input of a model.

    Raises:
        ModelError: wrong shape or dtype.
    """
    if pixels.shape != tuple(model.input.shape) or pixels.dtype.name != model.input.dtype:
        raise ModelError(
            f"{model.file}: given {pixels.dtype} {pixels.shape}, takes {model.input.dtype} "
            f"{tuple(model.input.shape)}"
        )
