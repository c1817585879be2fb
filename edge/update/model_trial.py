"""The self-test of models that have just come, in a process of its own.

`python -m edge.update.model_trial FOLDER DETECTOR EMBEDDER`: an inference library that crashes on
a file, or hangs, takes nobody with it. Ends with 0 if they do the main job; the last line says why
not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge.errors import LetheError
from edge.health.selftest import PORTRAITS, main_job
from edge.vision.engine import Vision


def main(folder: str, detector: str, embedder: str) -> int:
    """Return the exit code."""
    try:
        reasons = main_job(Vision.open(Path(folder), detector, embedder, threads=1), PORTRAITS)
    except LetheError as error:
        reasons = [str(error)]
    sys.stderr.write("".join(f"{reason}\n" for reason in reasons))
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
