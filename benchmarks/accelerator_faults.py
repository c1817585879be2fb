"""What a failing accelerator costs in the middle of a video: nothing but a moment.

    python -m benchmarks.accelerator_faults ../shared/data/video/stage_360p.mp4

A simulated Edge TPU runs detector and embedder in the process that a real one would run in, and
computes on the CPU (`tests/inference/simulated.py`): it says nothing about a real one's speed.
Every frame is compared with the CPU alone: all faces, and the templates of the two strongest. The
faults hit the embedder, in the middle of a frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edge import limits
from edge.camera.file import VideoFile
from edge.inference.open import BackEnds
from edge.vision.engine import Vision
from tests.inference.simulated import Fault, SimulatedCoral

FAULTS: tuple[Fault, ...] = ("hang", "crash", "unplug", "nan", "shape")
EVERY, BEGIN, FACES = 50, 20, 2
"""Frames between two faults; the first one; faces embedded in a frame."""
EMBEDDER = (1, 112, 112, 3)


def main() -> None:
    """Play a clip, with a fault now and then."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator_faults", description=__doc__
    )
    parser.add_argument("clip", type=Path)
    options = parser.parse_args()
    limits.EDGETPU_MEMORY_BYTES *= 2  # SFace does not fit a real one
    alone = Vision.open()
    with tempfile.TemporaryDirectory() as name:
        coral = SimulatedCoral(Path(name) / "coral")
        back_ends = BackEnds(wanted="edgetpu", python=str(coral.python))
        guarded = Vision.open(coral.models(Path(name) / "models"), back_ends=back_ends)
        guarded.start()
        try:
            _play(options.clip, alone, guarded, coral)
        finally:
            guarded.close()


def _play(clip: Path, alone: Vision, guarded: Vision, coral: SimulatedCoral) -> None:
    (accelerator,) = guarded.accelerators
    assert accelerator.wait("working", 60)
    waiting, due = list(FAULTS), False
    now: Fault | None = None
    times: dict[str, list[float]] = {"the CPU": [], "accelerator": []}
    table = Table(
        "fault", "said in the status", "that frame, ms", "works again after, s", box=box.MARKDOWN
    )
    unequal = frames = templates = 0
    for frame in VideoFile(clip).frames():
        frames += 1
        if frame.index >= BEGIN and (frame.index - BEGIN) % EVERY == 0 and waiting:
            now = waiting.pop(0)
            due = True
            coral.inject(now, shape=EMBEDDER)
        began = time.perf_counter()
        expected = _look(alone, frame.image)
        between = time.perf_counter()
        found = _look(guarded, frame.image)
        ended = time.perf_counter()
        templates += len(found[1])
        unequal += not _equal(found, expected)
        if due and accelerator.status.state == "failed":
            assert now is not None
            reason, lost = accelerator.status.reason, time.monotonic()
            coral.plug()
            assert accelerator.wait("working", 60)
            again = time.monotonic() - lost
            table.add_row(now, reason, f"{(ended - between) * 1000:.0f}", f"{again:.1f}")
            due = False
        else:
            times["the CPU"].append(between - began)
            times["accelerator"].append(ended - between)
    console = Console(width=100)
    console.print(table)
    medians = {name: float(np.median(values)) * 1000 for name, values in times.items()}
    console.print(
        f"{frames} frames, {templates} templates; frames with any other result than the CPU's: "
        f"{unequal}. Other frames, median: {medians['the CPU']:.1f} ms on the CPU alone, "
        f"{medians['accelerator']:.1f} ms through the simulated accelerator's process"
    )


def _look(vision: Vision, image: np.ndarray) -> tuple[list[list[float]], list[np.ndarray]]:
    faces = vision.detect(image, limits.WEAK_FACE_SCORE)
    rows = [[*face.box, face.score, *face.landmarks.ravel().tolist()] for face in faces]
    return rows, [vision.embed(image, face) for face in faces[:FACES]]


def _equal(
    found: tuple[list[list[float]], list[np.ndarray]],
    expected: tuple[list[list[float]], list[np.ndarray]],
) -> bool:
    return found[0] == expected[0] and all(
        np.array_equal(a, b) for a, b in zip(found[1], expected[1], strict=True)
    )


if __name__ == "__main__":
    main()
