"""A network that is gone, slow, or has lost its broker: nothing that was found is lost."""

import pytest

pytestmark = [pytest.mark.timeout(7200)]
MADE = "journalctl -u lethe --no-pager | grep -c 'edge.events.reports: candidate'"


def whole(site):
    """Whether the device's events have come without a gap; the numbers of those that have."""
    numbers = [int(one.received.event.sequence) for one in site.heard if one.received.trusted]
    assert all(one.received.skipped is None for one in site.heard), "events are missing"
    return numbers


def candidates_made(device):
    """How many candidates the device has reported to itself."""
    return int(
        device.run(
            "journalctl -u lethe --no-pager | grep -c 'INFO edge.events.reports: candidate' || true"
        )
    )


def await_made(device, more):
    device.await_command(f"test $({MADE}) -ge {candidates_made(device) + more}", 1800)


def await_all(site, device, timeout=900):
    """Wait until the broker has had every candidate that the device made."""
    made = candidates_made(device)
    return site.until(lambda: len(site.candidates()) >= made, timeout, f"{made} candidates")


def newest_waiting(device):
    """Number of the newest event that waits in the device's outbox; 0 if none does."""
    code = (
        "import sqlite3; "
        "print(sqlite3.connect('file:/data/lethe/state/outbox.db?mode=ro', uri=True).execute("
        "'select coalesce(max(sequence), 0) from event').fetchone()[0])"
    )
    return int(device.run(f'python3 -c "{code}"'))


@pytest.mark.shows("Without a network events wait, and all of them come when it is back")
@pytest.mark.lg_feature("network-cut")
def test_the_network_is_cut(looking, site, measure):
    site.await_candidate()
    looking.strategy.set_link(False)
    try:
        before = len(site.candidates())
        await_made(looking, 2)
        assert len(site.candidates()) == before
    finally:
        looking.strategy.set_link(True)
    measure("network back to outbox empty", await_all(site, looking), "s")
    whole(site)


@pytest.mark.shows("Over a slow network (2 s each way, 2 kB/s) events come, late and whole")
def test_the_network_is_slow(looking, site, measure):
    site.way.drop()
    site.way.delay, site.way.bytes_per_second = 2.0, 2000.0
    try:
        measure("next candidate over the slow network", site.await_candidate(1800), "s")
    finally:
        site.way.delay, site.way.bytes_per_second = 0.0, 0.0
    await_all(site, looking)
    whole(site)


@pytest.mark.shows("The broker ends and starts again: the device finds back by itself")
def test_the_broker_restarts(looking, site, measure):
    with site.power_of_the_broker_cut():
        await_made(looking, 1)
    measure("broker back to outbox empty", await_all(site, looking), "s")
    measure("next candidate", site.await_candidate(), "s")
    whole(site)


@pytest.mark.shows("Events that could not be sent outlive a power cut")
@pytest.mark.lg_feature("power")
def test_events_outlive_a_power_cut(looking, site, measure):
    site.await_candidate()
    await_all(site, looking)
    with site.power_of_the_broker_cut():
        await_made(looking, 1)
        last = newest_waiting(looking)
        looking.cut_power()
        # Not kept again yet: a version that has reached its broker before waits for it.
        looking.strategy.transition("shell")
        judged = "journalctl -u lethe --no-pager | grep -q 'first frame is judged'"
        looking.await_command(judged, 1800)
        assert newest_waiting(looking) >= last > 0, "what waited is forgotten"
    took = site.until(lambda: last in whole(site), 1800, f"event {last} from before the cut")
    measure("broker back to the events from before the cut", took, "s")
    looking.start()
