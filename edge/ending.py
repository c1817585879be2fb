"""The end of the process: being asked for it by SIGTERM and Ctrl-C, and beginning again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def when_asked_to_end(callback: Callable[[], None]) -> None:
    """Call something on a thread of its own at the first SIGTERM or SIGINT. For the main thread.

    A handler of Python's runs on the main thread, between two of its instructions. One that sets
    an event can so meet the event's own lock held, and one whose signal comes just before the main
    thread blocks does not run until something else wakes it. Here the interpreter's own handler
    writes to a pipe (`signal.set_wakeup_fd`), and neither can happen.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while os.read(reading, 1)[0] not in SIGNALS:  # every handled signal writes its number
            pass
        callback()

    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    threading.Thread(target=wait, name="ending", daemon=True).start()


def begin_again_within(seconds: float) -> None:
    """Have the process begin again even if the main thread hangs and never comes to it."""
    timer = threading.Timer(seconds, begin_again)
    timer.daemon = True
    timer.start()


def begin_again() -> None:
    """Become a new process of the same command line, under the same number; never returns.

    What this one holds, threads that hang in a driver included, is gone; systemd sees one service.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:  # from here on being asked to end is to end
            signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (our own)
