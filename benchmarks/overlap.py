"""Whether other threads run while a frame is decoded or judged, as the GIL is released.

    python -m benchmarks.overlap --video ../shared/data/video/crowd_walking_1080p.mp4

Another Python thread counts, as fast as it can. What it has counted within one call is told; a call
that holds the GIL, the control, leaves it at nothing.
"""

from __future__ import annotations

import argparse
import statistics
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edge.vision.engine import Vision

CALLS = 40


class _Counter(threading.Thread):
    """Counts until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.stop = False

    def run(self) -> None:
        while not self.stop:
            self.count += 1


def counted(call: Callable[[], object]) -> list[int]:
    """Return how far another thread has counted within each of some calls."""
    counter, steps = _Counter(), []
    counter.start()
    for _ in range(CALLS):
        before = counter.count
        call()
        steps.append(counter.count - before)
    counter.stop = True
    counter.join()
    return steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overlap", description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    eye = Vision.open(threads=1)
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (1080, 1920, 3), np.uint8)
    face = random.integers(0, 256, (112, 112, 3), np.uint8)
    capture = cv2.VideoCapture(str(options.video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    numbers = list(range(300_000))
    calls: dict[str, Callable[[], object]] = {
        "decode (FFmpeg)": capture.grab,
        "detect (LiteRT)": lambda: eye.detect(picture),
        "embed (LiteRT)": lambda: eye.embed_aligned(face),
        "control: sum of a list": lambda: sum(numbers),
    }
    table = Table("call", "steps within one, median", "calls without any", box=box.SIMPLE)
    for name, call in calls.items():
        steps = counted(call)
        none = sum(step == 0 for step in steps)
        table.add_row(name, f"{statistics.median(steps):.0f}", f"{none} of {CALLS}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
