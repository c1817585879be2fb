"""Whose code runs while something is done: this process sampled by Linux's `perf`, by library.

A stopwatch around native calls counts numpy's kernels as Python, for operators are no calls that
could be timed. A sample falls into the library whose code ran: numpy's work is numpy's, and what
falls into the interpreter itself is Python. What falls into the kernel and the C library (pages
given, memory copied) is nobody's: it is told apart.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge.errors import ConfigError

OWNERS = {
    "LiteRT": ("libpywrap_litert", "_pywrap_", "_interpreter_wrapper", "libtensorflow"),
    "decoder": ("libav", "libsw"),
    "OpenCV": ("cv2.",),
    "numpy": ("_multiarray_umath", "libscipy_openblas", "libopenblas"),
    "system": ("[", "libc.so", "libm.so", "libstdc++", "libgcc", "ld-linux", "libpthread"),
}
"""Owner, and how the names of its libraries begin. The rest is Python: the interpreter, its own
extensions and those of our libraries."""
PYTHON = "Python"
HERTZ = 2000
_LINE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Do something and return the share of its processor time by owner, 0 to 1.

    Raises:
        ConfigError: there is no `perf`, or it may not be used here.
    """
    if shutil.which("perf") is None:
        raise ConfigError("there is no perf (Debian: linux-perf): Python is not told from numpy")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        control, answer, data = (folder / each for each in ("control", "answer", "data"))
        os.mkfifo(control)
        os.mkfifo(answer)
        command = [
            "perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(HERTZ),
            "--delay=-1", f"--control=fifo:{control},{answer}",
            "--pid", str(os.getpid()), "--output", str(data),
        ]  # fmt: skip
        # Both ends are held open here, so that nothing waits for a perf that has given up.
        ends = [os.open(each, os.O_RDWR | os.O_NONBLOCK) for each in (control, answer)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as perf:
            try:
                os.write(ends[0], b"enable\n")
                _await(ends[1], perf)
                work()
                os.write(ends[0], b"stop\n")
                perf.wait()
            finally:
                perf.kill()
                for end in ends:
                    os.close(end)
        report = ["perf", "report", "--input", str(data), "--sort", "dso", "--stdio"]
        done = subprocess.run(report, check=True, capture_output=True, text=True)
    return attribute(done.stdout)


def attribute(report: str) -> dict[str, float]:
    """Return shares by owner from what `perf report --sort dso --stdio` prints."""
    found = dict.fromkeys((*OWNERS, PYTHON), 0.0)
    for share, library in _LINE.findall(report):
        owners = (o for o, begins in OWNERS.items() if library.startswith(begins))
        found[next(owners, PYTHON)] += float(share) / 100
    return found


def _await(end: int, perf: subprocess.Popen[str]) -> None:
    """Wait until perf has acknowledged that it samples."""
    while perf.poll() is None:
        try:
            if os.read(end, 16):
                return
        except BlockingIOError:
            os.sched_yield()
    says = perf.stderr.read().strip() if perf.stderr else ""
    raise ConfigError(f"perf may not sample here: {says}")
