"""Programs of the target's Debian release for this machine: unpacked into the cache, not installed.

* Python: byte code belongs to a version of Python, not to a processor. Compiling natively takes
  seconds; emulated it takes ten minutes and more.
* mke2fs: that of Debian 12 writes the moment of the build into every file system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware.base import Archive, main_source
from firmware.errors import BuildFailed
from firmware.process import Steps

PACKAGES = "e2fsprogs,python3.13"


@dataclass(frozen=True)
class Native:
    """The unpacked programs.

    Attributes:
        home: where they lie, as in a root file system.
    """

    home: Path

    @classmethod
    def fetch(cls, archive: Archive, suite: str, cache: Path, steps: Steps) -> Native:
        """Unpack them, unless they are in the cache.

        Raises:
            BuildFailed: they cannot be fetched.
        """
        home = cache / f"native-{suite}"
        if not home.exists():
            part = home.with_suffix(".part")
            with steps.step("the target's tools, for this machine"):
                steps.run(
                    [
                        "mmdebstrap", "--variant=extract", f"--include={PACKAGES}",
                        '--aptopt=Apt::Install-Recommends "false"',
                        suite, part, main_source(archive, suite),
                    ]
                )  # fmt: skip
                part.rename(home)
        return cls(home)

    def command(self, program: str) -> list[str | Path]:
        """Return how a program is run, by its own loader and libraries.

        Args:
            program: path in the root file system, such as "usr/sbin/mke2fs".

        Raises:
            BuildFailed: something is missing.
        """
        loader = next(iter(sorted(self.home.glob("usr/lib*/ld-linux-*.so.*"))), None)
        libraries = next(iter(sorted(self.home.glob("usr/lib/*-linux-gnu"))), None)
        path = self.home / program
        if not (loader and libraries and path.exists()):
            raise BuildFailed(f"{path}: not there; delete {self.home} and build again")
        return [loader, "--library-path", libraries, path]


def compile_python(
    native: Native, tree: Path, folders: Sequence[Path], python: str, steps: Steps
) -> None:
    """Write the byte code of folders in a root file system.

    It is never checked against its source ("unchecked-hash"): both are read-only on the device.

    Args:
        native: the target's Python.
        tree: the root file system.
        folders: relative to it.
        python: the target's version, such as "3.13".
        steps: shows progress.

    Raises:
        BuildFailed: a file does not compile, or the target has another Python.
    """
    program = f"usr/bin/python{python}"
    if not (tree / program).exists():
        raise BuildFailed(f"the target has no python{python}")
    with steps.step("compiling Python"):
        steps.run(
            [
                *native.command(program), "-S", "-s", "-m", "compileall", "-q", "-f", "-j", "1",
                "-s", tree, "-p", "/", "--invalidation-mode", "unchecked-hash",
                *(tree / folder for folder in folders),
            ],
            env={"PYTHONHOME": str(native.home / "usr"), "PYTHONHASHSEED": "0"},
        )  # fmt: skip
