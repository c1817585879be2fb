"""The mosquitto configuration that ships: TLS, who may do what, what the doctor says of it."""

import queue
import re
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo.broker import free_port
from edge import limits
from edge.config import BrokerConfig, parse
from edge.health import broker as examination
from edge.link.session import Link
from edge.protocol import list_key, topics
from fleet import broker
from fleet.repository import Repository
from tests.conftest import SHIPPED, Mosquitto
from tests.fleet_kit import ROOT, Fleet, Follower, listing
from tests.link.test_session import until
from tests.protocol.test_sealed_list import people

DEPLOY = SHIPPED.parent


class Authority:
    """Signs certificates that name a device, the fleet, a reader, or the broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self._write("ca", self.key, self._build("authority", self.key.public_key(), ca=True))

    def issue(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(name, key, self._build(name, key.public_key(), ca=False))

    def config(self, port: int, name: str) -> BrokerConfig:
        if not (self.folder / f"{name}.pem").exists():
            self.issue(name)
        return BrokerConfig(
            port=port,
            ca_file=str(self.folder / "ca.pem"),
            cert_file=str(self.folder / f"{name}.pem"),
            key_file=str(self.folder / f"{name}.key"),
        )

    def _build(self, name, public, *, ca):
        now = datetime.now(UTC)
        loopback = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(loopback, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name, key, certificate):
        pem = serialization.Encoding.PEM
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        file = self.folder / f"{name}.key"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


class Shipped(Mosquitto):
    """mosquitto with all of the shipped files; only folders and the port are the test's."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        text = (DEPLOY / "lethe.conf").read_text() + (DEPLOY / "tls.conf").read_text()
        text = text.replace("/etc/mosquitto/lethe", str(folder))
        text = text.replace("/var/lib/mosquitto", str(folder))
        text = re.sub(r"^listener 8883$", f"listener {self.port} 127.0.0.1", text, flags=re.M)
        self._config.write_text(f"user root\n{text}")
        (folder / "acl").write_text((DEPLOY / "acl").read_text())
        self._process = None


@pytest.fixture
def deployed(mosquitto_folder):
    authority = Authority(mosquitto_folder)
    authority.issue("broker")
    server = Shipped(mosquitto_folder)
    server.start()
    server.config = lambda name: authority.config(server.port, name)
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


@pytest.mark.parametrize(
    ("name", "topic", "allowed"),
    [
        ("camera-1", topics.event(ROOT, "camera-1"), True),
        ("camera-1", topics.event(ROOT, "camera-2"), False),
        ("camera-1", topics.trust(ROOT, topics.TIMESTAMP), False),
        ("reader", topics.event(ROOT, "camera-1"), False),
        ("reader", topics.trust(ROOT, topics.TIMESTAMP), False),
        ("fleet", topics.event(ROOT, "camera-1"), False),
    ],
)
def test_who_may_publish_what(deployed, name, topic, allowed):
    got, seen = queue.SimpleQueue(), []
    reader = session(deployed.config("reader"), "reader")
    fleet = session(deployed.config("fleet"), "fleet")
    for link in (reader, fleet):
        link.subscribe(f"{ROOT}/#", lambda topic, payload: got.put((topic, payload)), 100)
    sender = session(deployed.config(name), name)
    marker = session(deployed.config("camera-9"), "camera-9")

    def passed(word):
        """Whether what both listeners get of a word has come: everything before it has, too."""
        marker.publish(topics.event(ROOT, "camera-9"), word)
        fleet.publish(topics.trust(ROOT, "marker"), word)
        while not got.empty():
            seen.append(got.get())
        return {topics.event(ROOT, "camera-9"), topics.trust(ROOT, "marker")} <= {
            topic for topic, payload in seen if payload == word
        }

    until(lambda: passed(b"begin"))
    taken = threading.Event()
    sender.on_acknowledged(lambda _: taken.set())
    sender.publish(topic, b"tried")
    assert taken.wait(10), "a broker acknowledges what it then drops, too"
    until(lambda: passed(b"end"))
    assert ((topic, b"tried") in seen) is allowed
    for link in (reader, fleet, sender, marker):
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
                for name in ("port", "ca_file", "cert_file", "key_file")
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
