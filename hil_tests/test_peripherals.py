"""Simulated peripherals that fail: the device goes on, says so, and takes them again."""

import shutil

import pytest

from hil_tests import peripherals

pytestmark = [pytest.mark.timeout(7200)]


@pytest.fixture
def configured(looking, site):
    """Gives the device another configuration; everything is as before afterwards."""

    def configure(vision="", source=""):
        text = site.config(source).replace("[vision]\n", f"[vision]\n{vision}")
        config = site.folder / "lethe.toml"
        config.write_text(text)
        looking.fetch(site.url(config), "/data/config/lethe.toml")
        looking.run("systemctl restart lethe.service", timeout=900)

    yield configure
    peripherals.remove(looking)
    shutil.rmtree(site.folder / "peripherals", ignore_errors=True)
    configure()
    site.await_candidate(1800)


def accelerator_says(site, state):
    said = site.now_says()
    return said and said.state == "online" and [one.state for one in said.accelerators] == [state]


@pytest.mark.shows("An accelerator fails: the CPU goes on, the status says so, it is tried again")
@pytest.mark.lg_feature("simulated-accelerator")
@pytest.mark.parametrize("name", ["edgetpu", "tensorrt"])
def test_an_accelerator_fails(looking, site, configured, measure, name):
    plugged, vision = peripherals.accelerator(looking, site, name)
    configured(vision)
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
def test_the_picamera_fails(looking, site, configured, measure):
    camera = peripherals.picamera2(looking, site)
    configured(source="picamera2")
    site.await_candidate(1800)
    process = looking.run("systemctl show -P MainPID lethe.service")
    for fault in ("hang", "shape"):
        camera.inject(fault)
        measure(f"{fault}: next candidate", site.await_candidate(1800), "s")
    camera.unplug()
    site.until(lambda: any("camera" in one for one in site.now_says().reasons), 900, "it is away")
    camera.plug()
    measure("plugged in again: next candidate", site.await_candidate(1800), "s")
    assert looking.run("systemctl show -P MainPID lethe.service") == process


@pytest.mark.shows("A device that is too hot says so")
@pytest.mark.lg_feature("simulated-heat")
def test_overheating(looking, site, measure):
    """Ten minutes: a temperature counts when it has held for so long."""
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
