"""Units as systemd itself reads them, without starting anything."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

COMMON = Path(__file__).resolve().parents[2] / "firmware" / "common"
DEVICE = COMMON.parents[1] / "ota" / "device"
HOST = Path("/usr/lib/systemd/system")
SERVICES = sorted(
    path.name
    for folder in ("systemd", "updates", "provisioning")
    for path in COMMON.glob(f"{folder}/*.service")
)
UNITS = [*SERVICES, "lethe-install.path", "boot-lethe.mount"]
EXPOSURE = {
    "lethe.service": 2.0,
    "lethe-selftest.service": 2.0,
    "lethe-enrol.service": 2.0,
    "lethe-grow.service": 8.0,
}
"""Most that `systemd-analyze security` may say. Those that speak to RAUC as root may have 4; the
one that writes the partition table runs for a moment, before anything else."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root file system with our units among systemd's own."""
    if shutil.which("systemd-analyze") is None or not HOST.is_dir():
        pytest.skip("systemd-analyze is not installed")
    root = tmp_path_factory.mktemp("root")
    system = root / "usr/lib/systemd/system"
    shutil.copytree(HOST, system, symlinks=True)
    for folder in ("systemd", "updates", "provisioning"):
        shutil.copytree(COMMON / folder, system, dirs_exist_ok=True)
    (root / "usr/bin").mkdir(parents=True)
    shutil.copytree(DEVICE, root / "usr/lib/lethe/ota")
    (root / "usr/bin/lethe").write_text("#!/bin/sh\n")
    (root / "usr/bin/lethe").chmod(0o755)
    return root


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_reads_every_line(root, unit):
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "lethe" in line]
    assert not said
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(root, unit):
    most = EXPOSURE.get(unit, 4.0)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--root={root}", "--no-pager",
         f"--threshold={int(most * 10)}", "--json=short", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)
    assert done.returncode == 0, [e for e in json.loads(done.stdout) if not e["set"]]


def test_the_device_is_never_root_and_leaves_no_core():
    for name in ("lethe.service", "lethe-selftest.service"):
        text = (COMMON / "systemd" / name).read_text("utf-8")
        for line in ("User=lethe", "LimitCORE=0", "NoNewPrivileges=yes", "ProtectSystem=strict"):
            assert line in text.splitlines(), (name, line)


@pytest.mark.parametrize("unit", SERVICES)
def test_what_a_person_is_to_read_on_the_console_is_let_onto_it(unit):
    """Output is of level info if the unit says nothing, and journald forwards none of that."""
    (file,) = COMMON.glob(f"*/{unit}")
    text = file.read_text("utf-8")
    journald = COMMON / "overlay/usr/lib/systemd/journald.conf.d/lethe.conf"
    assert "MaxLevelConsole=notice" in journald.read_text("utf-8")
    assert ("+console" in text) == ("SyslogLevel=notice" in text)


def test_the_boot_partition_is_waited_for_as_long_as_the_data_partition():
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd-escape is not installed")
    mount = (COMMON / "provisioning" / "boot-lethe.mount").read_text("utf-8")
    what = mount.partition("What=")[2].splitlines()[0]
    escape = ["systemd-escape", "--path", "--suffix=device", what]
    unit = subprocess.run(escape, capture_output=True, text=True, check=True).stdout.strip()
    drop_in = COMMON / "overlay/usr/lib/systemd/system" / f"{unit}.d" / "lethe.conf"
    fstab = (COMMON / "overlay/etc/fstab").read_text("utf-8")
    assert "x-systemd.device-timeout=10min,x-systemd.mount-timeout=10min" in fstab
    assert "JobRunningTimeoutSec=10min" in drop_in.read_text("utf-8")
