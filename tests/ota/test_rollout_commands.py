"""`./lethe ota publish|rollout|status`, as they are typed, on a real broker."""

import json
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.ota import app
from edge import limits
from edge.config import BrokerConfig
from edge.errors import BadInput, ConfigError, ModelError
from edge.identity import device_key
from edge.link.session import Link
from edge.protocol import model_bundle, topics, update
from firmware.errors import BuildFailed
from fleet import updates
from fleet.repository import Repository
from tests.fleet_kit import ROOT, Fleet
from tests.update.kit import shipped

ROOT_FOLDER = Path(__file__).resolve().parents[2]


@pytest.fixture
def desk(tmp_path, mosquitto, signed, owner):
    return Desk(Fleet(tmp_path / "fleet"), mosquitto.port, signed, owner)


def small_models(folder):
    folder.mkdir()
    for name, content in shipped().items():
        (folder / name).write_bytes(content)
    return folder


class Desk:
    def __init__(self, fleet, port, bundle, keys):
        self.fleet, self.port, self.bundle, self.keys = fleet, port, bundle, keys

    def ota(self, command, *words):
        done = CliRunner().invoke(
            app, [command, str(self.fleet.folder), *map(str, words)], catch_exceptions=False,
            standalone_mode=False,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        return done.output

    def online(self, command, *words):
        return self.ota(command, *words, "--broker", f"127.0.0.1:{self.port}")

    def publish(self, *words):
        return self.online(
            "publish", self.bundle, "--keys", self.keys, "--url", "https://x.example/b", *words
        )

    @property
    def announced(self):
        return updates.announced(Repository.existing(self.fleet.folder)).get("lethe-test")

    def report(self, device, state="current", *, key=None, **changes):
        """A device says how it stands to what is announced."""
        made = self.announced
        fields = {
            "state": state, "version": "1.0.0", "target": made.version, "sha256": made.sha256,
            "attempt": made.attempt, "compatible": made.compatible,
        }  # fmt: skip
        document = update.Update(
            device=device, time=datetime(2026, 5, 4, tzinfo=UTC),
            software=update.Software(**(fields | changes)),
        )  # fmt: skip
        self.put(device, update.encode(document, device_key(self.fleet.state(key or device))))

    def put(self, device, message):
        link, taken = Link(BrokerConfig(port=self.port), "camera"), threading.Event()
        topic = topics.update(ROOT, device)
        link.on_connected(lambda: link.publish(topic, message, retain=True))
        link.on_acknowledged(lambda _: taken.set())
        link.start()
        assert taken.wait(60)
        link.close()

    def status(self, *words):
        return json.loads(self.online("status", "--json", *words))

    def standings(self):
        return {d["device"]: d["standing"] for d in self.status()["devices"]}


def test_what_is_published_is_what_was_signed(desk):
    said = desk.publish(
        "--percent", 10, "--steps", "50,100", "--stop-after-failures", 3,
        "--window", "23:00-04:30", "--when", "idle", "--when", "not-armed",
    )  # fmt: skip
    assert "10 % of the devices, then 50 %, 100 %; halted after 3 failed" in said
    made = desk.announced
    assert (made.compatible, made.version) == ("lethe-test", "1.2.3")
    assert (made.size, made.sha256) == updates.measure(desk.bundle)
    assert (made.window.begin, made.window.end) == ("23:00", "04:30")
    assert made.conditions == ("idle", "not-armed")
    assert made.urls == ("https://x.example/b",)
    assert not made.allow_downgrade


def test_a_dry_run_changes_nothing(desk):
    shown = json.loads(desk.publish("--percent", 10, "--dry-run"))
    assert shown["rollout"]["percent"] == 10
    assert desk.announced is None
    desk.publish()
    desk.online("rollout", "lethe-test", "--halt", "x", "--dry-run")
    assert not desk.announced.rollout.halted


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--window", "2-4"], BadInput), (["--window", "night"], ConfigError),
        (["--steps", "many"], ConfigError), (["--percent", "50", "--steps", "10"], BadInput),
        (["--when", "later"], BadInput), (["--url", "http://x.example/b"], BadInput),
    ],
)  # fmt: skip
def test_what_devices_would_refuse_is_refused_here(desk, words, error):
    with pytest.raises(error):
        desk.publish(*words)
    assert desk.announced is None


def test_a_bundle_of_other_keys_is_not_announced(desk, tmp_path):
    stranger = tmp_path / "stranger.raucb"
    stranger.write_bytes(desk.bundle.read_bytes()[:-5000])
    with pytest.raises(BuildFailed):
        desk.online("publish", stranger, "--keys", desk.keys, "--url", "https://x.example/b")


def test_from_the_first_tenth_to_all(desk):
    """Two cameras; where each stands follows from the bundle's hash."""
    desk.publish("--percent", 1, "--steps", "100")
    desk.report("camera-1", "waiting")
    desk.report("camera-2", "waiting")
    assert set(desk.standings().values()) == {"not reached"}
    assert desk.status()["follows"] == {"lethe-test": "go on to 100 % (with --steer)"}
    assert desk.status("--steer")["follows"] == {"lethe-test": "go on to 100 %"}
    assert (desk.announced.rollout.percent, desk.announced.rollout.steps) == (100, ())
    assert set(desk.standings().values()) == {"under way"}
    desk.report("camera-1")
    assert desk.standings() == {"camera-1": "done", "camera-2": "under way"}
    assert desk.status("--steer")["follows"] == {}


def test_failures_halt_it_and_the_owner_goes_on(desk):
    desk.publish("--stop-after-failures", 2)
    desk.report("camera-1", "gone-back", reason="the enrolled person was not recognised")
    assert desk.status("--steer")["follows"] == {}
    desk.report("camera-2", "failed", reason="RAUC: no space")
    follows = desk.status("--steer")["follows"]
    assert follows == {"lethe-test": "halt: 2 of 2 devices failed: camera-1, camera-2"}
    assert desk.announced.rollout.halted
    assert "nobody: 2 of 2 devices failed" in desk.online("status")
    desk.online("rollout", "lethe-test", "--resume", "--retry", "--percent", 100)
    assert (desk.announced.rollout.halted, desk.announced.attempt) == ("", 2)
    assert desk.standings() == {"camera-1": "under way", "camera-2": "under way"}


def test_who_is_not_who_they_say_counts_for_nothing(desk):
    desk.publish()
    desk.report("camera-1", "failed", key="camera-2")
    desk.put("camera-2", b" " * (limits.MAX_STATUS_BYTES + 1))
    shown = desk.status("--steer")
    assert shown["follows"] == {}
    assert "not trusted" in shown["devices"][0]["problem"]
    assert "bytes" in shown["devices"][1]["problem"]
    assert "has reported nothing" not in desk.online("status")


def test_versions_go_down_only_where_it_is_signed_for(desk, monkeypatch):
    desk.publish()
    older = {"compatible": "lethe-test", "version": "1.0.0"}
    monkeypatch.setattr("ota.bundle.examine", lambda *_: older)
    with pytest.raises(ConfigError, match="--allow-downgrade"):
        desk.publish()
    desk.publish("--allow-downgrade")
    assert (desk.announced.version, desk.announced.allow_downgrade) == ("1.0.0", True)


def test_what_is_withdrawn_is_announced_no_more(desk):
    with pytest.raises(ConfigError, match="nothing is announced"):
        desk.online("rollout", "lethe-test", "--percent", 5)
    desk.publish()
    with pytest.raises(ConfigError, match="say what"):
        desk.online("rollout", "lethe-test")
    desk.online("rollout", "lethe-test", "--withdraw")
    assert desk.announced is None
    assert "nothing is announced" in desk.online("status")


def test_publishing_the_same_again_tries_no_failed_device_again_unless_asked(desk):
    desk.publish()
    desk.publish("--percent", 50)
    assert desk.announced.attempt == 1
    desk.publish("--retry")
    assert desk.announced.attempt == 2


def test_it_watches_until_it_is_asked_to_end(desk):
    desk.publish()
    watching = subprocess.Popen(
        [
            sys.executable, "-m", "cli.main", "ota", "status", str(desk.fleet.folder),
            "--watch", "--json", "--broker", f"127.0.0.1:{desk.port}",
        ],
        stdout=subprocess.PIPE, text=True, cwd=ROOT_FOLDER,
    )  # fmt: skip
    with watching:
        shown = json.loads(watching.stdout.readline())
        assert [d["device"] for d in shown["devices"]] == ["camera-1", "camera-2"]
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(60) == 0


def test_models_are_signed_after_the_self_test_that_devices_do(desk, tmp_path):
    folder = small_models(tmp_path / "models")
    assert "would be" in desk.online("models", folder, "--dry-run")
    role = Repository.existing(desk.fleet.folder).roles["models"]
    assert not role.signed.targets
    desk.online("models", folder)
    repository = Repository.existing(desk.fleet.folder)
    target = repository.roles["models"].signed.targets["models/default"]
    files = model_bundle.decode(repository.target_content(target))
    assert set(files) == {path.name for path in folder.iterdir()}
    desk.online("models", "--withdraw")
    assert not Repository.existing(desk.fleet.folder).roles["models"].signed.targets


def test_models_that_devices_would_refuse_are_not_signed(desk, tmp_path):
    folder = small_models(tmp_path / "models")
    (folder / "mobilefacenet-192.tflite").write_bytes(b"x")
    with pytest.raises(ModelError):
        desk.online("models", folder)
    with pytest.raises(ConfigError, match="name the folder"):
        desk.online("models")
