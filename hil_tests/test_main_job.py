"""The device does its main job: a list from a broker with TLS and ACL, and candidates of it."""

import re

import pytest

pytestmark = [pytest.mark.timeout(7200)]


@pytest.mark.small
@pytest.mark.shows("The enrolled person in view is reported, over TLS; the other one is not")
def test_main_job(looking, site, measure):
    measure("next candidate", site.await_candidate(), "s")
    since = len(site.heard)
    # They appear again and again; twice more is enough to see the other one too.
    site.until(lambda: len(site.candidates(since)) >= 2, 1800, "two more candidates")
    assert {one.received.event.data.entry for one in site.candidates()} == {site.entry}
    assert all(one.received.trusted for one in site.heard)


@pytest.mark.shows("From power on to the first judged frame, and the application's share")
@pytest.mark.lg_feature("power")
def test_cold_start(looking, site, measure):
    looking.cut_power()
    looking.strategy.transition("shell")
    judged = looking.await_command(
        "journalctl -o short-monotonic -u lethe --no-pager | grep 'first frame is judged'", 1800
    )
    seconds = float(re.search(r"\[\s*([\d.]+)\]", judged)[1])
    measure("kernel's start to the first judged frame", seconds, "s")
    begun = looking.run("systemctl show -P ExecMainStartTimestampMonotonic lethe.service")
    measure("of it, the device's own process", seconds - int(begun) / 1e6, "s")
    looking.start()
    print(looking.run("systemd-analyze; systemd-analyze critical-chain --no-pager lethe.service"))
    site.await_candidate()
