"""Who may write and read which topic: asked of a real mosquitto, with real certificates.

The table is whole: a topic that `edge.protocol.topics` makes and the table lacks fails the test.
"""

import gc
import inspect
import queue
import re
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.home_assistant import discovery_topic
from tests.brokers import Shipped
from tests.fleet_kit import ROOT
from tests.link.test_deployment import session
from tests.link.test_session import until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
HASH = "0" * 64
TRUST_PATHS = {
    "metadata": topics.TIMESTAMP,
    "target": topics.target("watchlist/gate.list", HASH),
    "piece": topics.piece("gate", HASH),
    "sentinel": topics.SENTINEL,
}
"""Below `trust`, what everyone reads who may connect: it is signed, and lists are encrypted."""
SELF, OTHER = "camera-1", "camera-2"
WHO = (SELF, "fleet", "authority", "operator", "reviewer", "reader")

# Function of `topics` that names a topic: who writes it, who reads it. "device": the one in it.
RULES = {
    "trust": ({"fleet"}, set(WHO)),
    "list_key": ({"fleet"}, {"device", "fleet"}),
    "probe": ({"device"}, {"device", "reader"}),
    "event": ({"device"}, {"reviewer", "reader"}),
    "telemetry": ({"device"}, {"operator", "reader"}),
    "status": ({"device"}, {"operator", "reader"}),
    "update": ({"device"}, {"fleet", "operator", "reader"}),
    "configuration": ({"device"}, {"fleet", "operator", "reader"}),
    # A device could write its own: what is not signed by an operator is no command.
    "command": ({"device", "operator"}, {"device", "reader"}),
    "command_to_all": ({"operator"}, set(WHO)),
    "answer": ({"device"}, {"operator", "reader"}),
    "switch": ({"device"}, {"reader"}),
    "enrol_request": ({"device", "authority"}, {"authority"}),
    "enrol_answer": ({"authority"}, {"device"}),
}
PATHS = {"target", "piece"}
"""Functions that name a path below `trust`."""


def topics_of(rule, device):
    """The topics of one rule, as they are for a device."""
    if rule == "trust":
        return [topics.trust(ROOT, path) for path in TRUST_PATHS.values()]
    if rule == "list_key":
        return [topics.trust(ROOT, topics.list_key("gate", HASH, device))]
    if rule == "command_to_all":
        return [topics.command_to_all(ROOT)]
    if rule == "probe":
        return [topics.probe(ROOT, device) + "1"]
    return [getattr(topics, rule)(ROOT, device)]


TABLE = {
    topic: tuple(
        {SELF if who == "device" else who for who in allowed if who != "device" or device == SELF}
        for allowed in RULES[rule]
    )
    for rule in RULES
    for device in (SELF, OTHER)
    for topic in topics_of(rule, device)
} | {f"{ROOT}/unheard-of": (set(), set()), "homeassistant/x": (set(), set())}
"""Topic to those of WHO that may write it, and those that may read it."""


@pytest.fixture(autouse=True)
def _sockets_of_refused_handshakes():
    """paho leaves them to the garbage collector: here, and not in the test after this one."""
    yield
    gc.collect()


@pytest.fixture
def deployed(mosquitto_folder):
    server = Shipped(mosquitto_folder)
    server.start()
    yield server
    server.kill()


def test_the_table_knows_every_topic():
    made = {
        name
        for name, function in inspect.getmembers(topics, inspect.isfunction)
        if function.__module__ == topics.__name__
    }
    assert made == set(RULES) | PATHS, "a topic without a rule: who may write and read it?"


def send(config, topic, payload):
    """Publish, and wait until the broker has seen to it.

    In a session of its own: mosquitto 2.0.11 acknowledges the first publication that it refuses,
    and ends the session at the second.
    """
    taken, connected = queue.SimpleQueue(), queue.SimpleQueue()
    link = Link(config, f"sends on {topic}")
    link.on_acknowledged(taken.put)
    link.on_connected(lambda: connected.put(True))
    link.start()
    connected.get(timeout=60)
    assert link.publish(topic, payload)
    taken.get(timeout=60)
    link.close()


def send_all(config, payload):
    """Publish on every topic."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda topic: send(config, topic, payload), TABLE))


def test_who_may_write_what(deployed):
    got = queue.SimpleQueue()
    observer = session(BrokerConfig(port=deployed.open_port), "observer")
    observer.subscribe("#", lambda topic, payload: got.put((topic, payload)), 100)
    until(lambda: observer.publish("seen", b"begin") and not got.empty())
    for who in WHO:
        send_all(deployed.config(who), who.encode())
    observer.publish("seen", b"end")
    seen = set(iter(lambda: got.get(timeout=60), ("seen", b"end")))
    observer.close()
    wrote = {topic: {who for who in WHO if (topic, who.encode()) in seen} for topic in TABLE}
    assert wrote == {topic: writers for topic, (writers, _) in TABLE.items()}


def test_who_may_read_what(deployed):
    everything = session(BrokerConfig(port=deployed.open_port), "everything")
    taken = queue.SimpleQueue()
    everything.on_acknowledged(taken.put)
    for topic in TABLE:
        everything.publish(topic, b"kept", retain=True)
    for _ in TABLE:
        taken.get(timeout=60)
    everything.close()
    read = {topic: set() for topic in TABLE}
    for who in WHO:
        own = next(topic for topic, (_, readers) in TABLE.items() if who in readers)
        got, link = queue.SimpleQueue(), session(deployed.config(who), who)
        link.route("#", lambda topic, _, got=got: got.put(topic), 100)
        link.request(["#"])
        link.request([own])  # comes last, and a second time
        seen = []
        while seen.count(own) < 2:
            seen.append(got.get(timeout=60))
        for topic in seen:
            read[topic].add(who)
        link.close()
    assert read == {topic: readers for topic, (_, readers) in TABLE.items()}


def test_with_home_assistants_lines_a_device_introduces_itself_and_nobody_else(mosquitto_folder):
    deployed = Shipped(mosquitto_folder)
    rules = (mosquitto_folder / "acl").read_text()
    before, mine, after = re.split(r"(?s)(#user homeassistant\n.*?\n)(?=\n)", rules)
    mine = mine.replace("#user", "user").replace("#topic", "topic")
    pattern = "pattern write homeassistant"
    (mosquitto_folder / "acl").write_text(before.replace(f"#{pattern}", pattern) + mine + after)
    deployed.start()
    got = queue.SimpleQueue()
    link = session(deployed.config("homeassistant"), "homeassistant")
    link.route("#", lambda topic, payload: got.put((topic, payload)), 100)
    link.request(["homeassistant/#", topics.status(ROOT, "+")])
    until(lambda: link.publish("homeassistant/status", b"online") and not got.empty())
    for name in (OTHER, SELF):
        for device in (SELF, OTHER):
            send(deployed.config(name), discovery_topic("homeassistant", device), name.encode())
        send(deployed.config(name), topics.status(ROOT, name), name.encode())
    seen = set(iter(lambda: got.get(timeout=60), (topics.status(ROOT, SELF), SELF.encode())))
    link.close()
    deployed.kill()
    assert {(topic, payload) for topic, payload in seen if payload != b"online"} == {
        *((discovery_topic("homeassistant", name), name.encode()) for name in (SELF, OTHER)),
        (topics.status(ROOT, OTHER), OTHER.encode()),
    }


def test_a_device_that_is_expected_may_ask_for_a_certificate_and_nothing_else(deployed, tmp_path):
    token = deployed.authority.invite(SELF)
    deployed.take_along()
    deployed.kill()
    deployed.start()  # or SIGHUP: it reads its passwords anew
    config = deployed.expected(SELF, token, tmp_path)
    got = queue.SimpleQueue()
    observer = session(BrokerConfig(port=deployed.open_port), "observer")
    observer.subscribe("#", lambda topic, _: got.put(topic), 100)
    until(lambda: observer.publish("seen", b"begin") and not got.empty())
    send_all(config, b"new")
    observer.publish("end", b"")
    wrote = set(iter(lambda: got.get(timeout=60), "end")) - {"seen"}
    assert wrote == {topics.enrol_request(ROOT, SELF)}
    for topic in TABLE:
        observer.publish(topic, b"kept", retain=True)
    read = queue.SimpleQueue()
    observer.publish("end", b"")
    assert set(iter(lambda: got.get(timeout=60), "end")) >= set(TABLE)  # all of it is retained
    link = session(config, "new")
    link.route("#", lambda topic, _: read.put(topic), 100)
    link.request(["#"])
    link.request([topics.enrol_answer(ROOT, SELF)])
    assert [read.get(timeout=60) for _ in range(2)] == [topics.enrol_answer(ROOT, SELF)] * 2
    link.close()
    observer.close()


@pytest.mark.parametrize("how", ["revoked", "of another authority", "none", "password over"])
def test_who_is_refused(deployed, tmp_path, how):
    config = deployed.config(SELF)
    if how == "revoked":
        session(config, "before").close()
        assert deployed.authority.revoke(SELF) == 1
        deployed.take_along()
        deployed.kill()
        deployed.start()
        session(deployed.config(OTHER), "still").close()
    elif how == "of another authority":
        (tmp_path / "other").mkdir()
        other = Shipped(tmp_path / "other").config(SELF)
        config = msgspec.structs.replace(config, cert_file=other.cert_file)
    elif how == "none":
        config = msgspec.structs.replace(config, cert_file=None)
    else:
        config = deployed.expected(SELF, deployed.authority.invite(SELF), tmp_path)
    refused = queue.SimpleQueue()
    link = Link(config, "refused")
    link.on_lost(lambda: refused.put(True))
    link.start()
    assert refused.get(timeout=60)
    assert not link.connected
    link.close()
