"""Where a frame's time goes: native code, kernel by kernel, and the Python around it.

The native calls that the frame path makes (decoder, OpenCV, LiteRT) are timed where they are
called, in the process's own processor time; what is left of the whole is Python and numpy, and
the microsecond that it costs to time a call. `benchmarks.sampled` tells Python from numpy.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.camera.file import VideoFile
from edge.inference.litert import LiteRtNetwork
from edge.pipeline import Pipeline
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.vision.engine import Vision
from edge.vision.pace import Pace
from edge.watchlist.gallery import Gallery
from fleet.enrol import enrol

NATIVE = {
    "shrink": "resize",
    "align": "warpAffine",
    "colour": "cvtColor",
    "sharpness": "Laplacian",
    "statistics": "meanStdDev",
}
"""Stage, and OpenCV's function."""


@dataclass
class Stages:
    """Processor seconds.

    Attributes:
        total: of the whole frame path.
        native: by stage.
        frames: frames processed.
    """

    total: float = 0.0
    frames: int = 0
    native: dict[str, float] = field(default_factory=dict)

    @property
    def python(self) -> float:
        """Share of what is neither decoder, OpenCV nor LiteRT, 0 to 1."""
        return 1.0 - sum(self.native.values()) / self.total


def measure(clip: Path, eye: Vision, pace: Pace) -> Stages:
    """Run a clip through the frame path in this process, against a list of nobody."""
    stages = Stages()
    with _timed(stages):
        stages.frames, stages.total = watch(clip, eye, pace)
    return stages


def watch(clip: Path, eye: Vision, pace: Pace) -> tuple[int, float]:
    """Run a clip through the frame path; return the frames, and the processor time in seconds."""
    gallery = Gallery(list_of(eye))
    pipeline = Pipeline(eye, lambda: gallery, lambda _: None, now=time.time, pace=pace)
    began = time.process_time()
    for frame in VideoFile(clip).frames():
        pipeline.process(frame)
    pipeline.finish()
    return pipeline.counters.frames, time.process_time() - began


def list_of(eye: Vision, *photos: Path) -> Watchlist:
    """Return a list of the people on some photos; without any, of one random template."""
    vectors = [template for photo in photos for template in enrol(eye, [photo])]
    if not vectors:
        random = np.random.default_rng(1).normal(size=eye.dimension).astype(np.float32)
        vectors = [random / np.linalg.norm(random)]
    end = 2**32 - 1
    authorisation = Authorisation(
        reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=0, not_after=end,
        area=None, devices=["camera-1"], profile="fixed", max_entries=len(vectors),
        fpir_target=0.001,
    )  # fmt: skip
    entries = [
        Entry(id=secrets.token_hex(16), not_before=0, not_after=end, templates=[quantise(vector)])
        for vector in vectors
    ]
    return Watchlist(
        id="gate", version=1, issued=0, expires=end, embedder=eye.embedder_id,
        dimension=eye.dimension, authorisation=authorisation, entries=entries,
    )  # fmt: skip


@contextmanager
def _timed(stages: Stages) -> Iterator[None]:
    """Put a stopwatch around each native call, for as long as the context lasts."""

    def around(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            began = time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                took = time.process_time() - began
                stages.native[stage] = stages.native.get(stage, 0.0) + took

        return timed

    originals: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, replacement: Any) -> None:  # noqa: ANN401
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, replacement)

    for stage, name in NATIVE.items():
        put(cv2, name, around(stage, getattr(cv2, name)))
    capture = cv2.VideoCapture

    class Capture:
        """A capture whose decoding is timed."""

        def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
            self._capture = capture(*arguments)
            self.grab = around("decode", self._capture.grab)
            self.retrieve = around("decode", self._capture.retrieve)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return getattr(self._capture, name)

    put(cv2, "VideoCapture", Capture)
    run = LiteRtNetwork.run

    def network(self: LiteRtNetwork, pixels: Any) -> Any:  # noqa: ANN401
        return around("detect" if pixels.shape[1] != pixels.shape[2] else "embed", run)(
            self, pixels
        )

    put(LiteRtNetwork, "run", network)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
