"""Power cuts: whatever was being done, the device comes up in a whole system."""

from __future__ import annotations

import random
import time

import pytest

from hil_tests.test_update import BUNDLES, bring, install

pytestmark = [pytest.mark.timeout(8 * 3600), pytest.mark.lg_feature("power")]


def whole(device):
    """The device runs a version that was kept, and nothing has failed."""
    device.start()
    assert device.failed_units() == ""
    assert device.run("cat /data/ota/kept").strip()
    return device.slot()


@pytest.mark.small
@pytest.mark.shows("A power cut in the middle of the main job: it comes back and goes on")
def test_a_power_cut_at_work(looking, site, measure):
    site.await_candidate()
    looking.cut_power()
    begun = time.monotonic()
    whole(looking)
    measure("switched on to kept", time.monotonic() - begun, "s")
    measure("next candidate", site.await_candidate(), "s")


@pytest.mark.shows("Power cuts at random moments of an installation: never a half slot")
@pytest.mark.lg_feature("planted-versions")
def test_power_cuts_while_installing(device, site, versions, measure, request):
    good = versions.bundle("9.0.0")
    bring(device, site, good)
    home = device.slot()
    begun = time.monotonic()
    install(device, good)
    length = time.monotonic() - begun
    measure("whole installation", length, "s")
    device.run("rauc status mark-active booted")
    for number in range(request.config.getoption("cuts")):
        device.run(f"systemd-run -q --unit=install rauc install {BUNDLES}/{good.name}")
        moment = random.uniform(0, length)
        time.sleep(moment)
        device.cut_power()
        slot = whole(device)
        measure(f"cut {number + 1}", f"after {moment:.1f} of {length:.0f} s: slot {slot}, kept")
        if slot != home:
            assert "9.0.0" in device.run("cat /usr/lib/os-release")
            device.run("rauc status mark-active other")
            with device.restart():
                pass
            device.start()


@pytest.mark.shows("Power cuts in the first start after an update: the new version is tried again")
@pytest.mark.lg_feature("planted-versions")
def test_power_cuts_in_the_first_start_after(device, site, versions, measure, request):
    good = versions.bundle("9.0.0")
    for number in range(request.config.getoption("cuts")):
        home = device.slot()
        bring(device, site, good)
        install(device, good)
        device.run("sync")
        device.strategy.mark()
        device.cut_power()
        device.strategy.power.on()
        device.expect("lethe: starting slot", 900)
        moment = random.uniform(0, 120)
        time.sleep(moment)
        device.cut_power()
        slot = whole(device)
        measure(f"cut {number + 1}", f"{moment:.1f} s into the start: slot {slot}, kept")
        assert slot != home
