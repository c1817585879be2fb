"""Running tools: their output goes to a log, what a person sees is one line of progress."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from firmware.errors import BuildFailed


class Steps:
    """Shows the steps of a build on the terminal, and keeps what the tools say in a log."""

    def __init__(self, log: Path) -> None:
        """Begin a build.

        Args:
            log: file that takes the output of every tool; replaced.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        log.write_bytes(b"")
        self.seconds: dict[str, float] = {}
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Name what is being done; its duration is shown and kept in `seconds`."""
        begun = time.monotonic()
        with self._console.status(what) as self._status:
            yield
        self._status = None
        self.seconds[what] = took = round(time.monotonic() - begun, 1)
        self.say(f"{what} ({took:.0f} s)")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(f"  {line}", markup=False)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a tool to its end.

        Args:
            command: program and arguments; no shell.
            cwd: where it runs.
            env: added to the environment.

        Raises:
            BuildFailed: it is missing or its exit code is not 0.
        """
        words = [str(word) for word in command]
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(words)}\n".encode())
            log.flush()
            try:
                process = subprocess.Popen(
                    words,
                    cwd=cwd,
                    env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise BuildFailed(f"{words[0]}: {error.strerror}") from error
            with process:
                for line in process.stdout or ():
                    log.write(line)
                    log.flush()
                    self._show(line.decode(errors="replace").strip())
        if process.returncode:
            raise BuildFailed(f"{words[0]} ended with {process.returncode}: see {self.log}")

    def _show(self, line: str) -> None:
        if self._status and line:
            room = max(20, self._console.width - 8)
            self._status.update(self._console.render_str(line[:room], markup=False, emoji=False))


def output(command: Sequence[str | Path]) -> str:
    """Run a tool and return what it prints.

    Raises:
        BuildFailed: it is missing or its exit code is not 0; with the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildFailed(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-2000:]
        raise BuildFailed(f"{words[0]} ended with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def missing(programs: Sequence[str]) -> list[str]:
    """Return those programs that are not on the PATH."""
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return [name for name in programs if shutil.which(name, path=search) is None]
