"""A device as a process, a real broker, and the operator's own commands."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from cli import config as command
from demo import scene
from demo.broker import free_port
from edge import config, limits
from edge.app import Device
from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.audit import Configured, Refused
from edge.protocol.configuration import decode_reported
from edge.protocol.status import parse
from edge.settings.keeper import Configuration
from edge.vision.engine import Vision
from fleet import audit
from tests.camera.rtsp_server import RtspServer
from tests.kit import make_owner, publish, write_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


class Operator:
    """Runs the commands, and reads what devices report."""

    def __init__(self, fleet, port):
        self.fleet, self.broker = str(fleet), f"127.0.0.1:{port}"
        self.reports, self.statuses = queue.SimpleQueue(), queue.SimpleQueue()
        self.link = Link(BrokerConfig(port=port), "operator")
        for topic, put, decode in (
            (topics.configuration("lethe", "+"), self.reports.put, decode_reported),
            (topics.status("lethe", "+"), self.statuses.put, parse),
        ):
            self.link.subscribe(topic, lambda _t, m, put=put, decode=decode: put(decode(m)), 99_999)
        self.link.start()

    def run(self, *arguments, code=0):
        done = CliRunner().invoke(command.app, [*arguments, "--broker", self.broker])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    def set(self, *arguments):
        return self.run("set", self.fleet, "-d", "camera-1", *arguments)

    def wait(self, condition):
        while not condition(said := self.reports.get(timeout=60)):
            continue
        return said

    def wait_for_status(self, part):
        while part not in "; ".join(self.statuses.get(timeout=60).reasons):
            continue


@pytest.fixture
def operator(tmp_path, vision, mosquitto):
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    publish(owner, mosquitto.port)
    operator = Operator(owner.owned.fleet, mosquitto.port)
    operator.config = write_config(tmp_path, "/dev/video99", mosquitto.port, owner)
    yield operator
    operator.link.close()


@pytest.fixture
def process(operator):
    """A device whose camera is missing: it stays."""
    command = [sys.executable, "-m", "cli.main", "run", "--config", str(operator.config)]
    log = operator.config.with_name("log")
    with log.open("wb") as stderr, subprocess.Popen(command, cwd=ROOT, stderr=stderr) as process:
        yield process
        process.kill()


def recorded(operator):
    state = operator.config.with_name("state")
    assert not audit.verify(state / "audit").findings
    return [record.what for _, record in audit.records(state / "audit")]


@pytest.fixture
def network_camera(clip, tmp_path):
    """A camera on the network that shows the scene of the demonstration, for ever."""
    stream = tmp_path / "scene.ts"
    video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(stream), cv2.CAP_FFMPEG, codec, 25, size)
    while (frame := video.read())[0]:
        writer.write(frame[1])
    writer.release()
    server = RtspServer(stream, port=free_port(), rate=200)
    server.start()
    yield f"rtsp://127.0.0.1:{server.port}/scene"
    server.kill()


def test_set_in_force_refused_gone_back_from_and_tried_with_success(
    operator, process, network_camera
):
    assert operator.wait(lambda said: said.version == 0).fields["log_level"].source == "default"
    operator.set("telemetry.period_s=120", "log_level=warning")
    said = operator.wait(lambda said: said.version == 1)
    assert said.fields["telemetry.period_s"].value == 120
    assert said.fields["log_level"].source == "fleet"
    assert "version 1 in force" in operator.run("diff", operator.fleet, "--all")
    # What the device's own file forbids: the owner's side does not know that file.
    operator.set("watchlist.max_entries=99999")
    said = operator.wait(lambda said: said.version == 2)
    operator.set("events.pictures=true", "telemetry.period_s=600")
    said = operator.wait(lambda said: said.refused)
    assert "events.pictures = true refused: it may only be made stricter" in said.refused
    assert (said.version, said.fields["telemetry.period_s"].value) == (2, 120)
    operator.wait_for_status("configuration: version 3: events.pictures = true refused")
    assert "600" in operator.run("diff", operator.fleet, "-d", "camera-1", code=1)
    # What it cannot be made with: back by itself, in the same process.
    operator.set("--unset", "events.pictures", "vision.detector=nothing")
    said = operator.wait(lambda said: said.gone_back and said.refused)
    assert (said.version, said.gone_back.version) == (2, 4)
    assert "nothing" in said.gone_back.reason
    assert process.poll() is None
    # And what it works with.
    operator.set("--unset", "vision.detector", f"camera.source={network_camera}")
    said = operator.wait(lambda said: said.on_trial)
    assert said.fields["camera.source"].value == network_camera
    said = operator.wait(lambda said: said.version == 5 and not said.on_trial)
    assert said.gone_back is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    what = recorded(operator)
    configured = [each.source for each in what if isinstance(each, Configured)]
    assert configured == [
        "fleet, version 1", "fleet, version 2", "fleet, version 5, on trial", "fleet, version 5",
    ]  # fmt: skip
    refused = [each.reason for each in what if isinstance(each, Refused)]
    assert any("version 3: events.pictures = true refused" in reason for reason in refused)
    assert any("version 4 was gone back from" in reason for reason in refused)


def test_killed_at_any_moment_it_starts_with_the_old_or_the_new(operator):
    """SIGKILL while versions come, with and without a restart of the device."""
    command = [sys.executable, "-m", "cli.main", "run", "--config", str(operator.config)]
    cameras = ["/dev/video98", "/dev/video97"]
    offered = {0: "/dev/video99"}
    for version, delay in enumerate((0.0, 0.02, 0.1, 0.4), 1):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            operator.wait(lambda said: not said.restart)
            offered[version] = cameras[version % 2]
            operator.set(f"camera.source={offered[version]}")
            time.sleep(delay)  # any moment will do
            process.send_signal(signal.SIGKILL)
        local = config.load(operator.config)
        made = Configuration(local)
        version = made.reported().version
        assert made.config.camera.source == offered[version]


class Live(threading.Thread):
    """The life of a device: made anew when its configuration wants that."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.device = path, None
        self.start()

    def run(self):
        again = True
        while again:
            self.device = Device(Configuration(config.load(self.path)))
            again = self.device.run().again

    def end(self):
        while self.is_alive():
            self.device.stop()
            self.join(0.1)


def test_a_camera_that_delivers_nothing_is_gone_back_from(operator, monkeypatch):
    monkeypatch.setattr(limits, "CONFIG_TRIAL_S", 0.5)
    live = Live(operator.config)
    operator.wait(lambda said: said.version == 0)
    operator.set("camera.source=/dev/video98", "watchlist.purposes=['consented-access']")
    assert operator.wait(lambda said: said.restart).restart == ("camera.source",)
    said = operator.wait(lambda said: said.gone_back and not said.restart)
    assert said.gone_back.version == 1
    assert "/dev/video98 is not there" in said.gone_back.reason
    said = operator.wait(lambda said: said.version == 0 and said.refused)
    assert said.fields["camera.source"].value == "/dev/video99"
    live.end()


def test_limits_that_become_stricter_end_a_list_they_refuse(operator, monkeypatch):
    live = Live(operator.config)
    statuses = operator.statuses
    while statuses.get(timeout=60).list is None:
        continue
    operator.set("watchlist.purposes=['court-order']")
    operator.wait_for_status("this device's configuration does not serve that")
    assert live.device._lists.current() is None
    live.end()


def test_the_gauges_and_the_introduction_come_and_go(operator):
    seen = queue.SimpleQueue()
    operator.link.subscribe(
        "homeassistant/#", lambda topic, message: seen.put((topic, message)), 99_999
    )
    live = Live(operator.config)
    operator.wait(lambda said: said.version == 0)
    operator.set("home_assistant.discovery=true")
    topic, message = seen.get(timeout=60)
    assert topic == "homeassistant/device/lethe/camera-1/config"
    assert json.loads(message)["device"]["name"] == "Lethe camera-1"
    operator.set("--unset", "home_assistant.discovery")
    assert seen.get(timeout=60) == (topic, b"")
    live.end()


def test_a_port_that_is_taken_is_said_and_stops_nothing(operator, mosquitto):
    live = Live(operator.config)
    operator.wait(lambda said: said.version == 0)
    operator.set(f"telemetry.prometheus_port={mosquitto.port}")
    operator.wait_for_status("telemetry.prometheus_port")
    operator.set("telemetry.prometheus_port=0")
    operator.wait(lambda said: said.version == 2)
    live.end()


def test_what_is_wrong_is_not_signed(operator):
    before = (Path(operator.fleet) / "retained/metadata/timestamp.json").read_bytes()
    for arguments, said in (
        (["telemetry.period_s=5"], "telemetry.period_s = 5 refused; it may hold: a whole number"),
        (["device.id=x"], "in the device's own file only"),
        (["telemetry.period_s=" + "1" * 5000], "telemetry.period_s = "),
        (["telemetry.period=5"], "telemetry.period is no field"),
        (["period"], "write FIELD=VALUE"),
        ([], "nothing to set"),
        (["--unset", "log_level"], "log_level is not set by the fleet"),
        (["camera.source=/data/clip.mp4"], "a source from the fleet is a camera"),
        (["events.pictures=true", "--against", str(operator.config)], "only be made stricter"),
    ):
        done = CliRunner().invoke(
            command.app, ["set", operator.fleet, "-d", "camera-1", "--no-publish", *arguments]
        )
        assert said in str(done.exception), (arguments, done.output)
    assert "nothing was signed" in operator.run(
        "set", operator.fleet, "--all", "log_level=debug", "--dry-run"
    )
    after = (Path(operator.fleet) / "retained/metadata/timestamp.json").read_bytes()
    assert after == before


def test_a_file_replaces_all_and_values_are_read_as_the_field_takes_them(operator, tmp_path):
    file = tmp_path / "wanted.toml"
    file.write_text('log_level = "debug"\n[telemetry]\nperiod_s = 90\n')
    operator.set("watchlist.id=2026", "camera.source=/dev/video1")
    said = operator.set("--file", str(file), "watchlist.purposes=['court-order']")
    assert 'watchlist.id: "2026" → not set' in said
    assert "telemetry.period_s: not set → 90" in said
    assert 'watchlist.purposes: not set → ["court-order"]' in said
    assert "says so already" in operator.set("log_level=debug")


def test_what_a_file_says_is_shown(operator):
    shown = json.loads(CliRunner().invoke(
        command.app, ["show", str(operator.config), "--json"]
    ).output)  # fmt: skip
    assert shown["device.id"] == {"value": "camera-1", "source": "file"}
    assert shown["vision.threads"]["source"] == "default"
    assert Path(shown["device.state_dir"]["value"]).is_absolute()
    schema = json.loads(CliRunner().invoke(command.app, ["schema", "--desired"]).output)
    assert "device" not in schema["$defs"]["Settings"]["properties"]
