"""Boards, for labgrid: serial console, power switch, SD multiplexer. Not yet run on hardware.

The images have no login, so a rig's copy of one gets a unit more: a root shell on the serial
console. That is the one difference between what is tested on a board and what is shipped; QEMU
needs none.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import attr
from labgrid.driver.usbstoragedriver import Mode
from labgrid.factory import target_factory
from pexpect import EOF, TIMEOUT

from hil_tests.plants import slot_offset
from hil_tests.strategy import DeviceStrategy, RigError, Status
from hil_tests.versions import debugfs

SHELL = """[Unit]
Description=Shell for the rig, on the serial console
[Service]
Environment="PS1=rig> "
ExecStart=/bin/sh -i
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Restart=always
RestartSec=1
"""
UNITS = "/usr/lib/systemd/system"


def add_serial_shell(image: Path | str, work: Path) -> None:
    """Add the shell on the serial console to a root file system."""
    unit = work / "rig-shell.service"
    unit.write_text(SHELL, "utf-8")
    debugfs(
        image,
        f"write {unit} {UNITS}/rig-shell.service",
        f"symlink {UNITS}/multi-user.target.wants/rig-shell.service ../rig-shell.service",
    )


@attr.s(eq=False)
class BoardStrategy(DeviceStrategy):
    """A board on a serial console and a power switch.

    Args:
        interface (str): this machine's network interface that leads to the board, and to nothing
            else; needed for tests that cut the network.
    """

    interface = attr.ib(default="", validator=attr.validators.instance_of(str))

    def mark(self) -> None:
        """Drop what the console has said so far."""
        self.target.activate(self.console)
        self.console.settle(0.5, timeout=5.0)

    def expect(self, pattern: str, timeout: float) -> None:
        self.target.activate(self.console)
        try:
            self.console.expect(pattern, timeout=timeout)
        except (TIMEOUT, EOF) as error:
            raise RigError(f"no {pattern!r} within {timeout:.0f} s") from error

    def set_link(self, up: bool) -> None:
        command = ["ip", "link", "set", self.interface, "up" if up else "down"]
        subprocess.run(command, check=True)


@target_factory.reg_driver
@attr.s(eq=False)
class SDMuxStrategy(BoardStrategy):
    """A board that starts from an SD card in a multiplexer: a fresh image without hands."""

    bindings: ClassVar = DeviceStrategy.bindings | {
        "mux": "USBSDMuxDriver",
        "storage": "USBStorageDriver",
    }

    def renew(self) -> None:
        self.transition(Status.off)
        config = self.target.env.config
        work = Path(config.get_path("run"))
        copy = work / "board.img"
        source = config.get_image_path("disk")
        subprocess.run(["cp", "--sparse=always", source, copy], check=True)
        add_serial_shell(f"{copy}?offset={slot_offset(copy)}", work)
        with self._card():
            self.storage.write_image(str(copy), mode=Mode.DD)
        copy.unlink()

    def edit_medium(self, edit: Callable[[Path], object]) -> None:
        self.transition(Status.off)
        with self._card() as card:
            edit(card)

    @contextlib.contextmanager
    def _card(self) -> Iterator[Path]:
        """Have the card here, and not in the device."""
        self.target.activate(self.mux)
        self.target.activate(self.storage)
        self.mux.set_mode("host")
        yield Path(self.storage.storage.path)
        self.mux.set_mode("dut")


@target_factory.reg_driver
@attr.s(eq=False)
class FlashedBoardStrategy(BoardStrategy):
    """A board that was flashed by hand, with the vendor's tools."""

    def renew(self) -> None:
        raise RigError("this board is flashed by hand: docs/flashing.md")
