"""The device of the demonstration: `lethe run`, and beside it the annotator.

    python -m demo.device --config lethe.toml --out demo/out --name demo --report report.json

Prints one JSON line with the number of frames now and then, for the progress bar of the process
in front of the user. Warnings go to stderr.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from demo.annotate import Annotator
from edge import config as configuration
from edge.app import Device
from edge.camera.base import Frame
from edge.ending import when_asked_to_end
from edge.errors import LetheError
from edge.pipeline import SeenTrack
from edge.vision.engine import Vision


class Witness:
    """Annotates, and tells how far it is."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._told = 0.0

    def saw(self, frame: Frame, tracks: Sequence[SeenTrack]) -> None:
        """Take a processed frame; called by the pipeline."""
        self._annotator.saw(frame, tracks)
        if time.monotonic() - self._told > 0.1:
            self._told = time.monotonic()
            sys.stdout.write(json.dumps({"frames": frame.index + 1}) + "\n")
            sys.stdout.flush()


def main() -> int:
    """Run the device and write what it did to a file."""
    parser = argparse.ArgumentParser(prog="python -m demo.device", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the annotated clip")
    parser.add_argument("--name", required=True, help="of the annotated clip, without suffix")
    parser.add_argument("--fps", type=float, default=25.0, help="of the annotated clip")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; 0: never")
    parser.add_argument("--report", type=Path, required=True, help="file for the figures")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        annotator = Annotator(options.out, options.name, Vision.open(threads=1).detect, options.fps)
        device = Device(
            configuration.load(options.config),
            observer=Witness(annotator),
            vouch=lambda: "the demonstration",
        )
        when_asked_to_end(device.stop)
        if options.seconds:
            timer = threading.Timer(options.seconds, device.stop)
            timer.daemon = True
            timer.start()
        report = device.run()
        pictures = annotator.close()
    except LetheError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    figures = {
        "frames": report.counters.frames,
        "faces": report.counters.faces,
        "tracks": report.counters.tracks,
        "embeddings": report.counters.embeddings,
        "candidates": report.candidates,
        "source": report.source,
        "upstream_bytes": report.sent_bytes,
        "cpu_seconds": round(time.process_time() - annotator.cpu_seconds, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "sightings": [[*key, last] for key, last in annotator.sightings.items()],
        "pictures": [str(path) for path in pictures],
    }
    options.report.write_text(json.dumps(figures), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
