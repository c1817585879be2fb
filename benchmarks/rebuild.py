"""Whether building a list's index holds up the video: delay of frames, with and without.

    python -m benchmarks.rebuild --data ../shared/data

A clip goes through the pipeline at the pace of a live camera. In every other run a thread beside
it opens, checks and indexes a sealed list of many people, swaps it in and destroys the one before,
over and over. A frame's lateness is counted from when the camera would have delivered it; its
delay is how much later it was than the same frame usually is in the undisturbed runs.
"""

from __future__ import annotations

import argparse
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.enlarged import Faces, listing
from edge import limits
from edge.camera.file import VideoFile
from edge.pipeline import Pipeline
from edge.protocol.sealed_list import open_list, seal_list
from edge.vision.engine import Vision
from edge.watchlist.gallery import Gallery


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clip", default="stage_360p.mp4")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3, help="of each kind")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two rebuilds")
    parser.add_argument("--cache", type=Path, help="keep the embeddings here (.npz)")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the device does
    faces = Faces.embed(options.data, options.cache)
    people = faces.enlarge(options.entries, np.random.default_rng(1))
    rebuilds = Rebuilds(people, options.pause)
    clip, vision = options.data / "video" / options.clip, Vision.open()
    late: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    for run in track(range(2 * options.runs), options.clip):
        busy = bool(run % 2)
        with rebuilds.going_on() if busy else _nothing():
            late[busy].append(_watch(vision, clip, lambda: rebuilds.gallery))
    _print(late, rebuilds, 1000 / VideoFile(clip).fps)


@dataclass
class Rebuilds:
    """Builds the list in force again and again, in a thread of its own."""

    people: NDArray[np.float32]
    pause: float
    took: dict[str, list[float]] = field(default_factory=lambda: {"open": [], "index": []})

    def __post_init__(self) -> None:
        self._watchlist = listing(self.people)
        self._key = secrets.token_bytes(32)
        self._sealed = seal_list(self._watchlist, self._key)
        self.gallery = Gallery(self._watchlist)
        self._stop = threading.Event()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Rebuild while the body runs."""
        self._stop.clear()
        thread = threading.Thread(target=self._work)
        thread.start()
        yield
        self._stop.set()
        thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self.pause):
            begin = time.perf_counter()
            watchlist = open_list(
                self._sealed.head,
                self._sealed.pieces,
                self._key,
                self._watchlist.id,
                between=lambda: time.sleep(limits.INDEX_BREATH_S),
            )
            between = time.perf_counter()
            before, self.gallery = self.gallery, Gallery(watchlist)
            before.destroy()
            self.took["open"].append(between - begin)
            self.took["index"].append(time.perf_counter() - between)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _watch(vision: Vision, clip: Path, gallery: Callable[[], Gallery]) -> NDArray[np.float64]:
    """Return how late each frame was done, in milliseconds after it was due."""
    pipeline = Pipeline(vision, gallery, lambda _match: None, now=time.time)
    video, late = VideoFile(clip), []
    begin = time.perf_counter() + 0.2
    for number, frame in enumerate(video.frames()):
        due = begin + number / video.fps
        time.sleep(max(0.0, due - time.perf_counter()))
        pipeline.process(frame)
        late.append(1000 * (time.perf_counter() - due))
    return np.array(late)


def _print(late: dict[bool, list[NDArray[np.float64]]], rebuilds: Rebuilds, period: float) -> None:
    usual = np.median(np.stack(late[False]), axis=0)
    table = Table(
        "runs", "frames", "lateness p50", "p99", "max", "delay p99", "max", "over a period",
        box=box.SIMPLE,
    )  # fmt: skip
    for busy, name in ((False, "undisturbed"), (True, "rebuilding")):
        every = np.concatenate(late[busy])
        delay = np.concatenate([run - usual for run in late[busy]])
        table.add_row(
            name, str(len(every)),
            *(f"{np.quantile(every, q):.1f} ms" for q in (0.5, 0.99, 1)),
            *(f"{np.quantile(delay, q):.1f} ms" for q in (0.99, 1)),
            str(int((delay > period).sum())),
        )  # fmt: skip
    console = Console(highlight=False)
    steps = ", ".join(f"{name} {1000 * np.median(t):.0f} ms" for name, t in rebuilds.took.items())
    console.print(
        f"{len(rebuilds.people):,} entries, rebuilt {len(rebuilds.took['index'])} times ({steps}); "
        f"a frame period is {period:.1f} ms"
    )
    console.print(table)


if __name__ == "__main__":
    main()
