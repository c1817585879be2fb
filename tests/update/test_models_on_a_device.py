"""A whole device takes models from the broker, starts anew with them, and recognises by them."""

import threading

import pytest

from demo import scene
from demo.broker import running_broker
from edge import config as configuration
from edge import limits
from edge.app import Device
from edge.config import BrokerConfig
from edge.inference.manifest import SHIPPED, load_manifest
from edge.link.session import Link
from edge.protocol import event, model_bundle, topics, update
from edge.vision.engine import Vision
from fleet import broker, devices
from fleet.repository import Repository
from tests.kit import make_owner, publish, write_config
from tests.update.kit import DETECTOR, shipped


class Reader:
    """Whoever reads what the device reports."""

    def __init__(self, fleet, port):
        self._key = devices.read(fleet / "devices.json")["camera-1"].device_key
        self.models, self._events = [], []
        self._changed = threading.Condition()
        self.link = Link(BrokerConfig(port=port), "reader")
        self.link.subscribe(topics.update("lethe", "camera-1"), self._take_update, 65536)
        self.link.subscribe(topics.event("lethe", "camera-1"), self._take_event, 65536)
        connected = threading.Event()
        self.link.on_connected(connected.set)
        self.link.start()
        assert connected.wait(60)

    def _take_update(self, _topic, payload):
        with self._changed:
            self.models.append(update.decode(payload, "camera-1", [self._key]).models)
            self._changed.notify_all()

    def _take_event(self, _topic, payload):
        with self._changed:
            self._events.append(event.parse(payload).data)
            self._changed.notify_all()

    def candidates(self):
        return [data for data in self._events if isinstance(data, event.Candidate)]

    def wait(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, 60), (self.models, self._events)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(limits, "UPDATE_CHECK_S", 0.05)
    monkeypatch.setattr(limits, "HEALTH_S", 0.05)


def test_models_from_the_broker_are_what_the_device_recognises_by(tmp_path, clip, hurried):
    owner = make_owner(tmp_path / "owner", Vision.open(), scene.ENROLLED)
    fleet = tmp_path / "owner-fleet"
    files = shipped(embedder="sface-2021dec")
    with running_broker() as port:
        repository = Repository.existing(fleet)
        repository.put("models", model_bundle.target_path("default"), model_bundle.encode(files))
        repository.seal_state()
        repository.save()
        broker.publish(repository, BrokerConfig(port=port))
        reader = Reader(fleet, port)
        config = configuration.load(write_config(tmp_path, clip, port, owner))
        assert Device(config).run().again, "without a list it waits, and starts anew with models"
        publish(owner, port)
        report = Device(config).run()
        reader.wait(lambda: reader.models[-1].state == "current" and reader.candidates())
        reader.link.close()
    assert not report.again
    assert report.candidates == 1
    sha256 = load_manifest(SHIPPED).detector(DETECTOR)[1].sha256
    (found,) = reader.candidates()
    assert found.models[DETECTOR] == sha256[:16], "the shipped default is another detector"
    assert reader.models[-1].active != "shipped"
    log = "".join(path.read_text() for path in (tmp_path / "state/audit").iterdir())
    assert '"what":"models"' in log
