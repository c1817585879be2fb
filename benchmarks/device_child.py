"""`lethe run` with a stopwatch: the device as a process of its own, for `benchmarks.pipeline`.

Writes what the device did to a file. Nothing of it is part of the firmware.
"""

# ruff: noqa: E402 (as in `cli.main`, no garbage is looked for while modules are imported; as in
# `cli.run`, numpy's BLAS has no threads)

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import threading
import time
from collections.abc import Sequence
from pathlib import Path

gc.disable()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import config as configuration
from edge.app import Device
from edge.camera.base import Camera, Frame
from edge.camera.latest import LiveCamera
from edge.camera.open import open_camera
from edge.ending import when_asked_to_end
from edge.errors import CameraUnavailable
from edge.pipeline import SeenTrack
from edge.vision.pace import EVERY_FRAME


class PlayedLive:
    """A clip as a camera would deliver it: at its own pace, over and over. A `Grabber`."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._period = 1.0 / fps
        self._next = time.monotonic()
        self._capture = cv2.VideoCapture(str(path))

    def grab(self) -> NDArray[np.uint8]:
        """Wait until the next frame is due and return it."""
        taken, image = self._capture.read()
        if not taken or image is None:
            self._capture = cv2.VideoCapture(str(self._path))
            taken, image = self._capture.read()
        if not taken or image is None:
            raise CameraUnavailable(f"{self._path}: cannot be played")
        self._next += self._period
        time.sleep(max(0.0, self._next - time.monotonic()))
        return np.asarray(image, np.uint8)

    def release(self) -> None:
        """Let go of the clip."""
        self._capture.release()


class Stopwatch:
    """Notes when each frame was captured, and what became of it.

    Attributes:
        minutes: time, frames captured and frames dropped until then, about once a minute.
    """

    def __init__(self) -> None:
        self.first_done = 0.0
        self.last_index = -1
        self.minutes: list[tuple[float, int, int]] = []
        self.dropped = 0
        self.captured: dict[int, float] = {}
        self.embedded: dict[int, int] = {}

    def saw(self, frame: Frame, tracks: Sequence[SeenTrack]) -> None:
        """Take a processed frame; called by the pipeline."""
        self.first_done = self.first_done or time.monotonic()
        self.dropped += frame.index - self.last_index - 1
        self.last_index = frame.index
        self.captured[frame.index] = frame.seconds
        if frame.seconds >= 60.0 * (len(self.minutes) + 1):
            self.minutes.append((frame.seconds, frame.index + 1, self.dropped))
        for seen in tracks:
            self.embedded[seen.track.id] = seen.embedded


def _peak_mb() -> float:
    """Return the most memory that this program took; `ru_maxrss` is at least its parent's."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Run the device and write the report."""
    gc.freeze()
    gc.enable()
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--live", action="store_true", help="play the clip as a camera would")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="end a live run after so long")
    parser.add_argument("--pace", choices=("normal", "every"), default="normal")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    settings = configuration.load(options.config)
    camera: Camera
    if options.live:
        clip = Path(settings.camera.source)
        opened = time.monotonic()
        camera = LiveCamera(clip.name, lambda: PlayedLive(clip, options.fps))
    else:
        opened, camera = 0.0, open_camera(settings.camera)
    watch = Stopwatch()
    intervals = EVERY_FRAME if options.pace == "every" else None
    device = Device(settings, observer=watch, camera=camera, intervals=intervals)
    when_asked_to_end(device.stop)
    if options.seconds:
        timer = threading.Timer(options.seconds, device.stop)
        timer.daemon = True
        timer.start()
    report = device.run()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    counters = report.counters
    options.report.write_text(
        json.dumps(
            {
                "frames": counters.frames,
                "looks": counters.looks,
                "faces": counters.faces,
                "tracks": counters.tracks,
                "embeddings": counters.embeddings,
                "embeddings_per_track": sorted(watch.embedded.values()),
                "dropped": watch.dropped,
                "minutes": watch.minutes,
                "waiting": report.waiting,
                "upstream_bytes": report.sent_bytes,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_rss_mb": _peak_mb(),
                "start_seconds": watch.first_done - began,
                # On the system's steady clock; of a file nothing is captured at a time.
                "captured": {i: opened + at for i, at in watch.captured.items() if opened},
            }
        ),
        "utf-8",
    )


if __name__ == "__main__":
    main()
