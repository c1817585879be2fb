"""The session with a real broker that dies and comes back."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge import limits
from edge.config import BrokerConfig
from edge.errors import ConfigError, StorageUnavailable
from edge.events.outbox import Outbox
from edge.events.publisher import Publisher
from edge.files import write_atomically
from edge.link import session
from edge.link.session import Link
from edge.link.status import StatusPublisher
from edge.protocol import event, topics
from edge.protocol.status import OFFLINE, Status
from fleet.events import Reader, listen
from fleet.ledger import Keys
from hil_tests.proxy import Proxy
from tests.brokers import Mosquitto

KEY = Ed25519PrivateKey.generate()
TOPIC = topics.event("lethe", "camera-1")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(limits, "MQTT_RETRY_FIRST_S", 0.1)
    monkeypatch.setattr(limits, "MQTT_RETRY_MAX_S", 0.2)


def sign(data, sequence):
    return event.encode(
        event.make(data, device="camera-1", sequence=sequence, now=time.time(), key=KEY)
    )


def note(number):
    return event.Gap(lost=number, reason="test")


def until(condition, seconds=60.0):
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
    link = listen(BrokerConfig(port=port), received.put, keys=Keys(any=[KEY.public_key()]))
    until(lambda: link.connected)
    time.sleep(0.1)  # the subscription is on its way
    return link, received


def take(received, count):
    return [received.get(timeout=60).event.data.lost for _ in range(count)]


@pytest.fixture
def lasting(mosquitto_folder):
    """A mosquitto that remembers on disk who has subscribed, and a reader it remembers.

    What the reader receives is then all that the broker took, from its first moment on.
    """
    broker = Mosquitto(
        mosquitto_folder, "allow_anonymous true", "persistence true",
        f"persistence_location {mosquitto_folder}/",
        "autosave_on_changes true", "autosave_interval 1",
    )  # fmt: skip
    broker.start()
    broker.received = queue.SimpleQueue()
    client = Client(CallbackAPIVersion.VERSION2, client_id="lasting-reader", clean_session=False)
    client.on_message = lambda _c, _d, message: broker.received.put(event.parse(message.payload))
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.reconnect_delay_set(0.1, 0.1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    saved = mosquitto_folder / "mosquitto.db"
    until(lambda: saved.exists() and TOPIC.encode() in saved.read_bytes())  # not the client alone
    yield broker
    client.disconnect()
    client.loop_stop()
    broker.kill()


def ids_and_numbers(received, last):
    """What came until `last`, each id once: a second delivery has the same."""
    found = {}
    while last not in found.values():
        each = received.get(timeout=60)
        event.verify(each, trusted=[KEY.public_key()], now=time.time())
        found[each.envelope.id] = each.data.lost
    return found


def numbers(received, last):
    return list(ids_and_numbers(received, last).values())


def test_events_arrive_in_order_and_leave_the_disk(tmp_path, mosquitto):
    link, received = reader(mosquitto.port)
    device = Device(tmp_path, mosquitto.port)
    device.put(1, 2, 3)
    assert take(received, 3) == [1, 2, 3]
    assert device.publisher.flush(10)
    device.close()
    link.close()
    assert received.empty()


def test_many_are_under_way_at_once_and_stay_in_order(tmp_path, lasting):
    lasting.kill()
    device = Device(tmp_path, lasting.port)
    device.outbox.put_all([note(n) for n in range(1, 501)])
    lasting.start()
    device.publisher.wake()
    found = ids_and_numbers(lasting.received, 500)
    assert list(found.values()) == list(range(1, 501))
    assert list(found) == sorted(found)
    assert device.publisher.flush(10)
    assert not device.publisher._under_way
    device.close()


def test_what_the_disk_will_not_forget_is_not_sent_twice(tmp_path, mosquitto, monkeypatch):
    link, received = reader(mosquitto.port)
    device = Device(tmp_path, mosquitto.port)
    delete = device.outbox.delete

    def refuse(*_):
        raise StorageUnavailable("read-only")

    monkeypatch.setattr(device.outbox, "delete", refuse)
    device.put(1)
    assert take(received, 1) == [1]
    until(lambda: device.publisher._done == {1})
    device.put(2)
    assert take(received, 1) == [2], "what cannot be forgotten keeps nothing from being sent"
    until(lambda: device.publisher._done == {1, 2})
    monkeypatch.setattr(device.outbox, "delete", delete)
    device.put(3)
    assert take(received, 1) == [3]
    assert device.publisher.flush(10)
    device.close()
    link.close()
    assert received.empty()


def test_a_broker_that_is_down_at_the_start_gets_them_later(tmp_path, lasting, caplog):
    lasting.kill()
    device = Device(tmp_path, lasting.port)
    device.put(1, 2)
    until(lambda: "cannot be reached" in caplog.text)
    assert len(device.outbox) == 2
    lasting.start()
    device.put(3)
    assert numbers(lasting.received, 3) == [1, 2, 3]
    assert device.publisher.flush(10)
    device.close()


def test_a_broker_killed_in_the_middle_gets_the_rest_in_order(tmp_path, lasting):
    device = Device(tmp_path, lasting.port)
    device.put(1)
    assert numbers(lasting.received, 1) == [1]
    assert device.publisher.flush(10)
    lasting.kill()
    device.put(2, 3, 4)
    assert len(device.outbox) == 3
    lasting.start()
    assert numbers(lasting.received, 4) == [2, 3, 4]
    assert device.publisher.flush(10)
    device.close()


def test_an_event_that_was_sent_but_not_acknowledged_is_kept_and_sent_again(tmp_path, lasting):
    device = Device(tmp_path, lasting.port)
    until(lambda: device.link.connected)
    lasting.hang()
    device.put(1, 2)
    until(lambda: device.link.sent_bytes > 0)
    assert len(device.outbox) == 2
    lasting.kill()
    lasting.start()
    assert numbers(lasting.received, 2) == [1, 2]
    assert device.publisher.flush(10)
    device.close()


def test_a_broker_that_answers_nothing_is_sent_the_event_again_under_the_same_id(
    tmp_path, lasting, monkeypatch
):
    monkeypatch.setattr(limits, "PUBLISH_ACK_S", 0.2)
    monkeypatch.setattr(limits, "PUBLISH_RETRY_S", 0.1)
    device = Device(tmp_path, lasting.port)
    until(lambda: device.link.connected)
    lasting.hang()
    device.put(1)
    until(lambda: device.link.sent_bytes > 0)
    once = device.link.sent_bytes
    until(lambda: device.link.sent_bytes >= 2 * once)
    lasting.kill()
    lasting.start()
    device.put(2)
    assert numbers(lasting.received, 2) == [1, 2]
    device.close()


def test_an_old_acknowledgement_with_the_same_number_is_not_taken_for_the_event(
    tmp_path, mosquitto
):
    device = Device(tmp_path, mosquitto.port)
    acknowledged = queue.SimpleQueue()
    device.link.on_acknowledged(acknowledged.put)
    until(lambda: device.link.connected)
    number = device.link.publish("status", b"1")
    assert acknowledged.get(timeout=60) == number
    mosquitto.hang()
    device.link._client._last_mid = number - 1  # as 65,535 publications later
    device.put(1)
    until(lambda: device.link.sent_bytes > len(TOPIC) + len("status1"))
    device.publisher.close()
    assert len(device.outbox) == 1
    mosquitto.kill()
    device.link.close()
    device.outbox.close()


def test_a_new_process_delivers_what_the_last_one_could_not(tmp_path, lasting):
    lasting.kill()
    first = Device(tmp_path, lasting.port)
    first.put(1, 2)
    ids = [event.parse(s.message).envelope.id for s in first.outbox.pending(9)]
    first.close()
    lasting.start()
    second = Device(tmp_path, lasting.port)
    assert list(ids_and_numbers(lasting.received, 2)) == ids
    second.close()


KILLED = """
import sys, time
from pathlib import Path
from edge.config import BrokerConfig
from edge.events.outbox import Outbox
from edge.events.publisher import Publisher
from edge.link.session import Link
from edge.protocol import event
from tests.link.test_session import TOPIC, sign
outbox = Outbox(Path(sys.argv[1]) / "outbox.db", sign, now=time.time)
link = Link(BrokerConfig(port=int(sys.argv[2])), "camera-1")
Publisher(outbox, link, TOPIC).start()
link.start()
while not link.connected:
    time.sleep(0.01)
print("connected", flush=True)
sys.stdin.readline()
for number in (1, 2):
    outbox.put(event.Gap(lost=number, reason="test"))
while not link.sent_bytes:
    time.sleep(0.01)
print(*(event.parse(stored.message).envelope.id for stored in outbox.pending(9)), flush=True)
time.sleep(60)
"""


def test_a_process_killed_before_the_acknowledgement_leaves_its_events_to_the_next(
    tmp_path, lasting
):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(lasting.port)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "connected\n"
        lasting.hang()
        process.stdin.write("go on\n")
        ids = process.stdout.readline().split()
        process.kill()
    assert len(ids) == 2
    lasting.kill()
    lasting.start()
    device = Device(tmp_path, lasting.port)
    assert device.publisher.flush(20)
    device.close()
    assert [lasting.received.get(timeout=60).envelope.id for _ in ids] == ids


def test_a_damaged_outbox_is_told_to_the_reader(tmp_path, lasting):
    (tmp_path / "outbox.db").write_bytes(b"no database at all")
    device = Device(tmp_path, lasting.port)
    device.put(7)
    gap, seven = ids_and_numbers(lasting.received, 7).items()
    assert (gap[1], seven[1]) == (0, 7)
    assert gap[0] < seven[0]
    device.close()


def test_the_embedded_broker_takes_events_too(tmp_path, embedded_broker):
    link, received = reader(embedded_broker)
    device = Device(tmp_path, embedded_broker)
    device.put(1, 2)
    assert take(received, 2) == [1, 2]
    device.close()
    link.close()


def test_the_embedded_broker_keeps_a_message_of_the_largest_size_that_is_likely(embedded_broker):
    """A model is one."""
    message = bytes(range(256)) * (12 * 1024 * 4)
    got = queue.SimpleQueue()
    link = Link(BrokerConfig(port=embedded_broker), "x")
    link.route("model", lambda _t, p: got.put(p), len(message))
    link.start()
    until(lambda: link.connected)
    assert link.publish("model", message, retain=True) is not None
    assert link.request(["model"])
    assert got.get(timeout=60) == message
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
def guarded(tmp_path, mosquitto_folder):
    """A mosquitto that asks for TLS, a certificate, a name and a password: how to reach it."""
    pem, key_file = certify(tmp_path, "broker")
    passwords = tmp_path / "passwords"
    write_atomically(tmp_path / "password", b"open sesame\n")
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "camera", "open sesame"], check=True)
    broker = Mosquitto(
        mosquitto_folder, f"cafile {pem}", f"certfile {pem}", f"keyfile {key_file}",
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
    assert got.get(timeout=60) == b"1"
    link.close()


def test_a_slow_network_has_time_for_its_handshake(guarded, monkeypatch):
    """paho's own patience is 5 s, which two seconds each way use up: here both are scaled down."""

    class Hasty(session.Client):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.connect_timeout = 0.1

    monkeypatch.setattr(session, "Client", Hasty)
    way = Proxy("127.0.0.1", guarded["port"])
    way.delay = 0.2
    way.start()
    link = Link(BrokerConfig(**guarded | {"port": way.port}), "x")
    link.start()
    until(lambda: link.connected)
    link.close()
    way.close()


def test_one_that_is_closed_while_it_connects_leaves_no_socket(mosquitto, monkeypatch):
    connecting, go, opened = threading.Event(), threading.Event(), []
    connect = socket.create_connection

    def slow(*arguments, **options):
        connecting.set()
        assert go.wait(10)
        opened.append(connect(*arguments, **options))
        return opened[0]

    monkeypatch.setattr(socket, "create_connection", slow)
    link = Link(BrokerConfig(host="127.0.0.1", port=mosquitto.port), "x")
    link.start()
    assert connecting.wait(10)
    closing = threading.Thread(target=link.close)
    closing.start()
    time.sleep(0.1)  # it has asked for the end, and waits for the thread that connects
    go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert opened[0].fileno() == -1


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
        assert statuses.get(timeout=60) == OFFLINE
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
    assert statuses.get(timeout=60)["reasons"] == ["no list"]
    status.set(Status(state="offline"))
    assert statuses.get(timeout=60)["state"] == "offline"
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
    assert got.get(timeout=60) == b"y" * 10
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
    assert [got.get(timeout=60), got.get(timeout=60)] == [b"1", b"2"]
    assert "a bug" in caplog.text
    link.close()


def test_what_is_requested_comes_in_order_and_not_after_its_release(mosquitto):
    got = queue.SimpleQueue()
    link = Link(BrokerConfig(port=mosquitto.port), "x")
    link.route("t/#", lambda t, p: got.put((t, p)), 10)
    assert not link.request(["t/1"]), "no connection yet"
    link.start()
    until(lambda: link.connected)
    for name in ("t/2", "t/1", "t/3"):
        link.publish(name, name.encode(), retain=True)
    assert link.request(["t/3", "t/1"])
    assert [got.get(timeout=60) for _ in range(2)] == [("t/3", b"t/3"), ("t/1", b"t/1")]
    link.release(["t/3", "t/1"])
    link.publish("t/1", b"later", retain=True)
    assert link.request(["t/2"])
    assert got.get(timeout=60) == ("t/2", b"t/2")
    link.close()


def test_a_lost_connection_is_told(mosquitto):
    lost = queue.SimpleQueue()
    link = Link(BrokerConfig(port=mosquitto.port), "x")
    link.on_lost(lambda: lost.put(True))
    link.start()
    until(lambda: link.connected)
    mosquitto.kill()
    assert lost.get(timeout=60)
    link.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"username": "u", "password_file": "missing"}, "cannot be read"),
        ({"username": "u", "password_file": "open"}, "readable by others"),
        ({"ca_file": "missing"}, "TLS"),
        ({"ca_file": "closed"}, "TLS"),
        ({"ca_file": "closed", "key_file": "open"}, "readable by others"),
        ({"ca_file": "good.pem", "cert_file": "missing", "key_file": "good.key"}, "TLS"),
        ({"ca_file": "good.pem", "cert_file": "good.pem", "key_file": "missing"}, "cannot be read"),
        ({"ca_file": "good.pem", "cert_file": "good.pem", "key_file": "other.key"}, "TLS"),
        ({"ca_file": "good.pem", "cert_file": "good.pem", "key_file": "closed"}, "TLS"),
        ({"username": "u", "password_file": "binary"}, "cannot be read"),
        ({"username": "u", "password_file": "huge"}, "cannot be read"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(tmp_path, changes, says):
    (tmp_path / "open").write_text("secret")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "closed").write_text("no certificate")
    (tmp_path / "closed").chmod(0o600)
    write_atomically(tmp_path / "binary", b"\xff\xfe")
    write_atomically(tmp_path / "huge", b"x" * (limits.MAX_KEY_FILE_BYTES + 1))
    certify(tmp_path, "good")
    certify(tmp_path, "other")
    files = {k: v if k == "username" else str(tmp_path / v) for k, v in changes.items()}
    with pytest.raises(ConfigError, match=says) as refusal:
        Link(BrokerConfig(**files), "x")
    assert "secret" not in str(refusal.value)


def test_garbage_on_the_event_topic_is_no_event():
    for message in (b"", b"\xff", b"{}", b"[" * 9999, sign(note(1), 1)[:-5]):
        received = Reader(Keys(any=[KEY.public_key()])).receive(message)
        assert not received.trusted
        assert received.problem
