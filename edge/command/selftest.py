"""The self-test beside a running device: its models on the CPU, at the lowest priority.

    python -m edge.command.selftest < vision.json

Reads the section `vision` of a configuration as JSON, prints a `Verdict` as JSON.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import msgspec

from edge import limits
from edge.config import VisionConfig
from edge.health.selftest import judge
from edge.vision.engine import Vision

PORTRAITS = Path(__file__).resolve().parents[2] / "demo" / "assets"


def main() -> None:
    """Judge, and say so."""
    with contextlib.suppress(OSError):  # a hardened unit forbids it; the scheduler shares anyway
        os.nice(limits.SELFTEST_NICE)
    wanted = msgspec.json.decode(sys.stdin.buffer.read(limits.MAX_CONFIG_BYTES), type=VisionConfig)
    folder = Path(wanted.models_dir) if wanted.models_dir else None
    verdict = judge(
        lambda: Vision.open(folder, wanted.detector, wanted.embedder, threads=1),
        PORTRAITS,
        None,
        None,
    )
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
