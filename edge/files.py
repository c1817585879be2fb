"""Small files written so that a power cut leaves the old or the new one, never half."""

from __future__ import annotations

import errno
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from edge import limits
from edge.errors import ConfigError, StorageUnavailable


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter (mode 0700), with its parents.

    Raises:
        StorageUnavailable: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise StorageUnavailable(f"{path}: cannot be made: {error.strerror}") from error
    return path


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file: written beside it, flushed to the disk, then renamed.

    Raises:
        StorageUnavailable: the disk is full or not writable; the old file is as it was.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        flush_entries(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageUnavailable(f"{path}: cannot be written: {error.strerror}") from error


def flush_entries(path: Path) -> None:
    """Have the disk know which files are in a folder.

    Raises:
        OSError: it cannot.
    """
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def flush_folder(path: Path) -> None:
    """Have a folder and the files in it on the disk, where another library wrote them.

    Raises:
        OSError: it cannot be read or written.
    """
    for file in (entry for entry in path.iterdir() if entry.is_file()):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    flush_entries(path)


def read_small(path: Path, most: int) -> bytes:
    """Return a file's content, if it is not larger than `most` bytes.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return content


def text_of(path: Path) -> str:
    """Return a small file's text, without blanks around it; empty where it cannot be read.

    For what comes and goes: files of the kernel, words that other processes leave.
    """
    try:
        return read_small(path, limits.MAX_SMALL_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def read_toml(path: Path, most: int) -> dict[str, Any]:
    """Return what a TOML file holds, if it is not larger than `most` bytes.

    Raises:
        ConfigError: it cannot be read, is larger, or no TOML.
    """
    try:
        return tomllib.loads(read_small(path, most).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        raise ConfigError(f"{path}: not TOML: {error}") from error


def read_secret(path: Path) -> bytes:
    """Return the content of a key or password file that nobody but its owner may read.

    Raises:
        ConfigError: others may read it.
        OSError: it cannot be read, or is larger than any key.
    """
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path}: readable by others; chmod 600 {path}")
    return read_small(path, limits.MAX_KEY_FILE_BYTES)
