"""What one of several who sign a list can do alone, and with what others signed for another end."""

import time

import pytest
from tuf.api.metadata import Metadata

from edge import limits
from edge.errors import SignatureRefused
from edge.protocol import list_key
from fleet import devices, keys, release, setup
from fleet.repository import COMPACT
from tests.fleet_kit import Fleet, Follower, listing, replace
from tests.protocol.test_sealed_list import people


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "TRUST_RETRY_FIRST_S", 0.05)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path / "fleet")
    fleet.issue(listing(1, people(3)))
    return fleet


@pytest.fixture
def device(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
        yield device


@pytest.mark.parametrize(
    "custom", [["key"], "key", {"key": "a#b/+"}, {"key": "\0" * 64}, {"key": "0" * 63}]
)
def test_a_commitment_of_any_form_does_not_end_what_follows_the_fleet(
    fleet, device, mosquitto, custom
):
    known = devices.read(fleet.folder / "devices.json")
    draft = release.draft(listing(2, people(3)), list_key.new_key(), known, urgent=True)
    md = Metadata.from_bytes(draft.metadata)
    md.signed.targets["watchlist/gate/urgent"].unrecognized_fields["custom"] = custom
    with fleet.change() as state:
        release.hand_over(fleet.signed(replace(draft, metadata=md.to_bytes(COMPACT)), 1), state)
    fleet.publish(mosquitto.port)
    device.wait_for_reason("without a commitment to its key")
    fleet.withdraw(3)
    fleet.publish(mosquitto.port)
    device.wait(lambda: device.keeper.withdrawn)


def test_whatever_goes_wrong_the_fleet_is_followed_and_the_reason_shown(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    device = Follower(fleet, mosquitto.port)
    calls = []

    def fails_once(_view):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError

    device.trust.follow("other", fails_once)
    with device:
        device.wait_for_reason("other: unexpected ZeroDivisionError")
        device.wait(lambda: not device.trust.reason)
        fleet.withdraw(2)
        fleet.publish(mosquitto.port)
        device.wait(lambda: device.keeper.withdrawn)


def test_an_urgent_list_of_a_signer_who_was_dismissed_stands_in_no_way(fleet, device, mosquitto):
    fleet.issue(listing(2, people(4)), urgent=True, signatures=1)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    with fleet.change() as state:
        dismissed = keys.public_key(fleet.people[0].sign).keyid
        assert setup.replace_key(state, "watchlist/gate/urgent", dismissed, None)
    fleet.publish(mosquitto.port)
    device.wait_for_reason("watchlist/gate/urgent was signed by 0/1 keys")
    fleet.issue(listing(3, people(4)))
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)


def test_in_an_emergency_it_does_not_matter_that_the_last_list_is_over(fleet, device, mosquitto):
    fleet.issue(listing(2, people(4), not_after=int(time.time()) - 5))
    fleet.publish(mosquitto.port)
    device.wait_for_reason("expired")
    fleet.issue(listing(3, people(4)), urgent=True, signatures=1)
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)


def test_what_was_signed_for_one_list_withdraws_no_other(fleet, device, mosquitto):
    """The same people sign both, and that there is no list looks alike for all."""
    other = fleet.signed(release.draft_withdrawal(listing(2, list_id="other")))
    moved = replace(other, list_id="gate")
    with pytest.raises(SignatureRefused, match="signed as 'watchlist/other'"):
        release.opened(moved, fleet.key)
    with (
        pytest.raises(SignatureRefused, match="signed as 'watchlist/other'"),
        fleet.change() as state,
    ):
        release.hand_over(moved, state)
    with fleet.change() as state:  # whoever has the fleet's folder does not ask it
        state._stage("watchlist/gate", Metadata.from_bytes(moved.metadata))
    fleet.publish(mosquitto.port)
    device.wait_for_reason("signed as 'watchlist/other'")
    assert not device.keeper.withdrawn
