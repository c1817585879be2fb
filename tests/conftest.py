"""Real brokers for whoever needs one."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import settings

from demo import scene
from demo.broker import free_port, running_broker

SHIPPED = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto" / "lethe.conf"
settings.register_profile("lethe", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("lethe")

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Mosquitto:
    """A mosquitto on loopback that can be killed and started again on the same port."""

    def __init__(self, folder: Path, *settings: str) -> None:
        """Prepare one: as this project ships its configuration, or with other settings."""
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = settings or (
            "allow_anonymous true",
            SHIPPED.read_text("utf-8"),
            f"persistence_location {folder}/",
        )
        self._config.write_text(
            "\n".join((f"listener {self.port} 127.0.0.1", "user root", *lines, "")), "utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        patience = time.monotonic() + 60
        while time.monotonic() < patience:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise TimeoutError("mosquitto did not start")

    def hang(self) -> None:
        """Leave its connections open and answer nothing, until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Stop it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


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
