"""`image configure` on a small disk made here: a boot partition as images have it, and a slot."""

import shutil
import subprocess
import time

import pytest
from typer.testing import CliRunner

from cli import image as command
from cli.main import app
from edge.errors import ConfigError
from edge.provision.document import Refused
from firmware import configure
from firmware.errors import BuildFailed
from fleet import authority, invitation, setup
from fleet.authority import Authority

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
MIB = 1024 * 1024
TEMPLATE = """
[camera]
source = "/dev/video0"
[watchlist]
id = "gate"
[broker]
host = "broker.example"
"""
TABLE = """label: gpt
start=1MiB, size=8MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name={name}
start=9MiB, size=1MiB, name=lethe-a
"""


@pytest.fixture(autouse=True)
def _tools(monkeypatch):
    for program in ("sfdisk", "mkfs.vfat", "mcopy"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    monkeypatch.setenv("PATH", PATH)


def disk(path, name="lethe-boot"):
    """A disk with a FAT boot partition that holds a boot script, and a slot with bytes in it."""
    with path.open("wb") as file:
        file.truncate(12 * MIB)
        file.seek(9 * MIB)
        file.write(b"slot" * 1000)
    table = TABLE.format(name=name).encode()
    subprocess.run(["sfdisk", "-q", path], input=table, check=True, capture_output=True)
    boot = path.with_suffix(".fat")
    with boot.open("wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["mkfs.vfat", boot], check=True, capture_output=True)
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(boot.read_bytes())
    script = path.with_suffix(".scr")
    script.write_bytes(b"boot script")
    subprocess.run(["mcopy", "-i", f"{path}@@{MIB}", script, "::boot.scr"], check=True)
    return path


def content(path, name):
    done = subprocess.run(
        ["mtype", "-i", f"{path}@@{MIB}", f"::{name}"], check=True, capture_output=True
    )
    return done.stdout


@pytest.fixture
def given_file(tmp_path):
    authority.create(tmp_path / "authority", "authority", None, time.time)
    setup.found(tmp_path / "fleet")
    (tmp_path / "site.toml").write_text(TEMPLATE)
    file = tmp_path / "lethe.toml"
    file.write_bytes(
        invitation.complete(
            tmp_path / "site.toml", "gate-3", tmp_path / "fleet" / "root.json",
            tmp_path / "authority" / authority.CA,
            Authority(tmp_path / "authority", None, time.time).invite,
        )
    )  # fmt: skip
    return file


def test_the_file_is_in_the_boot_partition_and_nothing_else_has_changed(tmp_path, given_file):
    image = disk(tmp_path / "disk.img")
    before = image.read_bytes()
    for _ in range(2):  # a second time replaces it
        assert configure.configure(image, given_file).config.device.id == "gate-3"
    assert content(image, "LETHE.TOML") == given_file.read_bytes()
    assert content(image, "boot.scr") == b"boot script"
    after = image.read_bytes()
    assert after[:MIB] == before[:MIB]
    assert after[9 * MIB :] == before[9 * MIB :]


def test_a_file_that_the_device_would_refuse_does_not_get_in(tmp_path, given_file):
    image = disk(tmp_path / "disk.img")
    before = image.read_bytes()
    given_file.write_bytes(given_file.read_bytes().replace(b"/dev/video0", b""))
    with pytest.raises(Refused, match=r"line \d+: camera\.source"):
        configure.configure(image, given_file)
    assert image.read_bytes() == before


def test_what_is_no_image_of_ours_is_said(tmp_path, given_file):
    with pytest.raises(BuildFailed, match="no partition lethe-boot"):
        configure.configure(disk(tmp_path / "other.img", name="boot"), given_file)
    (tmp_path / "empty.img").write_bytes(bytes(MIB))
    with pytest.raises(BuildFailed):
        configure.configure(tmp_path / "empty.img", given_file)
    with pytest.raises(ConfigError, match="cannot be read"):
        configure.configure(tmp_path / "empty.img", tmp_path / "nowhere.toml")


def test_the_command(tmp_path, given_file, monkeypatch):
    image = disk(tmp_path / "disk.img")
    monkeypatch.setattr(command.host, "need", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    before = image.read_bytes()
    arguments = ["image", "configure", str(image), str(given_file)]
    result = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert (result.exit_code, image.read_bytes()) == (0, before)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "gate-3, broker broker.example:8883; enrols itself" in result.stdout
    given_file.write_bytes(b"id =\n")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "line 1" in result.stderr
