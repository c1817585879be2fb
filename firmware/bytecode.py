"""Compiling the target's Python natively: emulated it takes ten minutes and more.

Byte code belongs to a version of Python, not to a processor. So the target's own Python, built for
this machine, is unpacked into the cache and run from there, without being installed.
"""

from __future__ import annotations

from pathlib import Path

from firmware.base import Archive, main_source
from firmware.errors import BuildFailed
from firmware.process import Steps


def compile_all(
    tree: Path, folders: list[Path], archive: Archive, suite: str, cache: Path, steps: Steps
) -> None:
    """Write the byte code of folders in a root file system.

    It is never checked against its source ("unchecked-hash"): both are read-only on the device.

    Args:
        tree: the root file system.
        folders: relative to it.
        archive: where Python comes from.
        suite: Debian's, of the root file system.
        cache: where it is kept.
        steps: shows progress.

    Raises:
        BuildFailed: it cannot be fetched or run, or a file does not compile.
    """
    home = cache / f"python-{suite}"
    if not home.exists():
        with steps.step("Python of the target, for this machine"):
            steps.run(
                [
                    "mmdebstrap", "--variant=extract", "--include=python3-minimal,python3.13",
                    '--aptopt=Apt::Install-Recommends "false"',
                    suite, home.with_suffix(".part"), main_source(archive, suite),
                ]
            )  # fmt: skip
            home.with_suffix(".part").rename(home)
    loader = next(iter(sorted(home.glob("usr/lib*/ld-linux-*.so.*"))), None)
    libraries = next(iter(sorted(home.glob("usr/lib/*-linux-gnu"))), None)
    python = next(iter(sorted(home.glob("usr/bin/python3.[0-9]*"))), None)
    if not (loader and libraries and python):
        raise BuildFailed(f"{home}: is incomplete; delete it and build again")
    run: list[str | Path] = [loader, "--library-path", libraries, python, "-S", "-s"]
    if not (tree / "usr/bin" / python.name).exists():
        raise BuildFailed(f"the target has no {python.name}: delete {home} and build again")
    env = {"PYTHONHOME": str(home / "usr"), "PYTHONHASHSEED": "0"}
    with steps.step("compiling Python"):
        steps.run(
            [
                *run, "-m", "compileall", "-q", "-f", "-j", "1", "-s", tree, "-p", "/",
                "--invalidation-mode", "unchecked-hash", *(tree / folder for folder in folders),
            ],
            env=env,
        )  # fmt: skip
