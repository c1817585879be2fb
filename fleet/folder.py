"""A folder that one command at a time changes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import StorageUnavailable


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder, waiting for them to end.

    Raises:
        StorageUnavailable: it cannot be opened.
    """
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageUnavailable(f"{folder}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
