"""A QEMU machine that runs an image as it is: nothing in the image is for tests.

The shell comes from outside: QEMU hands systemd a credential that adds one unit
(`systemd.extra-unit.*`, systemd 256 and later), which serves a shell on a virtio port. Boards have
no such channel. The image file is never written: each machine works on an overlay of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNIT = """[Unit]
Description=Shell for tests, from outside
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
# Opened once, both ways: a port takes one opener.
ExecStart=/bin/sh -c 'exec sh <>/dev/virtio-ports/lethe.shell >&0 2>&1'
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
MARK = "\x1e"


class MachineError(Exception):
    """The machine did not do in time what it was asked for, or a command in it failed."""


@dataclass
class Machine:
    """A machine on an overlay of an image.

    Attributes:
        image: disk image; not written.
        loader: U-Boot.
        folder: for overlay, console log and sockets; made if missing.
        disks: further disks, read-only: /dev/vdb, /dev/vdc, …
        credentials: further credentials for systemd.
        network: whether it has one (QEMU's user network: 10.0.2.2 is this machine).
        memory_mib: RAM.
        clock: start of its real-time clock, ISO 8601; now if empty.
    """

    image: Path
    loader: Path
    folder: Path
    disks: Sequence[Path] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    network: bool = True
    memory_mib: int = 1024
    clock: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _shell: socket.socket | None = None

    @property
    def overlay(self) -> Path:
        """What has been written since the image."""
        return self.folder / "overlay.qcow2"

    @property
    def console(self) -> Path:
        """All that came over the serial console, of every start."""
        return self.folder / "console.log"

    def start(self) -> None:
        """Switch the machine on; goes on with its overlay if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.overlay.exists():
            command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
            subprocess.run([*command, "-b", self.image.resolve(), self.overlay], check=True)
        (self.folder / "shell").unlink(missing_ok=True)
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _command(self) -> list[str]:
        for name, text in {
            "systemd.extra-unit.s.service": UNIT,
            "systemd.extra-unit.tmp.mount": WANTED,
            **self.credentials,
        }.items():
            (self.folder / f"credential-{name}").write_text(text, "utf-8")
        command = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2",
            "-m", str(self.memory_mib), "-display", "none", "-monitor", "none",
            "-bios", str(self.loader),
            "-drive", f"if=none,id=disk,format=qcow2,file={self.overlay}",
            "-device", "virtio-blk-pci,drive=disk",
            "-chardev", f"file,id=console,path={self.console},append=on",
            "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=shell,path={self.folder / 'shell'},server=on,wait=off",
            "-device", "virtserialport,chardev=shell,name=lethe.shell",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        if self.network:
            command += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
        else:
            command += ["-nic", "none"]
        if self.clock:
            command += ["-rtc", f"base={self.clock}"]
        for number, disk in enumerate(self.disks):
            command += [
                "-drive", f"if=none,id=d{number},format=raw,readonly=on,file={disk}",
                "-device", f"virtio-blk-pci,drive=d{number}",
            ]  # fmt: skip
        for path in sorted(self.folder.glob("credential-*")):
            name = path.name.removeprefix("credential-")
            command += ["-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={path}"]
        return command

    def cut_power(self) -> None:
        """Take the power away, as a plug does: nothing is flushed."""
        if self._shell:
            self._shell.close()
            self._shell = None
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()

    # --- Watching -------------------------------------------------------------------------------

    def said(self) -> str:
        """Return the console so far."""
        return self.console.read_text("utf-8", "replace") if self.console.exists() else ""

    def await_console(self, pattern: str, timeout: float, *, after: int = 0) -> int:
        """Wait for a line on the console.

        Args:
            pattern: regular expression.
            timeout: seconds.
            after: position in the console from which it counts.

        Returns:
            The position after it.

        Raises:
            MachineError: it did not come, or the machine ended.
        """
        until = time.monotonic() + timeout
        while True:
            if found := re.compile(pattern).search(self.said(), after):
                return found.end()
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"the machine ended before {pattern!r}: see {self.console}")
            if time.monotonic() > until:
                raise MachineError(f"no {pattern!r} within {timeout:.0f} s: see {self.console}")
            time.sleep(0.2)

    # --- The shell ------------------------------------------------------------------------------

    def await_shell(self, timeout: float = 400.0) -> None:
        """Wait until the shell answers.

        Raises:
            MachineError: it did not in time, or there is none to come.
        """
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            with contextlib.suppress(MachineError):
                self.run("true", timeout=20)
                return
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"the machine ended: see {self.folder / 'qemu.log'}")
            if "You are in emergency mode" in self.said():
                raise MachineError(f"the machine is in emergency mode: see {self.console}")
        raise MachineError(f"no shell within {timeout:.0f} s: see {self.console}")

    def _connect(self, until: float) -> socket.socket:
        """Return the connection; it is held for the machine's whole life, as a cable is."""
        while self._shell is None:
            attempt = socket.socket(socket.AF_UNIX)
            try:
                attempt.connect(str(self.folder / "shell"))
                self._shell = attempt
            except OSError as error:
                attempt.close()
                if time.monotonic() > until:
                    raise MachineError(f"QEMU offers no shell: {error}") from error
                time.sleep(0.2)
        return self._shell

    def run(self, command: str, *, timeout: float = 120.0, check: bool = True) -> str:
        """Run a shell command as root in the machine.

        Returns:
            What it printed.

        Raises:
            MachineError: no answer in time, or an exit code other than 0 with `check`.
        """
        until = time.monotonic() + timeout
        shell = self._connect(until)
        mark = f"{time.monotonic_ns()}"
        line = (
            f"printf '\\036b{mark}\\036'; sh -c {shlex.quote(command)} </dev/null 2>&1; "
            f"printf '\\036e{mark} %s\\036' $?\n"
        )
        shell.sendall(line.encode())
        pattern = re.compile(f"(?s){MARK}b{mark}{MARK}(.*){MARK}e{mark} (\\d+){MARK}")
        answer = ""
        while not (found := pattern.search(answer)):
            left = until - time.monotonic()
            if left <= 0:
                raise MachineError(f"no answer to {command!r} within {timeout:.0f} s")
            shell.settimeout(left)
            try:
                part = shell.recv(65536)
            except TimeoutError:
                continue
            if not part:
                raise MachineError(f"the machine went away during {command!r}")
            answer += part.decode("utf-8", "replace")
        if check and found[2] != "0":
            raise MachineError(f"{command!r} ended with {found[2]}: {found[1]}")
        return found[1]

    def await_command(self, command: str, timeout: float, *, every: float = 2.0) -> str:
        """Run a command again and again until it succeeds; returns what it printed.

        Raises:
            MachineError: it did not succeed in time.
        """
        until, last = time.monotonic() + timeout, ""
        while time.monotonic() < until:
            try:
                return self.run(command)
            except MachineError as error:
                last = str(error)
            time.sleep(every)
        raise MachineError(f"{command!r} did not succeed within {timeout:.0f} s: {last}")

    # --- What Lethe's images have ---------------------------------------------------------------

    def slot(self) -> str:
        """Return the slot that was started."""
        found = re.search(r"rauc\.slot=(\w)", self.run("cat /proc/cmdline"))
        if not found:
            raise MachineError("started from no slot")
        return found[1]

    def await_kept(self, timeout: float = 600.0) -> None:
        """Wait until the booted version has been marked good."""
        self.await_command("systemctl -q is-active lethe-good.service", timeout, every=3)
