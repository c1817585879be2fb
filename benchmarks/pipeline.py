"""Lethe beside the usual pipeline on one clip, alternately, in one process tree.

Lethe is the whole device: list over the broker, signed events back. The peer is OpenCV's own
detector and recogniser on every face of every frame (`benchmarks.peer.opencv_zoo`), in an
environment of its own. Processor time is that of the whole process, start-up included.
"""

from __future__ import annotations

import compileall
import csv
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.stand import Stand, stand
from edge.protocol.event import Candidate
from fleet.events import Received, listen

ROOT = Path(__file__).resolve().parents[1]
TRUTH = Path(__file__).resolve().parent / "truth"
EVENT_S = 10.0


@dataclass(frozen=True)
class Clip:
    """What is measured on.

    Attributes:
        path: the video.
        photos: people to enrol.
        fps: frames a second.
        seconds: length.
        truth: person to frames in which they are there, where it is known.
    """

    path: Path
    photos: Sequence[Path]
    fps: float
    seconds: float
    truth: dict[str, set[int]]

    @classmethod
    def open(cls, path: Path, photos: Sequence[Path]) -> Clip:
        """Read what is known of a clip."""
        capture = cv2.VideoCapture(str(path))
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        return cls(path, photos, fps, frames / fps, read_truth(path.stem))


def read_truth(name: str) -> dict[str, set[int]]:
    """Return who is in which frames of a clip of the research data; empty if nobody looked."""
    path = TRUTH / f"{name}.csv"
    there: dict[str, set[int]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                there.setdefault(row["person"], set()).add(int(row["frame"]))
    return there


@dataclass
class Run:
    """One run of one side.

    Attributes:
        figures: what it wrote about itself.
        found: label of each person reported, to the first frame of the report.
        delays: seconds from a deciding frame's capture to its event at a subscriber.
    """

    figures: dict[str, Any]
    found: dict[str, int]
    delays: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Processor seconds of the whole process."""
        return float(self.figures["cpu_seconds"])


@dataclass
class Side:
    """A side of the comparison, and its runs."""

    name: str
    run: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)

    def median(self, of: Callable[[Run], float]) -> float:
        """Return the median over the runs."""
        return statistics.median(of(run) for run in self.runs)


def still(path: Path, frames: int, target: Path) -> Path:
    """Write a clip that repeats the first frame of another, each time with noise of a sensor.

    Args:
        path: the other clip.
        frames: how many; 25 a second.
        target: file to write, MPEG-4.
    """
    capture = cv2.VideoCapture(str(path))
    taken, image = capture.read()
    capture.release()
    if not taken or image is None:
        raise SystemExit(f"{path}: no video that can be decoded")
    size = image.shape[1], image.shape[0]
    random = np.random.default_rng(1)
    noise = [random.normal(0, 2, image.shape) for _ in range(25)]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, size)
    for number in range(frames):
        noisy = np.clip(image + noise[number % len(noise)], 0, 255)
        writer.write(noisy.astype(np.uint8))
    writer.release()
    return target


def cut_person(clip: Clip, person: str, target: Path) -> Path:
    """Write the largest view of somebody in a clip, by its truth, as a photo to enrol.

    Args:
        clip: one whose truth is known.
        person: its name there.
        target: file to write, PNG.
    """
    with (TRUTH / f"{clip.path.stem}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["person"] == person]
    if not rows:
        raise SystemExit(f"{person} is not in {clip.path.name}, as far as is known")
    row = max(rows, key=lambda r: int(r["width"]) * int(r["height"]))
    x, y, width, height = (int(row[key]) for key in ("x", "y", "width", "height"))
    capture = cv2.VideoCapture(str(clip.path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, int(row["frame"]))
    _, image = capture.read()
    capture.release()
    assert image is not None
    around = max(width, height) // 4
    part = image[max(0, y - around) : y + height + around, max(0, x - around) : x + width + around]
    cv2.imwrite(str(target), part)
    return target


def as_installed() -> dict[str, str]:
    """Have the device's modules compiled, as the image and the package bring them.

    Returns:
        An environment in which Python uses that, whatever this process was told.
    """
    for folder in ("benchmarks", "cli", "edge"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def lethe(
    clip: Clip,
    *,
    live_seconds: float = 0.0,
    every: bool = False,
    threads: int = 1,
    entries: int = 0,
) -> Run:
    """Run the device once.

    Args:
        clip: what it watches.
        live_seconds: play it as a camera would, over and over, for so long; 0: as a file.
        every: look at every frame in full.
        threads: of its inference; the peer has one.
        entries: length of the list.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        stand(Path(name), clip.path, clip.photos, entries, threads) as around,
    ):
        arrived: queue.SimpleQueue[tuple[float, Received]] = queue.SimpleQueue()
        reader = listen(
            around.broker, lambda e: arrived.put((time.monotonic(), e)), keys=around.keys
        )
        report = Path(name) / "report.json"
        command = [
            sys.executable, "-m", "benchmarks.device_child", "--config", str(around.config),
            "--report", str(report), "--pace", "every" if every else "normal",
        ]  # fmt: skip
        if live_seconds:
            command += ["--live", "--fps", str(clip.fps), "--seconds", str(live_seconds)]
        try:
            subprocess.run(command, cwd=ROOT, check=True, env=as_installed())
            time.sleep(0.2)  # the last event may still be on its way through the broker
        finally:
            reader.close()
        figures = json.loads(report.read_text("utf-8"))
        return _reported(figures, arrived, around)


def _reported(
    figures: dict[str, Any], arrived: queue.SimpleQueue[tuple[float, Received]], around: Stand
) -> Run:
    captured = {int(frame): at for frame, at in figures.pop("captured").items()}
    run = Run(figures, {})
    while not arrived.empty():
        at, received = arrived.get()
        if received.event is None or not received.trusted:
            raise SystemExit(f"an event does not hold: {received}")
        data = received.event.data
        if isinstance(data, Candidate):
            run.found.setdefault(around.labels[data.entry], data.first_frame)
            if data.last_frame in captured:
                run.delays.append(at - captured[data.last_frame])
    return run


def peer(clip: Clip, python: Path, cache: Path, weights: str, width: int) -> Run:
    """Run the usual pipeline once."""
    command = [
        str(python), str(Path(__file__).parent / "peer" / "opencv_zoo.py"), "--video",
        str(clip.path), "--weights", weights, "--width", str(width), "--cache", str(cache),
    ]  # fmt: skip
    for photo in clip.photos:
        command += ["--enrol", str(photo)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    return Run(figures, figures.pop("found"))


def alternate(sides: Sequence[Side], times: int, progress: Callable[[], None]) -> None:
    """Run every side `times` times, in turn, so that a drift of the machine hits all alike."""
    for _ in range(times):
        for side in sides:
            side.runs.append(side.run())
            progress()


def judged(clip: Clip, run: Run) -> dict[str, str]:
    """Return, for each person enrolled, 'found', 'missed', 'absent', or 'wrong' by the truth."""
    says = {}
    for photo in clip.photos:
        person, found = photo.stem, photo.stem in run.found
        if not clip.truth:
            says[person] = "reported" if found else "not reported"
        elif person in clip.truth:
            says[person] = "found" if found else "missed"
        else:
            says[person] = "wrong" if found else "absent"
    return says
