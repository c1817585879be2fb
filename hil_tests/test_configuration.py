"""What the fleet wants of a device's configuration: taken whole, or gone back from by itself."""

import time

import pytest

from fleet import configuration
from hil_tests.site import DEVICE

pytestmark = [pytest.mark.timeout(7200)]


def want(site, settings):
    """Sign a configuration for the device and bring it; returns its version."""
    with site.signing() as repository:
        return configuration.put(repository, DEVICE, settings).version


@pytest.mark.shows("Configuration over MQTT is taken, reported, and does not cost the main job")
def test_a_configuration_is_taken(looking, site, measure):
    begun = time.monotonic()
    version = want(site, {"vision": {"fpir_target": 0.0005}})
    site.until(
        lambda: (said := site.configuration()) and said.version == version and not said.on_trial,
        1800, f"configuration {version} in force",
    )  # fmt: skip
    measure("signed to in force and proven", time.monotonic() - begun, "s")
    field = site.configuration().fields["vision.fpir_target"]
    assert field.value == 0.0005
    assert field.source == "fleet"
    site.await_candidate(1800)


@pytest.mark.shows("A configuration with which the device cannot work is gone back from")
def test_a_configuration_that_does_not_work_is_gone_back_from(looking, site, measure):
    before = site.configuration().version
    begun = time.monotonic()
    version = want(site, {"camera": {"source": "/dev/video77"}})
    # It says so at once, and is back in the earlier one after a restart.
    site.until(
        lambda: (said := site.configuration()).gone_back and said.gone_back.version == version
        and said.version == before,
        3600, f"back from configuration {version} in {before}",
    )  # fmt: skip
    measure("signed to back in the earlier one", time.monotonic() - begun, "s")
    measure("says", site.configuration().gone_back.reason)
    site.await_candidate(1800)
    want(site, {})
    site.until(lambda: not site.now_says().reasons, 1800, "nothing is wrong any more")
