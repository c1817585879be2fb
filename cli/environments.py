"""Environments that only some commands need, made on first use from a lock, beside `.venv`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
_STAMP = "lethe-stamp"


def environment(name: str, lock: Path, why: str) -> Path:
    """Return the Python of `.venv-<name>`; make it, or bring it up to its lock, where needed.

    Args:
        name: what it is for.
        lock: requirements file with hashes.
        why: said while it is made.

    Raises:
        typer.Exit: 69, the packages could not be installed.
    """
    folder = ROOT / f".venv-{name}"
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = f"{lock_hash(lock)} {sys.version_info[:3]}"
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return python
    typer.echo(f"lethe: setting up {folder.name}, once: {why}", err=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=False)
    if made.returncode or not install(python, lock):
        typer.echo(f"lethe: {folder.name} could not be set up: see above", err=True)
        raise typer.Exit(69)
    stamp.write_text(wanted, "ascii")
    return python


def add(name: str, what: str) -> None:
    """Install `requirements/<name>.txt` into the environment that runs, unless it is there.

    Args:
        name: of the lock.
        what: it brings, for people.

    Raises:
        typer.Exit: 69, the packages could not be installed.
    """
    lock, stamp = ROOT / "requirements" / f"{name}.txt", Path(sys.prefix) / f"lethe-{name}-stamp"
    wanted = lock_hash(lock)
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return
    typer.echo(f"lethe: installing {what}, once", err=True)
    if not install(Path(sys.executable), lock):
        typer.echo(f"lethe: {what} could not be installed: see above", err=True)
        raise typer.Exit(69)
    stamp.write_text(wanted, "ascii")


def install(python: Path, lock: Path) -> bool:
    """Install a lock into an environment and return whether that went well; wheels only."""
    command: Sequence[str] = [
        str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-input",
        "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
        "-r", str(lock),
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode == 0


def lock_hash(lock: Path) -> str:
    """Return the SHA-256 of a lock."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()
