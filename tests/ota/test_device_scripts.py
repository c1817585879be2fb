"""What decides over a new version on the device, with RAUC and systemd played by scripts."""

import os
import subprocess
from pathlib import Path

import pytest

DEVICE = Path(__file__).resolve().parents[2] / "ota" / "device"
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>{log}
case $* in
"show --value -p NRestarts lethe.service") cat {folder}/restarts; echo {next} >{folder}/restarts ;;
"-q is-active lethe.service") [ -e {folder}/active ] ;;
esac
"""


class Device:
    def __init__(self, folder):
        self.folder = folder
        self.records = folder / "ota"
        self.records.mkdir()
        (folder / "bin").mkdir()
        self.log = folder / "log"
        self.log.write_text("")
        (folder / "os-release").write_text("VERSION_ID=2.0.0\nBUILD_ID=abc123\n")
        self.verdict = folder / "verdict.json"
        self.config = folder / "lethe.toml"
        (folder / "bundle").write_bytes(b"squashfs")
        self.program("findmnt", f"#!/bin/sh\necho {folder}/bundle\n")
        self.program("rauc", f'#!/bin/sh\necho "rauc $*" >>{self.log}\n')
        self.running(restarts=(0, 0))

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def running(self, *, active=True, restarts=(0, 0)):
        (self.folder / "restarts").write_text(f"{restarts[0]}\n")
        if active:
            (self.folder / "active").touch()
        self.program(
            "systemctl",
            SYSTEMCTL.format(log=self.log, folder=self.folder, next=restarts[1]),
        )

    def run(self, script):
        return subprocess.run(
            [DEVICE / script],
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "LETHE_RECORDS": str(self.records),
                "LETHE_OS_RELEASE": str(self.folder / "os-release"),
                "LETHE_VERDICT": str(self.verdict),
                "LETHE_CONFIG": str(self.config),
                "LETHE_PENDING": str(self.folder / "enrol.json"),
                "LETHE_HOLD": "0",
                "RAUC_BUNDLE_MOUNT_POINT": "/run/rauc/mnt/bundle",
                "LETHE_FREE_KIB": os.environ.get("FREE_KIB", "1"),
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def did(self, what):
        return what in self.log.read_text().splitlines()


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


def test_a_running_device_is_kept(device):
    device.config.touch()
    assert device.run("good").returncode == 0
    assert device.did("rauc status mark-good")
    assert (device.records / "kept").read_text() == "abc123\n"


def test_a_device_that_waits_for_its_configuration_is_kept(device):
    device.running(active=False)
    assert device.run("good").returncode == 0
    assert device.did("rauc status mark-good")


def test_a_device_that_waits_for_its_certificate_is_kept(device):
    device.config.touch()
    (device.folder / "enrol.json").touch()
    device.running(active=False)
    assert device.run("good").returncode == 0
    assert device.did("rauc status mark-good")


@pytest.mark.parametrize(
    ("active", "restarts", "reason"),
    [(False, (0, 0), "did not start"), (True, (0, 1), "started anew")],
)
def test_a_device_that_does_not_stay_up_is_not_kept(device, active, restarts, reason):
    device.config.touch()
    device.running(active=active, restarts=restarts)
    if not active:
        (device.folder / "active").unlink()
    assert device.run("good").returncode == 1
    assert not device.did("rauc status mark-good")
    assert not (device.records / "kept").exists()
    assert device.run("goback").returncode == 0
    assert device.did("systemctl --no-block reboot")
    failed = (device.records / "failed").read_text()
    assert "version=2.0.0" in failed
    assert reason in failed


def test_a_version_that_cannot_match_leaves_its_verdict(device):
    device.verdict.write_text('{"reasons":["the enrolled person was not recognised"]}')
    assert device.run("goback").returncode == 0
    assert "the enrolled person was not recognised" in (device.records / "failed").read_text()


def test_nothing_is_told_that_a_link_of_the_devices_leads_to(device, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("passphrase")
    device.verdict.symlink_to(secret)
    assert device.run("goback").returncode == 0
    assert "passphrase" not in (device.records / "failed").read_text()
    device.verdict.unlink()
    os.mkfifo(device.verdict)
    assert device.run("goback").returncode == 0
    assert "no verdict" in (device.records / "failed").read_text()


def test_a_version_that_hangs_says_so(device):
    assert device.run("goback").returncode == 0
    assert "no verdict" in (device.records / "failed").read_text()
    assert device.did("systemctl --no-block reboot")


def test_a_version_that_was_kept_before_stays_up(device):
    (device.records / "kept").write_text("abc123\n")
    assert device.run("goback").returncode == 0
    assert not device.did("systemctl --no-block reboot")


def test_what_an_earlier_version_kept_does_not_count(device):
    (device.records / "kept").write_text("other\n")
    assert device.run("goback").returncode == 0
    assert device.did("systemctl --no-block reboot")


def test_a_full_data_partition_is_refused_by_name(device, monkeypatch):
    assert device.run("admit").returncode == 0
    monkeypatch.setenv("FREE_KIB", str(2**60))
    done = device.run("admit")
    assert done.returncode == 1
    assert "data partition is full" in done.stderr


def test_content_that_cannot_be_read_is_refused_before_a_slot_is_touched(device):
    """As dm-verity answers for a block that is not what was signed."""
    (device.folder / "bundle").unlink()
    done = device.run("admit")
    assert done.returncode == 1
    assert "has been altered" in done.stderr


def test_without_a_mounted_bundle_nothing_is_admitted(device):
    device.program("findmnt", "#!/bin/sh\nexit 1\n")
    done = device.run("admit")
    assert done.returncode == 1
    assert "no bundle is mounted" in done.stderr
