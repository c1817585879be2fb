"""Networks on an accelerator that may fail at any moment, and on the CPU whenever it has.

The frame in which it fails is computed again on the CPU: no result is lost, late by more than a
deadline, or wrong. Everything slow (starting a process, loading models, the self-check, waiting for
a killed process to end) is done by a thread of its own, so that frames never wait for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import AcceleratorUnavailable, LetheError
from edge.inference.base import ModelSpec, Network, check_pixels
from edge.inference.isolated import REFUSES, WRONG, Isolated
from edge.inference.recovery import Recovery, State
from edge.protocol.status import AcceleratorName, AcceleratorState, Role

log = logging.getLogger(__name__)

Results = dict[str, NDArray[np.float32]]


class Job(msgspec.Struct, frozen=True):
    """A network that an accelerator is to run.

    Attributes:
        name: what it is for.
        model: what its tensors must be.
        read: returns the accelerator's file, checked against the manifest's hash.
        known: inputs, and the CPU's results for them.
    """

    name: Role
    model: ModelSpec
    read: Callable[[], bytes]
    known: Sequence[tuple[NDArray[np.uint8], Results]]


class Accelerator:
    """One accelerator and its process. `run` is for one caller at a time."""

    def __init__(
        self,
        back_end: AcceleratorName,
        jobs: Sequence[Job],
        *,
        options: Mapping[str, str],
        python: str = "",
        start_s: float | None = None,
    ) -> None:
        """Prepare; nothing is started before `start`.

        Args:
            back_end: which.
            jobs: the networks that it runs.
            options: of the back end's `load`.
            python: interpreter of its process; our own if empty.
            start_s: how long a start may take; `limits.ACCELERATOR_START_S` if None.
        """
        self.back_end = back_end
        self._jobs = list(jobs)
        self._options, self._python = options, python
        self._start_s = limits.ACCELERATOR_START_S if start_s is None else start_s
        self._on_change: Callable[[], None] = lambda: None
        self._recovery = Recovery()
        self._wake = threading.Condition()
        self._closing = False
        self._trusted: Isolated | None = None
        self._tried: Isolated | None = None
        self._lost: list[Isolated] = []
        self._next_check = 0.0
        self.runtime: str = back_end
        self._thread = threading.Thread(
            target=self._attend, name=f"accelerator-{back_end}", daemon=True
        )

    @property
    def status(self) -> AcceleratorState:
        """How it is now."""
        with self._wake:
            return AcceleratorState(
                back_end=self.back_end,
                networks=tuple(job.name for job in self._jobs),
                state=self._recovery.state,
                reason=self._recovery.reason,
            )

    def start(self, on_change: Callable[[], None]) -> None:
        """Begin to make it ready, beside whatever else is done.

        Args:
            on_change: called after each change of `status`, by any thread.
        """
        self._on_change = on_change
        self._thread.start()

    def wait(self, state: State, seconds: float) -> bool:
        """Wait until it is in a state; return whether it is."""
        with self._wake:
            return self._wake.wait_for(lambda: self._recovery.state == state, seconds)

    def run(self, number: int, pixels: NDArray[np.uint8]) -> Results | None:
        """Run a network; None if it cannot be done here, now.

        Args:
            number: place of the job.
            pixels: its input.

        Raises:
            ModelError: wrong shape or dtype.
        """
        check_pixels(self._jobs[number].model, pixels)
        process = self._trusted
        if process is None:
            return None
        try:
            if time.monotonic() >= self._next_check:
                self._check(process, limits.ACCELERATOR_DEADLINE_S)
            return process.run(number, pixels, limits.ACCELERATOR_DEADLINE_S)
        except AcceleratorUnavailable as error:
            process.kill()
            self._failed(error, process)
            return None

    def close(self) -> None:
        """Let go of the accelerator."""
        with self._wake:
            self._closing = True
            if self._tried is not None:
                self._tried.kill()  # it may be loading for minutes
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for process in (*self._lost, self._trusted):
            if process is not None:
                process.close()
        self._lost, self._trusted = [], None

    # --- The accelerator's thread. The process dies with the thread that has started it
    # (`worker._bind_to`), so this one lives until `close`.

    def _attend(self) -> None:
        while True:
            with self._wake:
                while not self._closing:
                    pause = self._recovery.pause(time.monotonic())
                    if pause == 0:
                        break
                    self._wake.wait(pause)
                if self._closing:
                    return
            self._try()

    def _try(self) -> None:
        """Start a process, load the models, and trust it if it knows what is known."""
        process = None
        try:
            self._bury()
            process = Isolated(
                self.back_end, [job.model for job in self._jobs], self._options, self._python
            )
            with self._wake:
                self._tried = process
                if self._closing:
                    process.kill()
            runtime = process.load((job.read() for job in self._jobs), self._start_s)
            self._check(process, limits.ACCELERATOR_START_S)  # the first inference is slow
        except LetheError as error:
            if process is not None:
                process.kill()
            self._failed(error, process)
            return
        finally:
            with self._wake:
                self._tried = None
        with self._wake:
            self.runtime = runtime
            self._trusted = process
            self._recovery.passed(time.monotonic())
            self._wake.notify_all()
        log.info("%s works: %s", self.back_end, runtime)
        self._on_change()

    def _bury(self) -> None:
        """Close the processes that were killed.

        Raises:
            AcceleratorUnavailable: one has not ended, and still holds the accelerator.
        """
        with self._wake:
            lost = list(self._lost)
        for process in lost:
            if not process.gone(limits.ACCELERATOR_CLOSE_S):
                raise AcceleratorUnavailable(REFUSES, "a killed process still holds it")
            process.close()
            with self._wake:
                self._lost.remove(process)

    def _check(self, process: Isolated, seconds: float) -> None:
        """Ask for results that are known.

        Raises:
            AcceleratorUnavailable: it gave none, or others.
        """
        for number, job in enumerate(self._jobs):
            for pixels, expected in job.known:
                found = process.run(number, pixels, seconds)
                for name, values in expected.items():
                    if (deviation := _deviation(found[name], values)) > 1:
                        text = f"{job.name}: {name} is {deviation:.1f} tolerances off"
                        raise AcceleratorUnavailable(WRONG, text)
        self._next_check = time.monotonic() + limits.ACCELERATOR_CHECK_S

    def _failed(self, error: LetheError, process: Isolated | None) -> None:
        """Note a fault; the thread is woken to try again in time."""
        reason = error.reason if isinstance(error, AcceleratorUnavailable) else REFUSES
        with self._wake:
            if self._closing:
                log.debug("%s: %s", self.back_end, error)
            else:
                log.warning("%s: %s; the CPU goes on", self.back_end, error)
            self._trusted = None
            if process is not None:
                self._lost.append(process)
            self._recovery.failed(time.monotonic(), reason)
            self._wake.notify_all()
        self._on_change()


class GuardedNetwork:
    """A network on an accelerator while that works, else on the CPU; meets `base.Network`."""

    def __init__(self, cpu: Network, accelerator: Accelerator, number: int) -> None:
        """Join the two.

        Args:
            cpu: the plain model.
            accelerator: runs the same model.
            number: place of its job there.
        """
        self._cpu, self._accelerator, self._number = cpu, accelerator, number

    @property
    def runtime(self) -> str:
        """What runs it now, for people."""
        if self._accelerator.status.state == "working":
            return self._accelerator.runtime
        return f"{self._cpu.runtime}, until {self._accelerator.back_end} works"

    def run(self, pixels: NDArray[np.uint8]) -> Results:
        """Run the model once; see `Network.run`."""
        results = self._accelerator.run(self._number, pixels)
        return self._cpu.run(pixels) if results is None else results


def known_results(cpu: Network, model: ModelSpec) -> list[tuple[NDArray[np.uint8], Results]]:
    """Make two inputs and compute what they give: two, as one result could be a stuck one."""
    return [(picture, cpu.run(picture)) for picture in (_picture(model, seed) for seed in (1, 2))]


def _picture(model: ModelSpec, seed: int) -> NDArray[np.uint8]:
    """Blurred squares of 16 pixels: structure for every layer, and the colours are not alike.

    Blurred, because at sharp edges as no camera gives two rightly quantised files of one network
    differ by as much as one of them does with red and blue exchanged.
    """
    _, height, width, _ = model.input.shape
    squares = np.random.default_rng(seed).integers(
        0, 256, (1, -(-height // 16), -(-width // 16), 3), np.uint8
    )
    picture = squares.repeat(16, axis=1).repeat(16, axis=2)
    soft = cv2.GaussianBlur(picture[0, :height, :width], (0, 0), 4.0)
    return np.ascontiguousarray(soft[None], np.uint8)


def _deviation(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return how far a result is off, in tolerances (root mean squares)."""
    allowed = (
        limits.ACCELERATOR_TOLERANCE * float(np.sqrt(np.mean(expected**2)))
        + limits.ACCELERATOR_TOLERANCE_FLOOR
    )
    return float(np.sqrt(np.mean((found - expected) ** 2))) / allowed
