"""From the start of the device to its first judged frame, beside what cannot be avoided.

The peer is a process that imports numpy, OpenCV and LiteRT and loads the same models, and does
nothing else. Both are whole processes, in turn; files are in the system's cache. The device's list
is in its store, as after any restart.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline import ROOT, Clip, as_installed
from benchmarks.stand import stand
from demo import scene

BARE = """
import numpy, cv2
from edge.inference.litert import find_runtime
from edge.inference.manifest import SHIPPED
interpreter, _ = find_runtime()
for name in {names!r}:
    loaded = interpreter(model_path=str(SHIPPED / name), num_threads=2)
    loaded.allocate_tensors()
"""


def compare(runs: int, console: Console) -> None:
    """Measure and print a table."""
    names = ["yunet-2023mar-640x384.tflite", "sface-2021dec.tflite"]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "scene.mp4"
        scene.write(clip)
        opened = Clip.open(clip, [scene.ENROLLED])
        home = Path(folder) / "stand"
        home.mkdir(mode=0o700)
        device: list[float] = []
        bare: list[float] = []
        environment = as_installed()
        with stand(home, clip, opened.photos) as around:
            for attempt in range(runs + 1):  # the first brings the list into the device's store
                command = [sys.executable, "-m", "cli.main", "run", "--config", str(around.config)]
                took = _until(command, b"judged", environment)
                plain = [sys.executable, "-c", BARE.format(names=names)]
                began = time.monotonic()
                subprocess.run(
                    plain, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL
                )
                if attempt:
                    device.append(took)
                    bare.append(time.monotonic() - began)
    table = Table("", "median s", "ratio", box=box.SIMPLE)
    table.add_row("imports and models alone", f"{statistics.median(bare):.2f}", "1")
    ratio = statistics.median(a / b for a, b in zip(device, bare, strict=True))
    table.add_row("device, to its first frame", f"{statistics.median(device):.2f}", f"{ratio:.2f}")
    console.print(table)


def _until(command: list[str], sign: bytes, environment: dict[str, str]) -> float:
    """Start a process, wait for a sign in what it says, end it, and return the seconds."""
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if sign in line:
                    return time.monotonic() - began
        finally:
            process.terminate()
    raise SystemExit(f"{command}: ended without {sign!r}")
