"""An update from the fleet's signature to the version that is kept: a real broker, TUF, HTTPS."""

import os
import subprocess
import threading
import time

import pytest

from edge import limits
from edge.audit.diary import Diary
from edge.audit.log import AuditLog
from edge.config import BrokerConfig, parse
from edge.health.clock import Clock
from edge.identity import device_key
from edge.link.session import Link
from edge.protocol import announcement, audit, topics, update
from edge.protocol.announcement import Rollout
from edge.trust.client import Trust
from edge.update.machine import Machine
from edge.update.open import Updates
from fleet import devices
from tests.fleet_kit import ROOT, Fleet
from tests.update.kit import announced
from tests.update.test_updater import INSTALL


class Camera:
    """camera-1 as far as its updates go, and root's part of its system."""

    def __init__(self, fleet, system, server, port):
        self.fleet, self.system = fleet, system
        state = fleet.state("camera-1")
        self.config = parse(
            {
                "device": {"id": "camera-1", "state_dir": str(state)},
                "camera": {"source": "x"}, "fleet": {"root": "x"}, "watchlist": {"id": "gate"},
                "broker": {"port": port}, "update": {"ca_file": str(server.ca)},
            }
        )  # fmt: skip
        self.link = Link(BrokerConfig(port=port), "lethe-camera-1")
        self.audit = AuditLog(state / "audit", now=time.time)
        started = audit.Started(device="camera-1", software="x", models={}, configuration="0" * 64)
        self.diary = Diary(self.audit, started, now=time.time)
        self.reasons = []
        self.trust = Trust(
            self.link, ROOT, fleet.root, state / "trust",
            on_refusal=lambda _name, reason: self.reasons.append(reason),
        )  # fmt: skip
        self.updates = Updates(
            self.config, Machine(system.root), self.link, self.trust,
            key=device_key(state), diary=self.diary,
            clock=Clock(state / "time.json", source=lambda: "test"),
            candidate=lambda: False, gallery=lambda: None,
            embedder=lambda: "", models=None, restart=lambda: None,
            now=time.time,
        )  # fmt: skip
        self._closing = threading.Event()
        self._root = threading.Thread(target=self._be_root)

    def __enter__(self):
        self.updates.start()
        self.trust.start()
        self.link.start()
        self._root.start()
        return self

    def __exit__(self, *_):
        self.updates.close()
        self.trust.close()
        self.link.close()
        self.diary.close()
        self._closing.set()
        self._root.join()

    def _be_root(self):
        folder = self.system.root / "var/lib/lethe/update"
        while not self._closing.wait(0.02):
            if (folder / "request").exists():
                subprocess.run(
                    [INSTALL], check=False,
                    env={
                        "PATH": f"{self.system.programs}:{os.environ['PATH']}",
                        "LETHE_UPDATES": str(folder),
                        "LETHE_RUN": str(self.system.root / "run/lethe-install"),
                    },
                )  # fmt: skip


class Watcher:
    """Whoever reads what the device reports, and checks its signature."""

    def __init__(self, fleet, port):
        self.key = devices.read(fleet.folder / "devices.json")["camera-1"].device_key
        self.said = []
        self.changed = threading.Condition()
        self.link = Link(BrokerConfig(port=port), "watcher")
        self.link.subscribe(topics.update(ROOT, "camera-1"), self._take, 65536)
        self.link.start()

    def _take(self, _topic, payload):
        with self.changed:
            self.said.append(update.decode(payload, "camera-1", [self.key]).software)
            self.changed.notify_all()

    def wait(self, state, reason=""):
        patience = time.monotonic() + 60
        with self.changed:
            while (
                not self.said
                or self.said[-1].state != state
                or reason not in (self.said[-1].reason)
            ):
                assert self.changed.wait(patience - time.monotonic()), self.said
        return self.said[-1]


def until(condition):
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(limits, "UPDATE_CHECK_S", 0.02)
    monkeypatch.setattr(limits, "TRUST_RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "fleet")


@pytest.fixture
def watcher(fleet, mosquitto):
    watcher = Watcher(fleet, mosquitto.port)
    yield watcher
    watcher.link.close()


def announce(fleet, port, made):
    with fleet.change() as repository:
        path = announcement.target_path("lethe-test")
        repository.put("firmware", path, made and announcement.encode(made))
    fleet.publish(port)


def test_an_update_is_announced_installed_started_and_kept(
    fleet, system, server, mosquitto, watcher
):
    good = announced(urls=(server.url(),))
    with Camera(fleet, system, server, mosquitto.port):
        watcher.wait("current")
        announce(fleet, mosquitto.port, good)
        assert watcher.wait("restarting").target == "1.1.0"
        until(lambda: "systemctl --no-block reboot" in system.called())
    system.start("1.1.0")
    with Camera(fleet, system, server, mosquitto.port) as camera:
        assert watcher.wait("trying").version == "1.1.0"
        system.kept()
        assert watcher.wait("current").version == "1.1.0"
        log = [path.read_text() for path in camera.fleet.state().rglob("audit/*")]
    assert '"kind":"updated"' in "".join(log)


def test_a_halted_roll_out_reaches_a_device_that_waits(fleet, system, server, mosquitto, watcher):
    with Camera(fleet, system, server, mosquitto.port):
        waiting = announced(urls=(server.url(),), rollout=Rollout(percent=0))
        announce(fleet, mosquitto.port, waiting)
        watcher.wait("waiting", "has reached 0 %")
        halted = announced(urls=(server.url(),), rollout=Rollout(halted="2 devices failed"))
        announce(fleet, mosquitto.port, halted)
        watcher.wait("waiting", "halted: 2 devices failed")
        announce(fleet, mosquitto.port, None)
        watcher.wait("current")
    assert not server.requests


def test_an_announcement_whose_time_is_over_is_refused(
    fleet, system, server, mosquitto, watcher, monkeypatch
):
    with Camera(fleet, system, server, mosquitto.port) as camera:
        watcher.wait("current")
        with monkeypatch.context() as patch:
            patch.setattr(limits, "ROLE_LIFETIME_S", -10)
            announce(fleet, mosquitto.port, announced(urls=(server.url(),)))
        until(lambda: any("expired" in reason for reason in camera.reasons))
    assert all(said.state == "current" for said in watcher.said)
    assert not server.requests


def test_an_announcement_that_was_signed_by_the_wrong_role_is_refused(
    fleet, system, server, mosquitto, watcher
):
    with Camera(fleet, system, server, mosquitto.port) as camera:
        with fleet.change() as repository:
            path = announcement.target_path("lethe-test")
            repository.put("targets", path, announcement.encode(announced(urls=(server.url(),))))
            with repository.edit_targets("firmware"):
                pass
        fleet.publish(mosquitto.port)
        until(lambda: any("only firmware may" in reason for reason in camera.reasons))
    assert not server.requests


def test_a_system_without_slots_says_which_version_runs(fleet, system, server, mosquitto, watcher):
    (system.root / "etc/rauc/system.conf").unlink()
    with Camera(fleet, system, server, mosquitto.port):
        told = watcher.wait("unsupported")
    assert (told.version, told.compatible) == ("0.1.0", "")
