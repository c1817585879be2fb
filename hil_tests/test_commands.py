"""Signed commands over MQTT: what an operator orders is obeyed at once, and nobody else is."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.protocol import event
from edge.protocol.command import Identify, Resume, Stop
from hil_tests.test_lists import clock_ahead, stays_silent

pytestmark = [pytest.mark.timeout(7200)]


@pytest.mark.shows("A signed stop ends all looking at once; only an operator's resume lifts it")
def test_stop_and_resume(looking, site, measure):
    site.await_candidate()
    ahead, since, at = clock_ahead(looking), len(site.heard), time.time()
    answer = site.command(Stop(reason="the rig asks"))
    measure("stop given to its answer", time.time() - at, "s")
    assert answer.state == "done", answer
    site.until(lambda: (said := site.now_says()) and said.stopped and not said.list, 60, "stopped")
    site.until(lambda: receipts(site, since), 300, "a receipt of the list's destruction")
    (receipt,) = receipts(site, since)
    for name in ("ended", "destroyed"):
        seconds = getattr(receipt, name).timestamp() - ahead - at
        measure(f"stop given to {name}, by the receipt", seconds, "s")
    silent = len(site.heard)
    stays_silent(site, silent, 20)
    # Where a clip is its camera, that may be over by now, and the device about to start anew.
    restarted = time.time()
    looking.run("systemctl restart lethe.service", timeout=900)
    site.until(lambda: on_line(site, since=restarted), 300, "on line again")
    refused = site.command(Resume(), key=Ed25519PrivateKey.generate())
    assert (refused.state, refused.refusal) == ("refused", "not-an-operator")
    refused = site.command(Identify(seconds=1))
    assert (refused.state, refused.refusal) == ("refused", "not-configured")
    assert site.now_says().stopped, "neither a stranger nor a restart has lifted it"
    stays_silent(site, silent, 20)
    version, begun = site.owner.owned.version, time.monotonic()
    answer = site.command(Resume())
    assert answer.state == "done", answer
    site.until(lambda: site.in_force() == version, 300, f"version {version} in force again")
    measure("resume given to the list in force again", time.monotonic() - begun, "s")
    measure("resume given to the next candidate, more", site.await_candidate(1800), "s")


def on_line(site, since):
    """Whether the last that it said is that it is, and that since then."""
    at, said = site.statuses[-1]
    return at > since and said.state == "online"


def receipts(site, since):
    return [
        one.received.event.data for one in site.events(event.Receipt, since)
        if one.received.event.data.reason == "stopped"
    ]  # fmt: skip
