"""Power cuts: whatever was being done, the device comes up in a whole system."""

from __future__ import annotations

import json
import random
import time

import pytest

from hil_tests.test_update import BUNDLES, bring, install

pytestmark = [pytest.mark.timeout(8 * 3600), pytest.mark.lg_feature("power")]
VERSION = "9.9.0"
"""Newer than any that `test_update` leaves: RAUC refuses an older one."""
START_S = 120.0
"""A cut in a start comes within this time: it takes about so long, emulated."""


def whole(device):
    """The device runs a version that was kept, and nothing has failed."""
    device.start()
    assert device.failed_units() == ""
    assert device.run("cat /data/ota/kept").strip()
    return device.slot()


def cut(device):
    """Take the power away; return the slot that was kept then, and within how many seconds."""
    device.cut_power()
    begun = time.monotonic()
    slot = whole(device)
    return slot, time.monotonic() - begun


@pytest.mark.small
@pytest.mark.shows("A power cut in the middle of the main job: it comes back and goes on")
def test_a_power_cut_at_work(looking, site, measure):
    site.await_candidate()
    _, seconds = cut(looking)
    measure("switched on to kept", seconds, "s")
    measure("next candidate", site.await_candidate(), "s")


def slots(device):
    """Return what RAUC knows of the slot that runs and of the other one: version, hash, state."""
    told = device.run("rauc status --detailed --output-format=json 2>/dev/null")
    known = [one for entry in json.loads(told)["slots"] for one in entry.values()]
    return sorted(known, key=lambda slot: slot["state"] != "booted")


def is_what_was_installed(device, version):
    """The slot that runs holds every byte of the version, by the hash that was signed."""
    assert f"VERSION_ID={version}" in device.run("cat /usr/lib/os-release")
    running, _ = slots(device)
    content = running["slot_status"]["checksum"]
    said = device.run(f"head -c {content['size']} {running['device']} | sha256sum", timeout=1800)
    assert said.split()[0] == content["sha256"]


def go_home(device, home):
    """Have the slot run that ran before, which nothing has written to."""
    if device.slot() == home:
        device.run("rauc status mark-active booted")
        return
    device.run("rauc status mark-active other")
    with device.restart():
        pass
    device.start()


def begin_install(device, bundle, moment):
    """Begin an installation; return whether it is still under way `moment` seconds later."""
    device.run(f"systemd-run -q --unit=install rauc install {BUNDLES}/{bundle.name}")
    time.sleep(moment)
    state = device.run("systemctl is-active install.service || true").strip()
    assert state in ("active", "inactive"), state
    return state == "active"


@pytest.mark.shows("The rig brings the device back into a state that it was in")
@pytest.mark.lg_feature("snapshots")
def test_a_state_comes_back(device):
    device.run("echo before >/data/state && sync")
    with device.remembered() as recall:
        device.run("echo after >/data/state && sync")
        assert recall()
        assert device.run("cat /data/state").strip() == "before"
    device.run("rm /data/state")


@pytest.mark.shows("Power cuts at random moments of an installation: never a half slot")
@pytest.mark.lg_feature("planted-versions")
def test_power_cuts_while_installing(device, site, versions, measure, request):
    good = versions.bundle(VERSION)
    bring(device, site, good)
    home = device.slot()
    with device.remembered() as recall:
        begun = time.monotonic()
        install(device, good)
        length = time.monotonic() - begun
        measure("whole installation", length, "s")
        for number in range(request.config.getoption("cuts")):
            while True:
                if not recall():
                    go_home(device, home)
                _, untouched = slots(device)
                moment = random.uniform(0, length)
                if begin_install(device, good, moment):
                    break
                length = moment  # quicker than the first one
            slot, seconds = cut(device)
            if slot == home:
                _, other = slots(device)
                if other == untouched:
                    found = "the other one untouched"
                else:
                    found = f"the other one {other['boot_status']}"
                    assert other["boot_status"] == "bad", "a half slot is not started"
            else:
                is_what_was_installed(device, VERSION)
                found = "whole, by its hash"
            measure(
                f"cut {number + 1}",
                f"after {moment:.1f} of {length:.0f} s: slot {slot} kept within {seconds:.0f} s, "
                f"{found}",
            )


@pytest.mark.shows("Power cuts in the first start after an update: the new version is tried again")
@pytest.mark.lg_feature("planted-versions")
def test_power_cuts_in_the_first_start_after(device, site, versions, measure, request):
    good = versions.bundle(VERSION)
    bring(device, site, good)
    home = device.slot()
    install(device, good)
    device.run("sync")
    with device.remembered() as recall:
        for number in range((request.config.getoption("cuts") + 1) // 2):
            if number and not recall():
                home = device.slot()
                install(device, good)
                device.run("sync")
            device.cut_power()
            device.strategy.mark()
            device.strategy.power.on()
            device.expect("lethe: starting slot", 900)
            moment = random.uniform(0, START_S)
            time.sleep(moment)
            slot, seconds = cut(device)
            assert slot != home
            is_what_was_installed(device, VERSION)
            measure(
                f"cut {number + 1}",
                f"{moment:.1f} s into the start: slot {slot} kept within {seconds:.0f} s, whole, "
                "by its hash",
            )
