"""A network that is gone, slow, or has lost its broker: nothing that was found is lost."""

import time

import pytest

pytestmark = [pytest.mark.timeout(7200)]
MADE = "journalctl -u lethe --no-pager | grep -c 'edge.events.reports: candidate'"


def whole(site):
    """Numbers of the device's events that have come; none is missing between them."""
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


def arrived(site, number):
    """Wait for an event, and all before it; return when it came, seconds since 1970."""
    site.until(lambda: number in whole(site), 1800, f"event {number}")
    return next(
        one.at for one in site.heard
        if one.received.trusted and int(one.received.event.sequence) == number
    )  # fmt: skip


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
        last = newest_waiting(looking)
        assert len(site.candidates()) == before
        assert last > 0
    finally:
        looking.strategy.set_link(True)
        back = time.time()
    measure("network back to the last that waited", arrived(site, last) - back, "s")


@pytest.mark.shows("Over a slow network (2 s each way, 2 kB/s) events come, late and whole")
def test_the_network_is_slow(looking, site, measure):
    site.way.drop()
    site.way.delay, site.way.bytes_per_second = 2.0, 2000.0
    try:
        measure("next candidate over the slow network", site.await_candidate(1800), "s")
        last = newest_waiting(looking)
    finally:
        site.way.delay, site.way.bytes_per_second = 0.0, 0.0
    site.await_candidate()
    if last:
        arrived(site, last)
    whole(site)


@pytest.mark.shows("The broker ends and starts again: the device finds back by itself")
def test_the_broker_restarts(looking, site, measure):
    with site.power_of_the_broker_cut():
        await_made(looking, 1)
        last = newest_waiting(looking)
        assert last > 0
    back = time.time()
    measure("broker back to the last that waited", arrived(site, last) - back, "s")
    measure("next candidate", site.await_candidate(), "s")
    whole(site)


@pytest.mark.shows("Events that could not be sent outlive a power cut")
@pytest.mark.lg_feature("power")
def test_events_outlive_a_power_cut(looking, site, measure):
    with site.power_of_the_broker_cut():
        await_made(looking, 1)
        last = newest_waiting(looking)
        looking.cut_power()
        # Not kept again yet: a version that has reached its broker before waits for it.
        looking.strategy.transition("shell")
        judged = "journalctl -u lethe --no-pager | grep -q 'first frame is judged'"
        looking.await_command(judged, 1800)
        assert newest_waiting(looking) >= last > 0, "what waited is forgotten"
    back = time.time()
    measure("broker back to the events from before the cut", arrived(site, last) - back, "s")
    looking.start()
