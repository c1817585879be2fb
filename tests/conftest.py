"""Real brokers for whoever needs one."""

from __future__ import annotations

import pytest
from hypothesis import settings

from demo import scene
from demo.broker import running_broker
from tests.brokers import MOSQUITTO, Mosquitto

settings.register_profile("lethe", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("lethe")


def pytest_collection_modifyitems(items):
    for item in items:
        if "mosquitto_folder" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mosquitto)


@pytest.fixture
def mosquitto_folder(tmp_path):
    """Where a mosquitto may keep its files; whoever asks for it needs the program."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    return folder


@pytest.fixture
def mosquitto(mosquitto_folder):
    """A mosquitto as this project ships its configuration, but for TLS."""
    broker = Mosquitto(mosquitto_folder)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def embedded_broker():
    """The port of the broker of the demonstration."""
    with running_broker() as port:
        yield port


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """The scene of the demonstration, as a video file."""
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    scene.write(path)
    return path
