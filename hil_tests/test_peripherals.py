"""Simulated peripherals that fail: the device goes on, says so, and takes them again."""

import shutil
import time

import pytest

from hil_tests import peripherals
from hil_tests.test_surroundings import frames

pytestmark = [pytest.mark.timeout(7200)]


@pytest.fixture
def plain_afterwards(looking, site):
    """What is simulated is gone afterwards, and the device looks as before."""
    yield
    peripherals.remove(looking)
    shutil.rmtree(site.folder / "peripherals", ignore_errors=True)
    site.reconfigure(looking)
    site.await_candidate(1800)


def accelerator_says(site, state):
    said = site.now_says()
    return said and said.state == "online" and [one.state for one in said.accelerators] == [state]


@pytest.mark.shows("An accelerator fails: the CPU goes on, the status says so, it is tried again")
@pytest.mark.lg_feature("simulated-accelerator")
@pytest.mark.parametrize("name", ["edgetpu", "tensorrt"])
def test_an_accelerator_fails(looking, site, plain_afterwards, measure, name):
    plugged, vision = peripherals.accelerator(looking, site, name)
    site.reconfigure(looking, **vision)
    site.until(lambda: accelerator_says(site, "working"), 1800, "it works")
    site.await_candidate(1800)
    for fault in ("hang", "shape"):
        plugged.inject(fault)
        took = site.until(lambda: accelerator_says(site, "failed"), 900, f"failed by {fault}")
        measure(f"{name}: {fault} to the status", took, "s")
        site.until(lambda: accelerator_says(site, "working"), 1800, "it works again")
    plugged.inject("unplug")
    site.until(lambda: accelerator_says(site, "failed"), 900, "failed: unplugged")
    measure(f"{name}: unplugged: next candidate by the CPU", site.await_candidate(1800), "s")
    plugged.plug()
    site.until(lambda: accelerator_says(site, "working"), 1800, "it works again")


@pytest.mark.shows("The Pi's own camera hangs, sends rubbish, is unplugged: the device goes on")
@pytest.mark.lg_feature("simulated-camera")
def test_the_picamera_fails(looking, site, plain_afterwards, measure):
    """Frames count, not candidates: an emulated device loses sight between two of a live camera."""
    camera = peripherals.picamera2(looking, site)
    site.reconfigure(looking, "picamera2")
    now = time.time()
    site.until(lambda: frames(site, "ok", "few", since=now), 900, "frames arrive")
    process = looking.run("systemctl show -P MainPID lethe.service")
    for fault in ("hang", "shape"):
        camera.inject(fault)
        looking.await_command(f"! test -e {peripherals.PLACE}/camera/fault.json", 300)
        begun, now = time.monotonic(), time.time()
        site.until(lambda since=now: frames(site, "ok", "few", since=since), 900, "frames again")
        measure(f"{fault}: frames again in telemetry", time.monotonic() - begun, "s")
    camera.unplug()
    site.until(lambda: any("camera" in one for one in site.now_says().reasons), 900, "it is away")
    camera.plug()
    begun = time.monotonic()
    site.until(lambda: not site.now_says().reasons, 900, "nothing is wrong any more")
    measure("plugged in again: nothing is wrong any more", time.monotonic() - begun, "s")
    assert looking.run("systemctl show -P MainPID lethe.service") == process


@pytest.mark.shows("A device that is too hot says so")
@pytest.mark.lg_feature("simulated-heat")
def test_overheating(looking, site, measure):
    """Ten minutes: a temperature counts when it has held for so long."""
    looking.run("systemctl restart lethe.service", timeout=900)  # a clip begins anew with it
    zone = "/run/rig-heat/thermal_zone0"
    looking.run(
        f"mkdir -p {zone} && echo 91000 >{zone}/temp && chmod -R a+rX /run/rig-heat && "
        "mount --bind /run/rig-heat /sys/class/thermal"
    )
    try:
        took = site.until(
            lambda: site.telemetry and site.telemetry[-1][1].temperature == "hot",
            1500, "telemetry: hot",
        )  # fmt: skip
        measure("91 °C to the telemetry that says so", took, "s")
        site.await_candidate(1800)
    finally:
        looking.run("umount /sys/class/thermal")
