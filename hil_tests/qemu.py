"""A device in QEMU, for labgrid: an image as it is, its power, console, shell and network.

Nothing in the image is for tests. The shell comes from outside: QEMU hands systemd a credential
that adds one unit (`systemd.extra-unit.*`, systemd 256 and later), which serves a shell on a virtio
port; boards have no such channel. The image file is never written: a run works on an overlay.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import attr
from labgrid.driver import QEMUDriver
from labgrid.factory import target_factory

from hil_tests.strategy import BOUND_TO_US, DeviceStrategy, RigError, Status

UNIT = """[Unit]
Description=Shell for tests, from outside
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0
[Service]
# An interactive shell ignores SIGTERM, and a restart would wait for it.
KillSignal=SIGHUP
# Opened once, both ways: a port takes one opener.
ExecStart=/bin/sh -c 'PS1="rig> " exec sh -i <>/dev/virtio-ports/lethe.shell >&0 2>&1'
Restart=always
RestartSec=1
StandardError=null
"""
WANTED = """[Unit]
Description=Temporary files, and a shell for tests
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target
Wants=s.service
[Mount]
What=tmpfs
Where=/tmp
Type=tmpfs
Options=mode=1777,strictatime,nosuid,nodev,size=50%%,nr_inodes=1m
"""
"""systemd's own tmp.mount, which every start pulls in, and which wants the shell.

A drop-in for a unit that is active from the beginning, such as -.mount, pulls nothing in; and QEMU
takes names of 55 characters at most, of which 9 are left for a unit's.
"""
CREDENTIALS = {"systemd.extra-unit.s.service": UNIT, "systemd.extra-unit.tmp.mount": WANTED}
CONNECT_S = 60.0
SNAPSHOT = "remembered"
"""Name of the state in the overlay."""


@target_factory.reg_driver
@attr.s(eq=False)
class ImageQEMUDriver(QEMUDriver):
    """labgrid's QEMU, on an overlay of an image, ended as a pulled plug ends a board.

    What labgrid takes for the console is the virtio port of the shell; the serial console goes to a
    file, which never makes the machine wait for a reader.

    Args:
        image (str): reference to the images key of the disk image; not written.
        folder (str): reference to the paths key of the folder for overlay and console log.
    """

    image = attr.ib(default="disk", validator=attr.validators.instance_of(str))
    folder = attr.ib(default="run", validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.clock = ""
        """Start of the real-time clock at the next start, ISO 8601; now if empty."""
        self._base = []

    @property
    def home(self) -> Path:
        return Path(self.target.env.config.get_path(self.folder))

    @property
    def overlay(self) -> Path:
        """What has been written since the image."""
        return self.home / "overlay.qcow2"

    @property
    def card(self) -> Path:
        """Instead of the image, once it was edited as a medium."""
        return self.home / "card.img"

    @property
    def below(self) -> Path:
        """What the overlay lies on; never written while the machine runs."""
        image = Path(self.target.env.config.get_image_path(self.image))
        return self.card if self.card.exists() else image

    @property
    def log(self) -> Path:
        """All that came over the serial console, of every start."""
        return self.home / "console.log"

    def get_qemu_base_args(self):
        self.home.mkdir(parents=True, exist_ok=True)
        arguments = super().get_qemu_base_args()
        arguments += [
            "-drive", f"if=none,id=disk,format=qcow2,file={self.overlay}",
            "-device", "virtio-blk-pci,drive=disk",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"file,id=log,path={self.log},append=on", "-serial", "chardev:log",
        ]  # fmt: skip
        for name, text in CREDENTIALS.items():
            path = self.home / f"credential-{name}"
            path.write_text(text, "utf-8")
            arguments += ["-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={path}"]
        return arguments

    def on_activate(self):
        super().on_activate()
        self._socket.settimeout(CONNECT_S)  # a QEMU that does not start says so
        assert self._cmd[-2:] == ["-serial", "chardev:serialsocket"]
        self._cmd[-2:] = ["-device", "virtserialport,chardev=serialsocket,name=lethe.shell"]
        self._base = [*BOUND_TO_US, *self._cmd]

    def on(self):
        """Switch it on; it goes on with its overlay if there is one."""
        if self.status:
            return
        if not self.overlay.exists():
            command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.below]
            subprocess.run([*command, self.overlay], check=True)
        self._cmd = [*self._base, *(["-rtc", f"base={self.clock}"] if self.clock else [])]
        super().on()

    def off(self):
        """Take the power away, as a plug does: nothing is flushed."""
        if not self.status:
            return
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._clientsocket):
            stream.close()
        self._child = self._clientsocket = None
        self.status = 0

    def alive(self) -> bool:
        return bool(self.status) and self._child.poll() is None

    def tell(self, command: str) -> None:
        """Have QEMU's monitor for people do something.

        Raises:
            RigError: it could not; it says so in words, and nothing otherwise.
        """
        said = self.monitor_command("human-monitor-command", {"command-line": command})
        if said.strip():
            raise RigError(f"{command}: {said.strip()}")


@target_factory.reg_driver
@attr.s(eq=False)
class QEMUStrategy(DeviceStrategy):
    """A device in QEMU."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self._at = 0
        self._remembered = Status.off

    def _said(self) -> str:
        log = self.power.log
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def check(self) -> None:
        if not self.power.alive():
            raise RigError(f"the machine ended: see {self.power.log}")

    def renew(self) -> None:
        self.transition(Status.off)
        self.power.overlay.unlink(missing_ok=True)
        self.power.card.unlink(missing_ok=True)

    def edit_medium(self, edit: Callable[[Path], object]) -> None:
        self.transition(Status.off)
        power, taken = self.power, self.power.home / "taken.img"
        kind, disk = ("qcow2", power.overlay) if power.overlay.exists() else ("raw", power.below)
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", disk, taken], check=True)
        edit(taken)
        power.overlay.unlink(missing_ok=True)
        taken.replace(power.card)

    def remember(self) -> None:
        self._remembered = self.status
        self.power.tell(f"savevm {SNAPSHOT}")

    def recall(self) -> bool:
        self.transition(Status.off)
        self.power.on()
        self.power.tell(f"loadvm {SNAPSHOT}")
        self.await_shell()
        self.status = self._remembered
        return True

    def forget(self) -> None:
        if self.power.alive():  # otherwise it goes with the overlay
            self.power.tell(f"delvm {SNAPSHOT}")

    def mark(self) -> None:
        self._at = len(self._said())

    def set_link(self, up: bool) -> None:
        self.power.monitor_command("set_link", {"name": "net", "up": up})

    def expect(self, pattern: str, timeout: float) -> None:
        until = time.monotonic() + timeout
        while not (found := re.compile(pattern).search(self._said(), self._at)):
            self.check()
            if time.monotonic() > until:
                raise RigError(f"no {pattern!r} within {timeout:.0f} s: see {self.power.log}")
            time.sleep(0.2)
        self._at = found.end()
