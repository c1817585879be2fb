"""What Home Assistant is told: topics that are there anyway, read by templates that hold."""

import json
import queue
import re
from pathlib import Path

import pytest

from edge.config import BrokerConfig
from edge.link.session import Link
from edge.link.status import StatusPublisher
from edge.protocol import event, topics
from edge.protocol.home_assistant import discovery, discovery_topic

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = discovery("lethe", "gate-3", profile="fixed", software="1")


def test_every_topic_that_is_named_is_one_of_the_device():
    found = set(re.findall(r"lethe/device/[^\"]+", json.dumps(DOCUMENT)))
    assert found == {
        topic("lethe", "gate-3")
        for topic in (topics.event, topics.status, topics.telemetry, topics.update)
    }


def test_the_names_are_unique_and_those_of_the_documentation():
    ids = [component["unique_id"] for component in DOCUMENT["components"].values()]
    assert len(set(ids)) == len(ids)
    assert all("state_topic" in c and "platform" in c for c in DOCUMENT["components"].values())
    assert {"device", "origin", "components"} <= set(DOCUMENT)


def test_every_kind_of_event_that_is_shown_exists():
    template = DOCUMENT["components"]["candidate"]["value_template"]
    shown = set(re.findall(r"lethe\.[a-z]+\.[a-z]+\.v1", template))
    assert shown < set(event.KINDS)


def test_nothing_is_installed_from_there():
    """Home Assistant offers an update's installation where there is a command topic."""
    assert "command_topic" not in json.dumps(DOCUMENT["components"]["update"])


@pytest.mark.parametrize("device", ["gate-3", "a.b", "A_b-c.9"])
def test_the_topic_is_one_that_home_assistant_takes(device):
    # homeassistant/components/mqtt/discovery.py, TOPIC_MATCHER
    assert re.fullmatch(
        r"homeassistant/(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?"
        r"(?P<object_id>[a-zA-Z0-9_-]+)/config",
        discovery_topic("homeassistant", device),
    )


def test_it_is_retained(mosquitto):
    link = Link(BrokerConfig(port=mosquitto.port), "camera")
    topic = discovery_topic("homeassistant", "gate-3")
    StatusPublisher(link, topic).set(DOCUMENT)
    link.start()
    while not link.connected:
        pass
    got = queue.SimpleQueue()
    watcher = Link(BrokerConfig(port=mosquitto.port), "watcher")
    watcher.subscribe(topic, lambda _t, p: got.put(json.loads(p)), 65536)
    watcher.start()
    assert got.get(timeout=60) == DOCUMENT
    watcher.close()
    link.close()
