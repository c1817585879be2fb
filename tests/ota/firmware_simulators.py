"""The boot firmware of boards that are not here, as far as their documents describe it."""

import os
import stat
import subprocess
from pathlib import Path

DEVICE = Path(__file__).resolve().parents[2] / "ota" / "device"
TRYBOOT = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"


class BackendError(Exception):
    """The back end ended with an error, as RAUC would report it."""


class Board:
    """A board: RAUC calls the back end, the firmware starts a slot."""

    backend = ""

    def __init__(self, folder):
        self.folder = folder
        self.records = folder / "ota"
        self.records.mkdir()
        self.environment = {"LETHE_RECORDS": str(self.records), "PATH": os.environ["PATH"]}

    def rauc(self, *arguments):
        done = subprocess.run(
            [DEVICE / self.backend, *arguments],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BackendError(done.stderr)
        return done.stdout.strip()

    def install(self, slot):
        """What RAUC does with the boot state around writing a slot."""
        self.rauc("set-state", slot, "bad")
        self.rauc("set-primary", slot)


class RaspberryPi(Board):
    """autoboot.txt and the one-shot tryboot flag. No counting."""

    backend = "tryboot"

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "boot").mkdir()
        (folder / "chosen").mkdir()
        self.autoboot = folder / "boot" / "autoboot.txt"
        self.autoboot.write_text(f"{TRYBOOT:<511}\n")
        self.parameter = folder / "reboot-param"
        self.environment |= {
            "LETHE_TRYBOOT_FOLDER": str(folder / "boot"),
            "LETHE_TRYBOOT_CHOSEN": str(folder / "chosen"),
            "LETHE_TRYBOOT_PARAMETER": str(self.parameter),
        }
        self.power_cut()

    def restart(self):
        """An orderly restart: systemd hands the parameter over."""
        flag = self.parameter.exists() and self.parameter.read_text() == "0 tryboot"
        self._start(tryboot=flag)

    def power_cut(self):
        self._start(tryboot=False)

    def _start(self, *, tryboot):
        self.parameter.unlink(missing_ok=True)  # /run is gone
        content = self.autoboot.read_bytes()
        assert len(content) <= 512, "the firmware reads no more"
        section, number = "", {}
        for line in content.decode("ascii").split("\n"):
            line = line.strip()
            if line.startswith("["):
                section = line
            elif line.startswith("boot_partition="):
                number[section] = int(line.partition("=")[2])
        self.booted = number["[tryboot]" if tryboot else "[all]"]
        (self.folder / "chosen/partition").write_bytes(self.booted.to_bytes(4, "big"))


class Jetson(Board):
    """nvbootctrl with a counter a slot; a program on the PATH, as on the board."""

    backend = "nvbootctrl"
    TRIES = 3

    def __init__(self, folder, *, armed=True):
        super().__init__(folder)
        self.state = folder / "uefi"
        self.state.mkdir()
        for name, value in (("active", 0), ("current", 0), ("retry0", 3), ("retry1", 3)):
            (self.state / name).write_text(f"{value}\n")
        tool = folder / "nvbootctrl"
        tool.write_text(NVBOOTCTRL.format(state=self.state, armed="yes" if armed else "no"))
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        self.environment["LETHE_NVBOOTCTRL"] = str(tool)

    def get(self, name):
        return int((self.state / name).read_text())

    def restart(self):
        """The firmware: takes the active slot while it has tries, else the other."""
        slot = self.get("active")
        if self.get(f"retry{slot}") == 0:
            slot = 1 - slot
            (self.state / "active").write_text(f"{slot}\n")
        left = self.get(f"retry{slot}")
        assert left, "no slot is left: the board starts recovery"
        (self.state / f"retry{slot}").write_text(f"{left - 1}\n")
        (self.state / "current").write_text(f"{slot}\n")

    @property
    def booted(self):
        return "AB"[self.get("current")]


NVBOOTCTRL = """#!/bin/sh
set -eu
cd {state}
[ "$1 $2" = "-t rootfs" ] || exit 2
letter() {{ [ "$1" = 0 ] && echo A || echo B; }}
status() {{ [ "$(cat "retry$1")" = 0 ] && echo unbootable || echo normal; }}
case $3 in
get-current-slot) cat current ;;
set-active-boot-slot)
    [ {armed} = yes ] || exit 0
    echo "$4" >active
    echo 3 >"retry$4" ;;
mark-boot-successful) echo 3 >"retry$(cat current)" ;;
dump-slots-info)
    echo "Current rootfs slot: $(letter "$(cat current)")"
    echo "Active rootfs slot: $(letter "$(cat active)")"
    echo "num_slots: 2"
    echo "slot: 0, retry_count: $(cat retry0), status: $(status 0)"
    echo "slot: 1, retry_count: $(cat retry1), status: $(status 1)" ;;
*) exit 2 ;;
esac
"""
