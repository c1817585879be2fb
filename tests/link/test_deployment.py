"""The mosquitto configuration that ships: TLS, who may do what, what the doctor says of it."""

import queue
import re

import pytest

from demo.broker import free_port
from edge import limits
from edge.config import BrokerConfig, parse
from edge.health import broker as examination
from edge.link.session import Link
from edge.protocol import list_key, topics
from fleet import broker
from fleet.repository import Repository
from tests.brokers import Mosquitto, Shipped
from tests.fleet_kit import ROOT, Fleet, Follower, listing
from tests.link.test_session import until
from tests.protocol.test_sealed_list import people


@pytest.fixture
def deployed(mosquitto_folder):
    server = Shipped(mosquitto_folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def fleet(tmp_path, deployed):
    fleet = Fleet(tmp_path / "fleet")
    fleet.issue(listing(1, people(5), devices=["camera-1", "camera-2"]))
    broker.publish(Repository.existing(fleet.folder), deployed.config("fleet"))
    return fleet


def session(config, name):
    link = Link(config, f"{name}-{free_port()}")
    link.start()
    until(lambda: link.connected)
    return link


def test_a_device_gets_its_list_over_tls_with_its_certificate(fleet, deployed):
    link = Link(deployed.config("camera-1"), "camera-1")
    with Follower(fleet, deployed.port, link=link) as device:
        device.wait_for_version(1)


def test_a_device_reads_what_is_signed_and_no_key_but_its_own(fleet, deployed):
    got = queue.SimpleQueue()
    link = session(deployed.config("camera-1"), "camera-1")
    link.route("#", lambda topic, _: got.put(topic), 10**6)
    link.request([f"{ROOT}/#"])
    link.request([topics.trust(ROOT, topics.SENTINEL)])  # comes last
    seen = []
    while seen.count(topics.trust(ROOT, topics.SENTINEL)) < 2:
        seen.append(got.get(timeout=60))
    committed = list_key.commitment(fleet.key)
    own, other = (
        topics.trust(ROOT, topics.list_key("gate", committed, f"camera-{n}")) for n in (1, 2)
    )
    assert own in seen
    assert other not in seen
    assert topics.trust(ROOT, topics.TIMESTAMP) in seen
    link.close()


def config(fleet, broker_config, device="camera-1"):
    return parse(
        {
            "device": {"id": device},
            "camera": {"source": "clip.mp4"},
            "watchlist": {"id": "gate"},
            "fleet": {"root": str(fleet.folder / "root.json")},
            "broker": {
                name: getattr(broker_config, name)
                for name in ("port", "ca_file", "cert_file")
                if getattr(broker_config, name) is not None
            },
        }
    )


def findings(fleet, broker_config):
    found = list(examination.examine(config(fleet, broker_config)))
    return {f.check: f for f in found}


def test_the_doctor_finds_nothing_wrong_with_it(fleet, deployed):
    found = findings(fleet, deployed.config("camera-1"))
    assert {check: f.state for check, f in found.items()} == {
        "session": "ok", "retained": "ok", "signed": "ok",
    }, found  # fmt: skip
    again = session(deployed.config("reader"), "reader")
    got = queue.SimpleQueue()
    again.route("#", lambda *_: got.put(1), 100)
    again.request([f"{topics.probe(ROOT, 'camera-1')}#"])
    again.close()
    assert got.empty(), "the doctor has taken its messages away again"


def test_the_doctor_says_that_a_mosquitto_as_it_comes_cuts_off(tmp_path, mosquitto_folder):
    fleet = Fleet(tmp_path / "fleet")
    plain = Mosquitto(mosquitto_folder, "allow_anonymous true")
    plain.start()
    fleet.publish(plain.port)
    found = findings(fleet, BrokerConfig(port=plain.port))
    plain.kill()
    assert found["retained"].state == "note"
    assert re.search(
        r"1100 retained messages at once gets 10\d\d, silently", found["retained"].says
    )
    assert "max_queued_messages 0" in found["retained"].todo
    assert found["signed"].state == "ok"


def test_the_doctor_says_that_a_broker_keeps_nothing(tmp_path, mosquitto_folder, monkeypatch):
    monkeypatch.setattr(limits, "FETCH_S", 0.5)
    monkeypatch.setattr(limits, "PUBLISH_ACK_S", 0.5)
    fleet = Fleet(tmp_path / "fleet")
    forgetful = Mosquitto(mosquitto_folder, "allow_anonymous true", "retain_available false")
    forgetful.start()
    found = findings(fleet, BrokerConfig(port=forgetful.port))
    forgetful.kill()
    assert found["retained"].state != "ok"
    assert found["signed"].state == "problem"


def test_the_doctor_says_that_the_broker_forgot_a_part(tmp_path, mosquitto):
    fleet = Fleet(tmp_path / "fleet")
    fleet.publish(mosquitto.port)
    link = session(BrokerConfig(port=mosquitto.port), "x")
    (path,) = (p for p in fleet.retained() if p.endswith(".config.json"))
    link.publish(topics.trust(ROOT, path), b"", retain=True)
    found = findings(fleet, BrokerConfig(port=mosquitto.port))
    link.close()
    assert found["signed"].state == "problem"
    assert "it forgot" in found["signed"].says
    assert "announce" in found["signed"].todo


def test_the_doctor_says_that_a_broker_holds_another_fleet(tmp_path, mosquitto):
    Fleet(tmp_path / "one").publish(mosquitto.port)
    other = Fleet(tmp_path / "two")
    root = other.folder / "root.json"
    root.write_bytes(root.read_bytes().replace(b'"version":1', b'"version":2'))
    found = findings(other, BrokerConfig(port=mosquitto.port))
    assert found["signed"].state == "problem"
    assert "would be refused" in found["signed"].says


def test_the_doctor_says_that_the_session_is_not_accepted(tmp_path, mosquitto_folder, monkeypatch):
    monkeypatch.setattr(limits, "DOCTOR_CONNECT_S", 0.5)
    closed = Mosquitto(mosquitto_folder, "allow_anonymous false")
    closed.start()
    (found,) = findings(Fleet(tmp_path / "fleet"), BrokerConfig(port=closed.port)).values()
    closed.kill()
    assert (found.check, found.state) == ("session", "problem")
    assert "certificates" in found.todo
