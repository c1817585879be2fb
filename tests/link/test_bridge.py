"""Devices behind a mosquitto of their site, which is bridged to the fleet's broker."""

import pytest

from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol import topics
from tests.brokers import SHIPPED, Mosquitto
from tests.fleet_kit import ROOT, Fleet, Follower, listing
from tests.link.test_session import until
from tests.protocol.test_sealed_list import people

BRIDGE = SHIPPED.with_name("bridge.conf")


@pytest.fixture
def site(mosquitto, tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    bridge = BRIDGE.read_text("utf-8").replace("broker.example:8883", f"127.0.0.1:{mosquitto.port}")
    broker = Mosquitto(
        folder,
        "allow_anonymous true",
        SHIPPED.read_text("utf-8"),
        f"persistence_location {folder}/",
        bridge,
    )
    broker.start()
    yield broker
    broker.kill()


def test_a_list_and_its_changes_reach_the_devices_of_a_site_and_their_reports_the_centre(
    mosquitto, site, tmp_path
):
    fleet = Fleet(tmp_path / "fleet")
    some = people(300)
    fleet.issue(listing(1, some, max_entries=1000, devices=["camera-1", "camera-2"]))
    fleet.publish(mosquitto.port)
    with Follower(fleet, site.port) as one, Follower(fleet, site.port, device="camera-2") as two:
        one.wait_for_version(1)
        two.wait_for_version(1)
        fleet.issue(listing(2, some[1:], max_entries=1000, devices=["camera-1", "camera-2"]))
        fleet.publish(mosquitto.port)
        one.wait_for_version(2)
        two.wait_for_version(2)
        heard = []
        reader = Link(BrokerConfig(port=mosquitto.port), "reader")
        reader.subscribe(topics.event(ROOT, "+"), lambda topic, _: heard.append(topic), 100)
        reader.start()
        until(lambda: reader.connected)
        until(lambda: one.link.publish(topics.event(ROOT, "camera-1"), b"x") and heard)
        reader.close()
    with Follower(fleet, site.port, device="camera-2") as again:  # new at the site
        again.wait_for_version(2)
    assert set(heard) == {topics.event(ROOT, "camera-1")}


def test_a_site_that_was_cut_off_catches_up_by_itself(mosquitto, site, tmp_path):
    fleet = Fleet(tmp_path / "fleet")
    fleet.issue(listing(1, people(3)))
    fleet.publish(mosquitto.port)
    with Follower(fleet, site.port) as device:
        device.wait_for_version(1)
        mosquitto.kill()
        mosquitto.start()
        fleet.issue(listing(2, people(4)))
        fleet.publish(mosquitto.port)
        device.wait_for_version(2)
