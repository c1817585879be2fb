"""Threads under their names for the system's tools, and what the doctor sees of a running device.

Python before 3.14 does not tell Linux the names of its threads; a process may do it for its own
(proc(5), /proc/pid/task/tid/comm: 15 characters).
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import NamedTuple

from edge.files import text_of

MAIN = "lethe"
_LONGEST = 15


class Running(NamedTuple):
    """A thread of a running device: its name, and its processor seconds since it began."""

    name: str
    seconds: float


def name_threads(proc: Path = Path("/proc")) -> None:
    """Give every thread of this process its name; the main one the product's."""
    for thread in threading.enumerate():
        name = MAIN if thread is threading.main_thread() else thread.name
        # A thread may have ended meanwhile, and not every system is Linux.
        with contextlib.suppress(OSError):
            (proc / "self" / "task" / str(thread.native_id) / "comm").write_text(name[:_LONGEST])


def running(proc: Path = Path("/proc")) -> dict[int, list[Running]]:
    """Return the threads of each device that runs on this machine, by process id.

    Args:
        proc: /proc, or a folder like it.
    """
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for process in proc.glob("[0-9]*"):
        if text_of(process / "comm") != MAIN:
            continue
        threads = []
        for task in sorted((process / "task").glob("*"), key=lambda path: int(path.name)):
            # After the name in brackets come state and numbers; the 12th and 13th are the times.
            numbers = text_of(task / "stat").rpartition(")")[2].split()
            if len(numbers) > 12:
                seconds = (int(numbers[11]) + int(numbers[12])) / tick
                threads.append(Running(text_of(task / "comm"), seconds))
        if len(threads) > 1:  # the shell script that starts it has the same name, and one thread
            found[int(process.name)] = threads
    return found
