"""The session with a real broker that dies and comes back."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demo.broker import running_broker
from edge.config import BrokerConfig
from edge.errors import BrokerUnavailable, ConfigError
from edge.events.outbox import Outbox
from edge.events.publisher import Publisher
from edge.files import write_atomically
from edge.link.session import Link
from edge.link.status import StatusPublisher
from edge.protocol import event, topics
from edge.protocol.status import OFFLINE, Status
from fleet import publish
from fleet.events import listen, receive
from tests.conftest import MOSQUITTO, Mosquitto

KEY = Ed25519PrivateKey.generate()
TOPIC = topics.event("lethe", "camera-1")
ROOT = Path(__file__).resolve().parents[2]


def sign(data, sequence):
    return event.encode(
        event.make(data, device="camera-1", sequence=sequence, now=time.time(), key=KEY)
    )


def note(number):
    return event.Gap(lost=number, reason="test")


def until(condition, seconds=10.0):
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.01)


class Device:
    """Outbox, session and publisher of a device."""

    def __init__(self, folder, port):
        self.outbox = Outbox(folder / "outbox.db", sign, now=time.time)
        self.link = Link(BrokerConfig(port=port), "camera-1")
        self.publisher = Publisher(self.outbox, self.link, TOPIC)
        self.link.start()
        self.publisher.start()

    def put(self, *numbers):
        for number in numbers:
            self.outbox.put(note(number))
            self.publisher.wake()

    def close(self):
        self.publisher.close()
        self.link.close()
        self.outbox.close()


def reader(port):
    received = queue.SimpleQueue()
    link = listen(BrokerConfig(port=port), received.put, trusted=[KEY.public_key()])
    until(lambda: link.connected)
    time.sleep(0.1)  # the subscription is on its way
    return link, received


def take(received, count):
    return [received.get(timeout=10).event.data.lost for _ in range(count)]


def test_events_arrive_in_order_and_leave_the_disk(tmp_path, mosquitto):
    link, received = reader(mosquitto.port)
    device = Device(tmp_path, mosquitto.port)
    device.put(1, 2, 3)
    assert take(received, 3) == [1, 2, 3]
    assert device.publisher.flush(10)
    device.close()
    link.close()
    assert received.empty()


def test_a_broker_that_is_down_at_the_start_gets_them_later(tmp_path, mosquitto, caplog):
    mosquitto.kill()
    device = Device(tmp_path, mosquitto.port)
    device.put(1, 2)
    until(lambda: "cannot be reached" in caplog.text)
    assert len(device.outbox) == 2
    mosquitto.start()
    link, received = reader(mosquitto.port)
    device.put(3)
    until(lambda: not len(device.outbox))
    # The first two may have gone before anybody listened; the third has not.
    assert take(received, 1)[0] in (1, 3)
    device.close()
    link.close()


def test_a_broker_killed_in_the_middle_gets_the_rest_in_order(tmp_path, mosquitto):
    device = Device(tmp_path, mosquitto.port)
    device.put(1)
    until(lambda: not len(device.outbox))
    mosquitto.kill()
    until(lambda: not device.link.connected)
    device.put(2, 3, 4)
    assert len(device.outbox) == 3
    mosquitto.start()
    link, received = reader(mosquitto.port)
    found = []
    until(lambda: not len(device.outbox), 20)
    while not received.empty():
        found += take(received, 1)
    assert found == sorted(set(found)), "in order, each once"
    assert set(found) <= {2, 3, 4}
    device.close()
    link.close()


def test_a_new_process_delivers_what_the_last_one_could_not(tmp_path, mosquitto):
    mosquitto.kill()
    first = Device(tmp_path, mosquitto.port)
    first.put(1, 2)
    ids = [event.parse(s.message).envelope.id for s in first.outbox.pending(9)]
    first.close()
    mosquitto.start()
    link, received = reader(mosquitto.port)
    second = Device(tmp_path, mosquitto.port)
    found = [received.get(timeout=10) for _ in range(2)]
    assert [r.event.envelope.id for r in found] == ids
    assert all(r.trusted for r in found)
    second.close()
    link.close()


def test_the_embedded_broker_takes_events_too(tmp_path):
    with running_broker() as port:
        link, received = reader(port)
        device = Device(tmp_path, port)
        device.put(1, 2)
        assert take(received, 2) == [1, 2]
        device.close()
        link.close()


def test_the_embedded_broker_keeps_a_list_of_the_largest_size_that_is_likely():
    message = bytes(range(256)) * (12 * 1024 * 4)
    got = queue.SimpleQueue()
    with running_broker() as port:
        topic = publish.publish(message, "gate", BrokerConfig(port=port))
        link = Link(BrokerConfig(port=port), "x")
        link.subscribe(topic, lambda _t, p: got.put(p), len(message))
        link.start()
        assert got.get(timeout=30) == message
        link.close()


def certify(folder, name):
    """Write a self-signed certificate for loopback and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(loopback, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(folder / f"{name}.pem", certificate.public_bytes(pem))
    write_atomically(folder / f"{name}.key", private)
    return folder / f"{name}.pem", folder / f"{name}.key"


@pytest.fixture
def guarded(tmp_path):
    """A mosquitto that asks for TLS, a certificate, a name and a password: how to reach it."""
    if MOSQUITTO is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    pem, key_file = certify(tmp_path, "broker")
    passwords = tmp_path / "passwords"
    write_atomically(tmp_path / "password", b"open sesame\n")
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "camera", "open sesame"], check=True)
    broker = Mosquitto(
        tmp_path, f"cafile {pem}", f"certfile {pem}", f"keyfile {key_file}",
        "require_certificate true", f"password_file {passwords}",
    )  # fmt: skip
    broker.start()
    yield {
        "port": broker.port, "ca_file": str(pem), "cert_file": str(pem),
        "key_file": str(key_file), "username": "camera",
        "password_file": str(tmp_path / "password"),
    }  # fmt: skip
    broker.kill()


def test_tls_with_a_certificate_and_a_password(guarded):
    got = queue.SimpleQueue()
    link = Link(BrokerConfig(**guarded), "x")
    link.subscribe("t", lambda _t, p: got.put(p), 10)
    link.start()
    until(lambda: link.connected)
    link.publish("t", b"1")
    assert got.get(timeout=10) == b"1"
    link.close()


def test_a_wrong_password_is_said(guarded, tmp_path, caplog):
    (tmp_path / "password").write_text("guess")
    link = Link(BrokerConfig(**guarded), "x")
    link.start()
    until(lambda: "refuses the session: Not authorized" in caplog.text)
    assert not link.connected
    assert "guess" not in caplog.text
    link.close()


# paho leaves the socket of a refused handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_with_another_certificate_is_not_taken(guarded, tmp_path, caplog):
    other, _ = certify(tmp_path, "other")
    link = Link(BrokerConfig(**guarded | {"ca_file": str(other)}), "x")
    link.start()
    until(lambda: "cannot be reached" in caplog.text)
    assert not link.connected
    link.close()


WILL = """
import sys, time
from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol.status import OFFLINE
link = Link(BrokerConfig(port=int(sys.argv[1])), "camera-1", will=(sys.argv[2], OFFLINE))
link.start()
while not link.connected:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(60)
"""


def test_the_will_of_a_killed_device_is_published(mosquitto):
    statuses = queue.SimpleQueue()
    watcher = Link(BrokerConfig(port=mosquitto.port), "watcher")
    watcher.subscribe(topics.status("lethe", "+"), lambda _t, p: statuses.put(p), 999)
    watcher.start()
    until(lambda: watcher.connected)
    with subprocess.Popen(
        [sys.executable, "-c", WILL, str(mosquitto.port), topics.status("lethe", "camera-1")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as device:  # fmt: skip
        assert device.stdout.readline() == "ready\n"
        assert statuses.empty()
        os.kill(device.pid, signal.SIGKILL)
        assert statuses.get(timeout=10) == OFFLINE
    watcher.close()


def test_the_status_is_retained_and_told_again_after_each_connection(mosquitto):
    topic = topics.status("lethe", "camera-1")
    link = Link(BrokerConfig(port=mosquitto.port), "camera-1", will=(topic, OFFLINE))
    status = StatusPublisher(link, topic)
    status.set(Status(state="online", software="1", reasons=("no list",)))
    link.start()
    until(lambda: link.connected)
    mosquitto.kill()  # and with it what it retained: it kept nothing on disk
    until(lambda: not link.connected)
    mosquitto.start()
    until(lambda: link.connected)
    statuses = queue.SimpleQueue()
    watcher = Link(BrokerConfig(port=mosquitto.port), "watcher")
    watcher.subscribe(topic, lambda _t, p: statuses.put(json.loads(p)), 999)
    watcher.start()
    assert statuses.get(timeout=10)["reasons"] == ["no list"]
    status.set(Status(state="offline"))
    assert statuses.get(timeout=10)["state"] == "offline"
    link.close()
    time.sleep(0.1)
    assert statuses.empty(), "a clean end has no will"
    watcher.close()


def test_what_is_sent_is_counted_to_the_byte(mosquitto):
    link = Link(BrokerConfig(port=mosquitto.port), "x", will=("a/b", b"1234"))
    assert link.publish("c", b"56") is None
    link.start()
    until(lambda: link.connected)
    assert link.publish("c", b"56") is not None
    assert link.sent_bytes == 3 + 4 + 1 + 2
    link.close()


def test_an_oversize_message_is_dropped_and_said(mosquitto, caplog):
    got = queue.SimpleQueue()
    link = Link(BrokerConfig(port=mosquitto.port), "x")
    link.subscribe("big", lambda _t, p: got.put(p), 10)
    link.start()
    until(lambda: link.connected)
    link.publish("big", b"x" * 11)
    link.publish("big", b"y" * 10)
    assert got.get(timeout=10) == b"y" * 10
    assert "message of 11 bytes on big dropped: at most 10" in caplog.text
    link.close()


def test_a_callback_that_fails_does_not_end_the_session(mosquitto, caplog):
    got = queue.SimpleQueue()

    def fail_once(_topic, payload):
        got.put(payload)
        if payload == b"1":
            raise RuntimeError("a bug")

    link = Link(BrokerConfig(port=mosquitto.port), "x")
    link.subscribe("t", fail_once, 10)
    link.start()
    until(lambda: link.connected)
    link.publish("t", b"1")
    link.publish("t", b"2")
    assert [got.get(timeout=10), got.get(timeout=10)] == [b"1", b"2"]
    assert "a bug" in caplog.text
    link.close()


def test_publishing_a_list_without_a_broker_says_where_it_was_looked_for(mosquitto):
    mosquitto.kill()
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{mosquitto.port}"):
        publish.publish(b"x", "gate", BrokerConfig(port=mosquitto.port), timeout=0.3)


def test_a_published_list_is_retained(mosquitto):
    topic = publish.publish(b"a list", "gate", BrokerConfig(port=mosquitto.port))
    got = queue.SimpleQueue()
    link = Link(BrokerConfig(port=mosquitto.port), "x")
    link.subscribe(topic, lambda _t, p: got.put(p), 10)
    link.start()
    assert got.get(timeout=10) == b"a list"
    link.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"username": "u", "password_file": "missing"}, "cannot be read"),
        ({"username": "u", "password_file": "open"}, "readable by others"),
        ({"ca_file": "missing"}, "TLS"),
        ({"ca_file": "closed"}, "TLS"),
        ({"ca_file": "closed", "key_file": "open"}, "readable by others"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(tmp_path, changes, says):
    (tmp_path / "open").write_text("secret")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "closed").write_text("no certificate")
    (tmp_path / "closed").chmod(0o600)
    files = {k: v if k == "username" else str(tmp_path / v) for k, v in changes.items()}
    with pytest.raises(ConfigError, match=says) as refusal:
        Link(BrokerConfig(**files), "x")
    assert "secret" not in str(refusal.value)


def test_garbage_on_the_event_topic_is_no_event():
    for message in (b"", b"\xff", b"{}", b"[" * 9999, sign(note(1), 1)[:-5]):
        received = receive(message, [KEY.public_key()])
        assert not received.trusted
        assert received.problem
