"""What becomes of lists: changed, revoked, expired, withdrawn from the one who was on them."""

import time

import msgspec
import pytest

from demo import scene
from edge.protocol import event

pytestmark = [pytest.mark.timeout(7200)]


@pytest.mark.shows("A changed list is in force, and the time that takes")
def test_a_changed_list_is_taken(looking, site, measure):
    site.enrol("bystander", scene.BYSTANDER)
    added = site.owner.find("bystander").entry.id
    begun = time.monotonic()
    version = site.publish()
    site.until(lambda: site.in_force() == version, 900, f"version {version} in force")
    measure("published to in force", time.monotonic() - begun, "s")
    since = len(site.heard)
    found = set()

    def both():
        found.update(one.received.event.data.entry for one in site.candidates(since))
        return found >= {site.entry, added}

    site.until(both, 1800, "both people reported")


@pytest.mark.shows("From revocation to 'search returns nothing'")
def test_a_revoked_person_is_no_longer_found(looking, site, measure):
    """After the test before: both people are on the list; one is taken off it."""
    ahead = clock_ahead(looking)
    gone = site.owner.revoke("bystander").entry.id
    begun, at = time.monotonic(), time.time()
    version = site.publish()
    site.until(lambda: site.in_force() == version, 900, f"version {version} in force")
    measure("revoked to the new version in force, seen from outside", time.monotonic() - begun, "s")

    def receipts():
        """Receipts of the version that she was on."""
        return [
            one.received.event.data for one in site.events(event.Receipt)
            if one.received.event.data.list.version == version - 1
        ]  # fmt: skip

    site.until(receipts, 300, "a receipt")
    (receipt,) = receipts()
    assert receipt.reason == "replaced"
    for name in ("ended", "destroyed"):
        seconds = getattr(receipt, name).timestamp() - ahead - at
        measure(f"revoked to {name}, by the receipt", seconds, "s")
    since = len(site.heard)
    # The other one still is found, again and again: whoever was revoked passes by with her.
    site.until(lambda: len(site.candidates(since)) >= 3, 1800, "three more candidates")
    assert gone not in {one.received.event.data.entry for one in site.candidates(since)}


@pytest.mark.shows("An expired list ends by itself: nobody is found, a receipt comes")
def test_an_expired_list_ends(looking, site, measure):
    owner, before = site.owner, site.owner.owned.authorisation
    end, since = int(time.time()) + 90, len(site.heard)

    def late():
        """Candidates of after the end; both times are by the device's own clock."""
        return [
            one for one in site.candidates(since)
            if one.received.event.envelope.time.timestamp() > end + 5
        ]  # fmt: skip

    owner.authorise(msgspec.structs.replace(before, not_after=end))
    try:
        version = site.publish()
        site.until(lambda: site.in_force() == version, 80, f"version {version} in force")
        patience = end - time.time() + 300
        site.until(lambda: site.in_force() == 0 or late(), patience, "no list in force")
        assert late() == [], "someone is found by a list that is over"
        measure("end of the list to 'no list in force'", time.time() - end, "s")
        site.until(
            lambda: [
                one for one in site.events(event.Receipt)
                if one.received.event.data.reason == "expired"
            ],
            300, "a receipt",
        )  # fmt: skip
        since = len(site.heard)
        stays_silent(site, since, 60)
        stored = looking.run("ls /data/lethe/state/lists/gate 2>/dev/null || true")
        print("at rest:", stored.split())
    finally:
        owner.authorise(before)
        site.publish()


def clock_ahead(device):
    """Seconds by which the device's clock is ahead of ours, give or take the time of an answer."""
    before = time.time()
    said = float(device.run("date +%s.%N"))
    return said - (before + time.time()) / 2


def stays_silent(site, since, seconds):
    """Nothing is found for as long as the person walks by several times."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert site.candidates(since) == []
        time.sleep(1)
