"""The real RAUC, over a bus of its own, asked through root's part as on a device.

It writes no slot here: that takes device-mapper, and is the business of `hil_tests`. What it
refuses before, it refuses in its own words, and those arrive upstream.
"""

import os
import shutil
import subprocess
import time

import pytest

from ota import bundle, keys
from tests.ota.conftest import NOW
from tests.update.kit import announced, serve
from tests.update.test_updater import Device

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
 <type>system</type>
 <listen>unix:path={folder}/bus</listen>
 <policy context="default">
  <allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
 </policy>
</busconfig>
"""
CONFIG = """[system]
compatible=lethe-test
bootloader=custom
bundle-formats=-plain
mountprefix={folder}/mount
statusfile={folder}/status

[keyring]
path={keys}/authority.cert.pem
check-purpose=codesign

[handlers]
bootloader-custom-backend={folder}/backend

[slot.rootfs.0]
device={folder}/a
type=raw
bootname=A

[slot.rootfs.1]
device={folder}/b
type=raw
bootname=B
"""
BACKEND = """#!/bin/sh
case $1 in
get-primary | get-current) echo A ;;
get-state) echo good ;;
esac
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    if shutil.which("rauc") is None or shutil.which("dbus-daemon") is None:
        pytest.skip("rauc and dbus-daemon are not installed (apt-get install rauc dbus)")
    return made_keys(tmp_path_factory.mktemp("keys"))


def made_keys(folder):
    keys.make_authority(folder, "Test", now=NOW)
    keys.make_signer(folder, "Test", now=NOW)
    return folder


@pytest.fixture(scope="module")
def rauc(authority, tmp_path_factory):
    """RAUC's service with slots that are files; returns how its bus is reached."""
    folder = tmp_path_factory.mktemp("rauc")
    (folder / "bus.conf").write_text(BUS.format(folder=folder))
    (folder / "system.conf").write_text(CONFIG.format(folder=folder, keys=authority))
    (folder / "backend").write_text(BACKEND)
    (folder / "backend").chmod(0o755)
    (folder / "mount").mkdir()
    for slot in ("a", "b"):
        (folder / slot).write_bytes(bytes(1 << 20))
    address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus"}
    environment = os.environ | address
    started = []

    def start(*command):
        started.append(
            subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        )  # fmt: skip
        return started[-1]

    def answers():
        asked = ["rauc", "status"]
        done = subprocess.run(asked, env=environment, capture_output=True, check=False)
        return done.returncode == 0

    with (folder / "log").open("wb") as log:
        try:
            bus = start("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork")
            until((folder / "bus").exists, bus, folder)
            config = f"--conf={folder / 'system.conf'}"
            service = start("rauc", config, "--override-boot-slot=A", "service")
            until(answers, service, folder)
            yield address
        finally:
            for process in started:
                process.kill()
                process.wait()


def until(condition, process, folder):
    patience = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < patience, (folder / "log").read_text()
        time.sleep(0.05)


@pytest.fixture
def device(system, server, rauc):
    (system.programs / "rauc").unlink()
    device = Device(system, server)
    device.environment = rauc
    return device


def offer(device, tmp_path, signer, *, cut=0):
    """Announce a bundle, correctly, whatever is wrong with the bundle itself."""
    image, made = tmp_path / "rootfs.ext4", tmp_path / "b.raucb"
    image.write_bytes(os.urandom(1 << 19))
    bundle.make({"rootfs": image}, bundle.Content("lethe-test", "1.1.0"), signer, made)
    content = made.read_bytes()
    content = content[: len(content) - cut]
    device.server.answer = serve(content)
    device.announce(announced(content, urls=(device.server.url(),)))


def test_another_authoritys_bundle_is_refused_in_raucs_words(device, tmp_path):
    offer(device, tmp_path, made_keys(tmp_path / "stranger"))
    state, reason = device.go()
    assert state == "failed"
    assert reason.startswith("RAUC: signature verification failed: ")
    assert device.notes[0].reason == reason


def test_a_bundle_without_its_signature_is_refused_in_raucs_words(device, authority, tmp_path):
    offer(device, tmp_path, authority, cut=3000)
    state, reason = device.go()
    assert state == "failed"
    assert reason.startswith("RAUC: ")
    assert "ignature" in reason


def test_a_good_bundle_gets_as_far_as_this_machine_can(device, authority, tmp_path):
    """Past signature and manifest; a machine with device-mapper would go on to write the slot."""
    offer(device, tmp_path, authority)
    state, reason = device.go()
    if state == "failed":
        assert "/dev/mapper/control" in reason or "mount" in reason
    else:
        assert state == "restarting"
