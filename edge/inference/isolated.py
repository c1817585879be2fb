"""An accelerator's process, seen from the device: started, asked, and killed when it must be."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import AcceleratorUnavailable, FormatError, LetheError
from edge.inference.base import ModelSpec, check_pixels
from edge.inference.wire import Kind, encode_job, plan, receive, send

Answer = TypeVar("Answer")

_ROOT = Path(__file__).resolve().parents[2]
_BOOTSTRAP = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('edge.inference.worker', run_name='__main__', alter_sys=True)"
)
"""Appended, not first: beside an installed `edge` may lie packages for our own Python."""

_LAST_WORDS_S = 0.1

HANGS, ENDED = "it does not answer", "its process has ended"
REFUSES, FAILS = "it cannot be used", "it reports an error"
WRONG = "it gives wrong results"
"""Reasons for the status: in words alone, see `AcceleratorUnavailable.reason`."""


class Isolated:
    """A process that runs networks on an accelerator. For one caller at a time.

    Every fault ends it: after an `AcceleratorUnavailable` it is killed and of no more use.
    """

    def __init__(
        self, back_end: str, models: Sequence[ModelSpec], options: Mapping[str, str], python: str
    ) -> None:
        """Start the process; nothing is waited for.

        Args:
            back_end: "edgetpu" or "tensorrt".
            models: what the networks' tensors must be.
            options: of the back end's `load`.
            python: interpreter to run it with; our own if empty.

        Raises:
            AcceleratorUnavailable: it cannot be started.
        """
        self._models = list(models)
        self._slots, size = plan(models)
        self._job = encode_job(back_end, options, self._slots)
        self._sequence = 0
        try:
            self._start(python or sys.executable, size)
        except OSError as error:
            raise AcceleratorUnavailable(REFUSES, str(error)) from error

    def _start(self, python: str, size: int) -> None:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            memory = os.memfd_create("lethe-accelerator")
            theirs.callback(os.close, memory)
            os.ftruncate(memory, size)
            self._memory = mmap.mmap(memory, size)
            requests, self._requests = os.pipe()
            theirs.callback(os.close, requests)
            ours.callback(os.close, self._requests)
            self._replies, replies = os.pipe()
            theirs.callback(os.close, replies)
            ours.callback(os.close, self._replies)
            os.set_blocking(self._requests, False)  # who takes nothing must not hold us up
            passed = (requests, replies, memory)
            numbers = [str(number) for number in (*passed, os.getpid())]
            command = [python, "-c", _BOOTSTRAP, str(_ROOT), *numbers]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, cwd="/", pass_fds=passed
            )
            ours.pop_all()  # closed by `close`

    def load(self, contents: Iterable[bytes], seconds: float) -> str:
        """Load the networks.

        Args:
            contents: the model files.
            seconds: how long it may take.

        Returns:
            What runs them, for people.

        Raises:
            AcceleratorUnavailable: the process or the accelerator failed.
        """

        def ask(until: float) -> str:
            with contextlib.suppress(BrokenPipeError):  # it may have said why: that is read next
                send(self._requests, Kind.LOAD, 0, self._job, until=until)
                for content in contents:
                    send(self._requests, Kind.MODEL, 0, content, until=until)
            return self._answer(Kind.READY, until).decode(errors="replace")

        return self._guard(ask, seconds)

    def run(
        self, number: int, pixels: NDArray[np.uint8], seconds: float
    ) -> dict[str, NDArray[np.float32]]:
        """Run one of the networks; see `Network.run`.

        Args:
            number: which one.
            pixels: its input.
            seconds: how long it may take.

        Raises:
            ModelError: wrong shape or dtype.
            AcceleratorUnavailable: the process or the accelerator failed, or a result is not
                finite.
        """
        check_pixels(self._models[number], pixels)
        slot = self._slots[number]

        def ask(until: float) -> dict[str, NDArray[np.float32]]:
            slot.input.view(self._memory)[...] = pixels
            self._sequence += 1
            send(self._requests, Kind.RUN, self._sequence, bytes([number]), until=until)
            self._answer(Kind.DONE, until)
            results = {name: o.view(self._memory).copy() for name, o in slot.outputs.items()}
            for name, values in results.items():
                if not np.isfinite(values).all():
                    raise AcceleratorUnavailable(WRONG, f"{slot.file}: {name} is not finite")
            return results

        return self._guard(ask, seconds)

    def _guard(self, ask: Callable[[float], Answer], seconds: float) -> Answer:
        """Ask the process something; whatever goes wrong, it is killed and the reason said."""
        try:
            return ask(time.monotonic() + seconds)
        except LetheError as error:
            self.kill()
            if isinstance(error, FormatError):
                raise AcceleratorUnavailable(WRONG, str(error)) from error
            raise
        except TimeoutError as error:
            self.kill()
            raise AcceleratorUnavailable(HANGS, f"nothing in {seconds:g} s") from error
        except (EOFError, OSError) as error:
            detail = self._end()
            self.kill()
            raise AcceleratorUnavailable(ENDED, detail) from error

    def _answer(self, wanted: Kind, until: float) -> bytes:
        """Read the answer to the last request."""
        frame = receive(self._replies, limits.MAX_REPLY_BYTES, until=until)
        if frame.kind is Kind.FAILED:
            reason = REFUSES if wanted is Kind.READY else FAILS
            raise AcceleratorUnavailable(reason, frame.payload.decode(errors="replace"))
        if (frame.kind, frame.sequence) != (wanted, self._sequence):
            raise FormatError(f"{frame.kind.name} {frame.sequence}, not {wanted.name}")
        return frame.payload

    def _end(self) -> str:
        """Say how a process ended whose pipe is closed: the pipe goes a moment before the rest."""
        if not self.gone(_LAST_WORDS_S):
            return "it has closed its pipe"
        code = self._process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End it at once. Returns immediately; `gone` says when it has."""
        self._process.kill()

    def gone(self, seconds: float = 0.0) -> bool:
        """Whether it has ended; a process that waits for a device may outlive its killing."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Let go of a process: it ends by itself, or is killed if it does not."""
        os.close(self._requests)
        if not self.gone(limits.ACCELERATOR_CLOSE_S):
            self.kill()
            self.gone(limits.ACCELERATOR_CLOSE_S)
        os.close(self._replies)
