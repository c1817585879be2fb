"""What the device and an accelerator's process say to each other.

Frames go through two pipes: a header (magic, kind, sequence number, length) and so many bytes.
Pixels and results do not: they lie in one piece of anonymous shared memory, at the places that
`plan` gives them, so that a picture is copied once on its way in and the results once on their way
out. The memory has no name and no file; it is gone when both processes have let it go.

Imported by accelerators' processes too: standard library and numpy only, Python 3.9 upwards.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import select
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge.inference.base import ModelSpec

_HEADER = struct.Struct("<2sBxII")
_MAGIC = b"LA"
_ALIGNMENT = 64
"""Tensors begin at cache lines."""


class Kind(enum.IntEnum):
    """What a frame is about.

    To the process: LOAD (JSON: back end, options, networks), then a MODEL for each network (the
    file's bytes), then any number of RUN (one byte: which network). From it: READY (what runs the
    networks, in words) or FAILED (why, in words), then DONE or FAILED for each RUN, under its
    number. After FAILED the process ends.
    """

    LOAD = 1
    MODEL = 2
    RUN = 3
    READY = 4
    DONE = 5
    FAILED = 6


class Frame(NamedTuple):
    """A received frame."""

    kind: Kind
    sequence: int
    payload: bytes


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in the shared memory.

    Attributes:
        shape: its shape.
        dtype: numpy's name of its dtype.
        offset: bytes from the beginning of the memory.
        index: its position among the outputs of the file; 0 for an input.
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int
    index: int = 0

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        size = np.dtype(self.dtype).itemsize
        for side in self.shape:
            size *= side
        return size

    def view(self, memory: Any) -> NDArray[Any]:  # noqa: ANN401 (any buffer)
        """Return the tensor as it lies in the memory: not a copy."""
        return np.ndarray(self.shape, self.dtype, buffer=memory, offset=self.offset)


@dataclasses.dataclass(frozen=True)
class Slot:
    """A network as its process knows it; meets `edge.inference.base.ModelSpec`."""

    file: str
    input: Tensor
    outputs: Mapping[str, Tensor]


def plan(models: Iterable[ModelSpec]) -> tuple[list[Slot], int]:
    """Give the tensors of some networks their places.

    Returns:
        The networks, and the size of the memory in bytes.
    """
    end = 0

    def place(shape: Sequence[int], dtype: str, index: int = 0) -> Tensor:
        nonlocal end
        tensor = Tensor(tuple(shape), dtype, end, index)
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        return tensor

    slots = [
        Slot(
            model.file,
            place(model.input.shape, model.input.dtype),
            {
                name: place(output.shape, "float32", output.index)
                for name, output in model.outputs.items()
            },
        )
        for model in models
    ]
    return slots, end


def encode_job(back_end: str, options: Mapping[str, str], slots: Iterable[Slot]) -> bytes:
    """Write the payload of LOAD."""
    networks = [dataclasses.asdict(slot) for slot in slots]
    job = {"back_end": back_end, "options": dict(options), "networks": networks}
    return json.dumps(job).encode()


def decode_job(payload: bytes) -> tuple[str, dict[str, str], list[Slot]]:
    """Read the payload of LOAD: back end, options, networks."""

    def tensor(values: dict[str, Any]) -> Tensor:
        return Tensor(**{**values, "shape": tuple(values["shape"])})

    job = json.loads(payload)
    slots = [
        Slot(
            network["file"],
            tensor(network["input"]),
            {name: tensor(output) for name, output in network["outputs"].items()},
        )
        for network in job["networks"]
    ]
    return job["back_end"], job["options"], slots


def send(
    pipe: int, kind: Kind, sequence: int, payload: bytes = b"", *, until: float | None = None
) -> None:
    """Write a frame.

    Args:
        pipe: file descriptor; non-blocking if `until` is given.
        kind: what it is about.
        sequence: number of the request.
        payload: what it holds.
        until: reading of the monotonic clock at which to give up; never if None.

    Raises:
        TimeoutError: nobody took it in time.
        OSError: the other side is gone (BrokenPipeError), or the pipe is broken.
    """
    rest = memoryview(_HEADER.pack(_MAGIC, kind, sequence, len(payload)) + payload)
    while rest:
        _await(pipe, select.POLLOUT, until)
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int, limit: int, *, until: float | None = None) -> Frame:
    """Read a frame.

    Args:
        pipe: file descriptor.
        limit: longest payload that is taken, in bytes.
        until: reading of the monotonic clock at which to give up; never if None.

    Raises:
        TimeoutError: it did not come in time.
        EOFError: the other side is gone.
        FormatError: not a frame, or longer than allowed.
    """
    magic, kind, sequence, length = _HEADER.unpack(_read(pipe, _HEADER.size, until))
    if magic != _MAGIC or kind not in Kind.__members__.values() or length > limit:
        raise FormatError(f"not a frame of at most {limit} bytes: {magic!r} {kind} {length}")
    return Frame(Kind(kind), sequence, _read(pipe, length, until))


def _read(pipe: int, size: int, until: float | None) -> bytes:
    content = bytearray()
    while len(content) < size:
        _await(pipe, select.POLLIN, until)
        part = os.read(pipe, size - len(content))
        if not part:
            raise EOFError
        content += part
    return bytes(content)


def _await(pipe: int, event: int, until: float | None) -> None:
    """Wait for a pipe to be ready; what is ready already counts, however late it is."""
    poll = select.poll()
    poll.register(pipe, event)
    milliseconds = None if until is None else max(0.0, until - time.monotonic()) * 1000
    if not poll.poll(milliseconds):
        raise TimeoutError
