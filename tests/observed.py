"""A device to be watched from outside: a clip, again and again, as a live camera at a fixed pace.

    python -m tests.observed lethe.toml clip.mp4 8       # people
    python -m tests.observed lethe.toml clip.mp4 8 empty # the same pace, nobody

Telemetry and audit heads come every two seconds instead of every minute and hour.
"""

import sys
import threading
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge import app, config, limits
from edge.camera.latest import LiveCamera

FPS = 10.0


class Replay:
    """Delivers pictures at a fixed pace; meets `edge.camera.latest.Grabber`."""

    def __init__(self, pictures):
        self._pictures, self._next, self._due = pictures, 0, time.monotonic()

    def grab(self):
        self._due += 1 / FPS
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._next += 1
        return self._pictures[self._next % len(self._pictures)].copy()

    def release(self):
        pass


def pictures_of(clip, empty):
    capture = cv2.VideoCapture(str(clip))
    pictures = []
    while len(pictures) < 60:
        for _ in range(3):
            capture.grab()
        taken, image = capture.read()
        if not taken:
            break
        if image.shape[0] > 720:
            image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        pictures.append(image)
    if empty:  # the same sizes, and no more than noise in them
        noise = np.random.default_rng(1).integers(110, 140, pictures[0].shape, np.uint8)
        pictures = [noise] * len(pictures)
    return pictures


def end_after(device, seconds):
    """Let a device run for a while from when it has taken everything that is signed."""
    told, sample = [], device._monitor.sample

    def counted(*figures):
        if (telemetry := sample(*figures)) is not None:
            told.append(telemetry)
        return telemetry

    device._monitor.sample = counted
    while device._lists.current() is None or "disk" not in device._trust._reasons:
        time.sleep(0.05)
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(told) < 4:
        time.sleep(0.05)
    device.stop()


def main():
    file, clip, seconds, *empty = sys.argv[1:]
    pictures = pictures_of(clip, empty)
    limits.AUDIT_HEAD_S = 2.0
    settings = config.load(Path(file))
    telemetry = msgspec.structs.replace(settings.telemetry, period_s=2)
    settings = msgspec.structs.replace(settings, telemetry=telemetry)
    app.open_camera = lambda _config: LiveCamera("replay", lambda: Replay(pictures))
    device = app.Device(settings)
    threading.Thread(target=end_after, args=(device, float(seconds)), daemon=True).start()
    report = device.run()
    sys.stdout.write(f"{report.counters.faces} {report.counters.frames}\n")


if __name__ == "__main__":
    main()
