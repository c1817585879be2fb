"""What all rigs have in common, for labgrid: states of a device, and a shell that may be slow."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import attr
from labgrid.driver import ShellDriver
from labgrid.factory import target_factory
from labgrid.strategy import Strategy
from pexpect import TIMEOUT

BOUND_TO_US = ("setpriv", "--pdeathsig", "KILL")
"""What is started by it ends with us, however we end."""


class RigError(Exception):
    """The device did not do in time what it was asked for, or a command on it failed."""


@target_factory.reg_driver
@attr.s(eq=False)
class PatientShellDriver(ShellDriver):
    """labgrid's shell, which gives a prompt 30 s to come: an emulated machine may take longer."""

    tries = 10

    def _check_prompt(self):
        for _ in range(self.tries - 1):
            with contextlib.suppress(TIMEOUT):
                return super()._check_prompt()
        return super()._check_prompt()


class Status(enum.Enum):
    """How far a device is: without power, with a shell, with a version that was kept."""

    unknown = 0
    off = 1
    shell = 2
    kept = 3


class DeviceStrategy(Strategy):
    """What the strategies of all rigs have in common: from no power to a version that was kept."""

    bindings: ClassVar = {
        "power": "PowerProtocol",
        "console": "ConsoleProtocol",
        "shell": "ShellDriver",
    }
    start_s = 1800.0
    """Longest start, seconds: emulated, on a busy machine."""
    power: object
    console: object
    shell: ShellDriver
    status = Status.unknown

    def transition(self, status: Status | str) -> None:
        """Bring the device there."""
        wanted = Status[status] if isinstance(status, str) else status
        if wanted is Status.off:
            self.target.deactivate(self.shell)
            self.target.activate(self.power)
            self.power.off()
        elif self.status in (Status.unknown, Status.off):
            self.transition(Status.off)
            self.power.on()
            self.await_shell()
            self.status = Status.shell
        if wanted is Status.kept:
            self.await_kept()
        if wanted is Status.off or self.status is not Status.kept:
            self.status = wanted

    def force(self, status: Status | str) -> None:
        """Take it as given that the device is there."""
        self.status = Status[status] if isinstance(status, str) else status
        if self.status is not Status.off:
            self.await_shell()

    def await_shell(self) -> None:
        """Wait until the shell answers; the device may just have been restarted.

        Raises:
            RigError: it did not in time.
        """
        until = time.monotonic() + self.start_s
        while True:
            self.target.deactivate(self.shell)
            try:
                self.target.activate(self.shell)
            except TIMEOUT:
                self.check()
                if time.monotonic() > until:
                    raise RigError(f"no shell within {self.start_s:.0f} s") from None
            else:
                return

    def await_kept(self) -> None:
        """Wait until the version that runs has been marked good.

        Raises:
            RigError: it was not in time.
        """
        command = "systemctl -q is-active lethe-good.service"
        if not self.shell.poll_until_success(command, timeout=self.start_s, sleepduration=3):
            raise RigError(f"not kept within {self.start_s:.0f} s")
        self.status = Status.kept

    def check(self) -> None:
        """Raise what is known about a device that does not answer."""

    def renew(self) -> None:
        """Give the device a fresh image; it is off afterwards."""
        raise NotImplementedError

    def remember(self) -> None:
        """Keep the state that the running device is in, memory and disk; `snapshots` can."""

    def recall(self) -> bool:
        """Bring the device back into the state that was kept; it runs then.

        Its clock is behind and its connections are gone, as after a long sleep.

        Returns:
            False: the rig cannot, and nothing was done.
        """
        return False

    def forget(self) -> None:
        """Keep that state no longer."""

    def edit_medium(self, edit: Callable[[Path], object]) -> None:
        """Take the card out, change what is on it, put it back; the device is off afterwards.

        Args:
            edit: is given the image of the whole medium, or the medium itself.
        """
        raise NotImplementedError

    def mark(self) -> None:
        """Count the console from here."""
        raise NotImplementedError

    def set_link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        raise NotImplementedError

    def expect(self, pattern: str, timeout: float) -> None:
        """Wait for a line on the console, after the last one found or `mark`.

        Raises:
            RigError: it did not come in time.
        """
        raise NotImplementedError
