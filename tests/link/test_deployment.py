"""The mosquitto configuration that ships: TLS, who may do what, what the doctor says of it."""

import queue
import re
import shutil
import time
from pathlib import Path

import pytest

from demo.broker import free_port
from edge import limits
from edge.config import BrokerConfig, parse
from edge.credentials import Credentials
from edge.files import private_folder, write_atomically
from edge.health import broker as examination
from edge.link.session import Link
from edge.protocol import enrolment, list_key, topics
from edge.protocol.enrolment import read_request
from fleet import approval, authority, broker
from fleet.authority import Authority
from fleet.repository import Repository
from tests.conftest import SHIPPED, Mosquitto
from tests.fleet_kit import ROOT, Fleet, Follower, listing
from tests.link.test_session import until
from tests.protocol.test_sealed_list import people

DEPLOY = SHIPPED.parent


class Shipped(Mosquitto):
    """mosquitto with all of the shipped files; only folders and ports are the test's.

    Attributes:
        enrol_port: where those ask who have no certificate yet.
        open_port: a further listener without any rule, for the test itself.
    """

    def __init__(self, folder: Path, now=time.time) -> None:
        self.folder = folder
        self.port, self.enrol_port, self.open_port = free_port(), free_port(), free_port()
        self._config = folder / "mosquitto.conf"
        authority.create(folder / "authority", "authority of the test", None, now)
        self._now = now
        chain, key = self.authority.issue_server(["127.0.0.1"])
        write_atomically(folder / "broker.pem", chain)
        write_atomically(folder / "broker.key", key)
        self.take_along()
        for name in ("acl", "enrol.acl"):
            (folder / name).write_text((DEPLOY / name).read_text())
        text = (DEPLOY / "lethe.conf").read_text() + (DEPLOY / "tls.conf").read_text()
        text = text.replace("/etc/mosquitto/lethe", str(folder))
        text = text.replace("/var/lib/mosquitto", str(folder))
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        text = text.replace("listener 8884", f"listener {self.enrol_port} 127.0.0.1")
        text += f"listener {self.open_port} 127.0.0.1\nallow_anonymous true\n"
        self._config.write_text(f"user root\n{text}")
        self._process = None

    @property
    def authority(self) -> Authority:
        """Opened anew: others may have changed it."""
        return Authority(self.folder / "authority", None, self._now)

    def take_along(self) -> None:
        """Bring what the authority has for the broker to it, as the operator does."""
        for name in (authority.CA, authority.CRL, authority.PASSWORDS):
            shutil.copy(self.authority.folder / name, self.folder / name)

    def config(self, name: str, **changes) -> BrokerConfig:
        """A role's access, or a device's as if it were one."""
        file = self.folder / f"{name}.pem"
        if not file.exists():
            write_atomically(
                file,
                self.authority.issue_role(name) if name in authority.ROLES else self._device(name),
            )
        return BrokerConfig(
            port=self.port, ca_file=str(self.folder / "ca.pem"), cert_file=str(file), **changes
        )

    def expected(self, name: str, token: str, folder: Path) -> BrokerConfig:
        """The access of a device that has no certificate yet."""
        file = folder / f"{name}.password"
        write_atomically(file, enrolment.password(token).encode())
        return BrokerConfig(
            port=self.enrol_port, ca_file=str(self.folder / "ca.pem"), username=name,
            password_file=str(file),
        )  # fmt: skip

    def _device(self, name: str) -> bytes:
        state = private_folder(self.folder / f"{name}-state")
        credentials = Credentials(state, name)
        answer = approval.signed(self.authority, read_request(credentials.ask()))
        credentials.receive(answer, self.authority.folder / "ca.pem", self._now())
        credentials.take_over()
        return credentials.client.read_bytes()


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
