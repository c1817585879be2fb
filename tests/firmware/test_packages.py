"""The trees that go onto devices: what is in them, what is not, and that they are made alike."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cli.main import app
from edge.errors import BadInput
from firmware import application, base, build, deb, jetson, recipe
from firmware.build import Options
from firmware.disk import Maker
from firmware.errors import BuildFailed
from firmware.process import Steps, missing, output

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path):
    """Wheels: one module is enough here."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "wheel.py").write_text("VALUE = 1\n")
    return folder


def test_the_device_has_its_own_commands_and_nothing_of_the_workshop(tmp_path, site):
    application.install(tmp_path / "tree", site, "3.13")
    home = tmp_path / "tree" / application.HOME
    assert not (home / "firmware").exists()
    assert not list(home.rglob("__pycache__"))
    assert (home / "models/quantized/manifest.json").exists()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "--help"],
        env={"PYTHONPATH": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    commands = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("│ ")}
    assert {"run", "selftest", "doctor", "identity"} <= commands
    assert not {"image", "ota", "deb", "test", "demo"} & commands


def test_the_package_is_the_same_twice_and_belongs_to_root(tmp_path, site, monkeypatch):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    monkeypatch.setattr(application, "fetch_wheels", lambda *_, **__: site)
    made = []
    for name in ("one", "two"):
        os.umask(0o077 if name == "two" else 0o022)
        made.append(
            deb.build(
                tmp_path / name, tmp_path, Steps(tmp_path / "log"), release="bookworm",
                architecture="amd64", epoch=1_700_000_000,
            )
        )  # fmt: skip
    os.umask(0o022)
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    assert len(hashes) == 1
    listing = output(["dpkg-deb", "--contents", made[0]]).splitlines()
    assert all(line.split()[1] == "root/root" for line in listing)
    assert "Depends: python3.11," in output(["dpkg-deb", "--field", made[0]])
    names = {line.split()[5] for line in listing}
    for name in (
        "./usr/bin/lethe",
        "./usr/lib/systemd/system/lethe.service",
        "./usr/share/doc/lethe/lethe.toml.example",
    ):
        assert name in names
    assert "./usr/lib/systemd/system/lethe-goback.service" not in names, "there is no slot"
    output(["dpkg-deb", "--control", made[0], tmp_path / "control"])
    assert "@PYTHON@" not in (tmp_path / "control/postinst").read_text()


def test_the_jetsons_overlay_is_complete(tmp_path):
    keyring = tmp_path / "authority.cert.pem"
    keyring.write_text("a certificate\n")
    archive = base.Archive("http://mirror.example", "http://security.example")
    options = Options(archive, 1_700_000_000, keyring, tmp_path, tmp_path)
    overlay = jetson.make_overlay(options, "1.2.3")
    config = (overlay / "etc/rauc/system.conf").read_text()
    assert "min-bundle-version=1.2.3" in config
    for line in config.splitlines():
        if line.startswith(("bootloader-custom-backend=/", "pre-install=/", "path=/")):
            assert (overlay / line.partition("=/")[2]).exists(), line
    for script in (overlay / "usr/lib/lethe/ota").iterdir():
        assert script.stat().st_mode & stat.S_IXUSR, script
    wanted = overlay / "usr/lib/systemd/system/multi-user.target.wants"
    assert {path.name for path in wanted.iterdir()} == {
        "lethe-selftest.service", "lethe-good.service", "lethe-install.path",
    }  # fmt: skip
    assert "/usr/lib/lethe/os-release" in (overlay / "usr/lib/lethe/ota/good").read_text()


def test_what_is_given_for_the_data_partition_gets_its_owners(tmp_path):
    if os.geteuid() != 0 or missing(["mke2fs", "debugfs"]):
        pytest.skip("owners are set as root, and looked at with e2fsprogs")
    given, work = tmp_path / "given", tmp_path / "work"
    for name in ("config/lethe.toml", "lethe/state/device.key", "unknown/file"):
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_text("x")
    (given / "config/lethe.toml").chmod(0o666)
    work.mkdir()
    small = msgspec.structs.replace(recipe.load(recipe.HERE / "qemu/recipe.toml"), data_mib=8)
    image = Maker(small, 1_700_000_000, work, Steps(tmp_path / "log")).data(given)

    def about(name):
        said = output(["debugfs", "-R", f"stat {name}", image])
        found = re.search(r"Mode: +0(\d+).*?User: +(\d+) +Group: +(\d+)", said, re.DOTALL)
        return found.groups() if found else None

    assert about("/config") == ("750", "0", "900")
    assert about("/config/lethe.toml") == ("640", "0", "900")
    assert about("/lethe/state") == ("700", "900", "900")
    assert about("/lethe/state/device.key") == ("600", "900", "900")
    assert about("/ota") == ("755", "0", "0")
    assert about("/unknown/file") is None
    assert (given / "config/lethe.toml").stat().st_uid == os.getuid()
    assert (given / "config/lethe.toml").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("version", ["latest", "1.2.3.4", "v1.0.0", "1.0.0 beta", "1.0+x"])
def test_a_version_that_cannot_be_compared_is_refused(tmp_path, version):
    archive = base.Archive("http://mirror.example", "http://security.example")
    options = Options(archive, 1, tmp_path / "none.pem", tmp_path, tmp_path, version)
    with pytest.raises(BadInput, match="no version"):
        build.build(recipe.load(recipe.HERE / "qemu/recipe.toml"), options, Steps(tmp_path / "log"))


def test_an_image_without_an_authority_is_refused(tmp_path):
    archive = base.Archive("http://mirror.example", "http://security.example")
    options = Options(archive, 1, tmp_path / "none.pem", tmp_path, tmp_path)
    with pytest.raises(BuildFailed, match="lethe ota keys"):
        jetson.build(options, Steps(tmp_path / "log"))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["raspberrypi5", "--csi", "--dry-run", "--csi-mirror", "http://pi.example"], 0,
         "http://pi.example trixie main"),
        (["raspberrypi4", "--dry-run"], 0, "u-boot-rpi"),
        (["qemu", "--csi", "--dry-run"], 1, "no camera connector"),
        (["toaster"], 1, "not a target"),
    ],
)  # fmt: skip
def test_dry_runs_and_refusals(words, code, says, capsys):
    done = CliRunner().invoke(app, ["image", "build", *words])
    assert done.exit_code == code
    assert says in done.output


def test_csi_takes_the_makers_kernel_in_the_place_of_debians():
    done = CliRunner().invoke(app, ["image", "build", "raspberrypi5", "--csi", "--dry-run"])
    assert "  linux-image-rpi-2712" in done.output
    assert "linux-image-arm64" not in done.output


def test_a_tool_that_fails_is_named_with_its_log(tmp_path):
    steps = Steps(tmp_path / "log")
    with pytest.raises(BuildFailed, match=r"false ended with 1: see .*log"):
        steps.run(["false"])
    with pytest.raises(BuildFailed, match="no-such-tool"):
        steps.run(["no-such-tool"])
    with pytest.raises(BuildFailed, match="ended with 2"):
        output(["sh", "-c", "echo why >&2; exit 2"])
