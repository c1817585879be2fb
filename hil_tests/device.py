"""The device under test, whatever it is: what tests ask of it, in terms of labgrid's drivers."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pexpect import TIMEOUT

from hil_tests.strategy import DeviceStrategy, RigError, Status


@dataclass
class Device:
    """The device, and whoever brings it into a state.

    Attributes:
        strategy: of the rig.
        configured: whether it has been given its configuration.
    """

    strategy: DeviceStrategy
    configured: bool = False

    # --- Its state ------------------------------------------------------------------------------

    def start(self) -> None:
        """Have it run a version that was kept."""
        self.strategy.transition(Status.kept)

    def renew(self) -> None:
        """Put a fresh image on it; it is off afterwards."""
        self.strategy.renew()
        self.configured = False

    def edit_medium(self, edit: Callable[[Path], object]) -> None:
        """Change what is on its card or disk, from outside; it is off afterwards."""
        self.strategy.edit_medium(edit)

    def cut_power(self) -> None:
        self.strategy.transition(Status.off)

    @contextlib.contextmanager
    def restart(self) -> Iterator[None]:
        """Restart from within; what the console is to say meanwhile is asked for in the block."""
        self.strategy.mark()
        self.run("systemctl --no-block reboot")
        self.strategy.status = Status.shell
        self.strategy.expect(r"U-Boot 20|Starting kernel|Booting Linux", 900)
        yield
        self.strategy.await_shell()

    @contextlib.contextmanager
    def remembered(self) -> Iterator[Callable[[], bool]]:
        """Keep the state it is in, memory and disk, during the block.

        Yields:
            What brings it back into that state; it returns False where the rig cannot.
        """
        self.strategy.remember()
        try:
            yield self.strategy.recall
        finally:
            self.strategy.forget()

    def expect(self, pattern: str, timeout: float) -> None:
        """Wait for a line on the console, after the last one that was waited for."""
        self.strategy.expect(pattern, timeout)

    # --- Commands -------------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 300.0, check: bool = True) -> str:
        """Run a shell command as root on the device.

        Returns:
            What it printed.

        Raises:
            RigError: no answer in time, or an exit code other than 0 with `check`.
        """
        try:
            lines, _, code = self.strategy.shell.run(
                f"( {command}\n) </dev/null 2>&1", timeout=timeout, decodeerrors="replace"
            )
        except TIMEOUT:
            # Whatever hangs there stays; the shell is begun anew.
            raise RigError(f"no answer to {command!r} within {timeout:.0f} s") from None
        said = "\n".join(lines).replace("\r\n", "\n")
        if check and code != 0:
            raise RigError(f"{command!r} ended with {code}: {said}")
        return said

    def await_command(self, command: str, timeout: float, *, every: float = 2.0) -> str:
        """Run a command again and again until it succeeds; returns what it printed.

        Raises:
            RigError: it did not succeed in time.
        """
        until = time.monotonic() + timeout
        while True:
            try:
                return self.run(command)
            except RigError as error:
                if time.monotonic() > until:
                    message = f"{command!r} did not succeed within {timeout:.0f} s: {error}"
                    raise RigError(message) from error
            time.sleep(every)

    def fetch(self, address: str, path: str, *, timeout: float = 900.0) -> None:
        """Have the device fetch a file over HTTP."""
        code = (
            "import shutil, urllib.request as u; "
            f"shutil.copyfileobj(u.urlopen('{address}'), open('{path}', 'wb'))"
        )
        self.run(f"python3 -c {shlex.quote(code)}", timeout=timeout)

    # --- What Lethe's images have ---------------------------------------------------------------

    def slot(self) -> str:
        """Return the slot that was started."""
        found = re.search(r"rauc\.slot=(\w)", self.run("cat /proc/cmdline"))
        if not found:
            raise RigError("started from no slot")
        return found[1]

    def journal(self, unit: str, *, lines: int = 200) -> str:
        """Return the newest lines of a unit's journal."""
        return self.run(f"journalctl -u {unit} --no-pager -o short-monotonic -n {lines}")

    def failed_units(self) -> str:
        return self.run("systemctl --failed --no-legend --plain").strip()
