"""A real device, a real broker: commands from the owner's side to the camera and back."""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demo import scene
from edge import config
from edge.app import Device
from edge.camera.latest import LiveCamera
from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol.audit import Ordered, Refused, UseEnded
from edge.protocol.command import Aim, Identify, Resume, SelfTest, Stop
from edge.vision.engine import Vision
from fleet import audit
from fleet.commands import authority, give
from tests.conftest import Mosquitto
from tests.kit import make_owner, publish, write_config
from tests.observed import Replay, pictures_of

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
[aim]
interface = "lo"
port = 0
[home_assistant]
discovery = true
stop_switch = true
"""


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


@pytest.fixture
def broker(mosquitto_folder):
    made = Mosquitto(mosquitto_folder)
    made.start()
    yield made
    made.kill()


class Stage:
    """A fleet with one device, that sees the clip again and again."""

    def __init__(self, folder, vision, port):
        self.folder, self.port, self.settings = folder, port, BrokerConfig(port=port)
        self.owner = make_owner(folder / "owner", vision, scene.ENROLLED)
        publish(self.owner, port)
        self.fleet = folder / "owner-fleet"
        self.path = write_config(folder, "/dev/video0", port, self.owner)
        text = self.path.read_text("utf-8")
        text = text.replace("[camera]", f'identify = "file:{folder}/blink"\n[camera]') + SETTINGS
        self.path.write_text(text, "utf-8")
        self.statuses = []
        self.changed = threading.Condition()
        self.link = Link(self.settings, "lethe-test-statuses")
        self.link.subscribe("lethe/device/camera-1/status", self.take, 9999)
        self.link.start()

    def take(self, _topic, message):
        with self.changed:
            self.statuses.append(json.loads(message))
            self.changed.notify_all()

    def until(self, condition):
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.statuses and condition(self.statuses[-1]), 60
            ), self.statuses[-1:]

    def looking(self):
        self.until(lambda status: status.get("list") and not status["reasons"])

    def give(self, order, key=None):
        signing, devices = authority(self.fleet, None)
        answers = []
        give(order, "camera-1", key or signing, devices, self.settings, answers.append, timeout=60)
        return [(each.state, each) for each in answers]

    def recorded(self, kind):
        records = [record.what for _, record in audit.records(self.folder / "state" / "audit")]
        return [what for what in records if isinstance(what, kind)]

    @contextlib.contextmanager
    def device(self, clip, observer):
        pictures = pictures_of(clip, False)
        settings = config.load(self.path)
        camera = LiveCamera("replay", lambda: Replay(pictures))
        device = Device(settings, observer=observer, camera=camera)
        thread = threading.Thread(target=device.run)
        thread.start()
        try:
            yield device
        finally:
            device.stop()
            thread.join()


@pytest.fixture
def stage(tmp_path, vision, broker):
    made = Stage(tmp_path, vision, broker.port)
    yield made
    made.link.close()


def test_stop_holds_from_the_next_frame_on_until_a_signed_resume(stage, clip):
    seen, stopped_at = [], []
    looked = threading.Condition()

    def saw(frame, tracks):
        with looked:
            seen.append((frame.index, len(tracks)))
            looked.notify_all()

    def wait(condition):
        with looked:
            assert looked.wait_for(condition, 60)

    with stage.device(clip, SimpleNamespace(saw=saw)) as device:
        stage.looking()
        wait(lambda: seen and seen[-1][1])
        real = device._lists.stop

        def stop(reason):
            real(reason)
            stopped_at.append(len(seen))

        device._lists.stop = stop
        ((state, answer),) = stage.give(Stop(reason="a visitor asked"))
        assert state == "done", answer.says
        after = len(seen)
        wait(lambda: len(seen) >= after + 20)
        # A frame that was under way when it came may end after it; the next finds nobody.
        assert not any(tracks for _, tracks in seen[stopped_at[0] + 1 :])
        stage.until(lambda status: status["stopped"])
        assert "a visitor asked" in stage.statuses[-1]["reasons"][0]
        assert device._lists.current() is None
        # What a switch says does not lift it, what a stranger signs neither.
        stage.link.publish("lethe/device/camera-1/switch", b"ON")
        stranger = Ed25519PrivateKey.generate()
        ((state, answer),) = stage.give(Resume(), key=stranger)
        assert (state, answer.refusal) == ("refused", "not-an-operator")
        assert stage.statuses[-1]["stopped"]
        count = len(seen)
        ((state, answer),) = stage.give(Resume())
        assert state == "done", answer.says
        stage.looking()
        wait(lambda: any(tracks for _, tracks in seen[count:]))
        stage.link.publish("lethe/device/camera-1/switch", b"OFF")
        stage.until(lambda status: status["stopped"])
    orders = [(each.command.split(" ")[0], each.by.split(" ")[0]) for each in
              stage.recorded(Ordered)]  # fmt: skip
    assert orders == [("stop", "operator"), ("resume", "operator"),
                      ("stop", "home-assistant,")]  # fmt: skip
    assert stage.recorded(UseEnded)[0].reason == "list"
    assert "unsigned" in " ".join(each.reason for each in stage.recorded(Refused)) or (
        stage.recorded(Refused)[-1].more
    )
    assert not audit.verify(stage.folder / "state" / "audit").findings


@contextlib.contextmanager
def process(stage, clip):
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.observed", str(stage.path), str(clip), "600"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def test_a_stop_survives_sigkill_and_a_resume_brings_the_list_back(stage, clip):
    with process(stage, clip) as child:
        stage.looking()
        ((state, _),) = stage.give(Stop())
        os.kill(child.pid, signal.SIGKILL)  # as soon as it is acknowledged
        assert state == "done"
    stage.statuses.clear()
    with process(stage, clip):
        stage.until(lambda status: status["state"] == "online" and status["stopped"])
        assert not any(status.get("list") for status in stage.statuses)
        ((state, _),) = stage.give(Resume())
        assert state == "done"
        stage.looking()


def test_another_list_lifts_no_stop(stage, clip):
    with process(stage, clip):
        stage.looking()
        ((state, _),) = stage.give(Stop())
        assert state == "done"
    stage.statuses.clear()
    obeyed = stage.path.read_text("utf-8")
    stage.path.write_text(obeyed.replace('id = "gate"', 'id = "yard"'), "utf-8")
    with process(stage, clip):
        stage.until(lambda status: status["state"] == "online" and status["stopped"])


def test_a_preview_a_blink_and_a_self_test_beside_the_stream(stage, clip):
    frames = queue.SimpleQueue()
    blink = stage.folder / "blink"
    with stage.device(clip, SimpleNamespace(saw=lambda frame, _t: frames.put(frame.index))):
        stage.looking()
        assert [state for state, _ in stage.give(SelfTest())] == ["accepted", "done"]
        assert [state for state, _ in stage.give(Identify(seconds=1))] == ["accepted", "done"]
        assert blink.read_text() == "0\n"
        (_, (state, answer)) = stage.give(Aim(minutes=1))
        assert state == "done", answer.says
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/", answer.address)
        jpeg, patience = b"", time.monotonic() + 60
        while not jpeg and time.monotonic() < patience:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(answer.address + "picture.jpg", timeout=60) as got,
            ):
                jpeg = got.read()
        assert jpeg.startswith(b"\xff\xd8")
        assert [state for state, _ in stage.give(Aim(minutes=0))] == ["accepted", "done"]
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(answer.address, timeout=60)
    kept = [p for p in (stage.folder / "state").rglob("*") if p.is_file()]
    assert not any(p.read_bytes()[:2] == b"\xff\xd8" for p in kept)
    done = [each.command.split(" ")[0] for each in stage.recorded(Ordered)]
    assert done == ["self-test", "identify", "aim", "aim", "aim"]


def test_a_restart_begins_anew_and_says_so(stage, clip):
    """`lethe run` without systemd: the process takes its own place."""
    text = stage.path.read_text("utf-8").replace("/dev/video0", "rtsp://127.0.0.1:1/none")
    stage.path.write_text(text, "utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "run", "--config", str(stage.path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        stage.until(lambda status: status["state"] == "online" and status["list"])
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "command", "restart", "--device", "camera-1",
             "--fleet", str(stage.fleet), "--broker", f"127.0.0.1:{stage.port}", "--json",
             "--timeout", "60"],
            cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [each["state"] for each in answers] == ["accepted", "done"]
        assert done.returncode == 0
        assert child.poll() is None, "the same process"
    finally:
        child.terminate()
        child.wait(60)
    assert child.returncode == 0


def test_no_device_no_answer_is_said(stage):
    def run(*more):
        return subprocess.run(
            [sys.executable, "-m", "cli.main", "command", "stop", *more,
             "--broker", f"127.0.0.1:{stage.port}", "--timeout", "0.5"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    silent = run("--device", "camera-1", "--fleet", str(stage.fleet))
    assert (silent.returncode, "off line?" in silent.stderr) == (3, True)
    unknown = run("--device", "camera-9", "--fleet", str(stage.fleet))
    assert (unknown.returncode, "its key is not known" in unknown.stderr) == (2, True)
    assert run("--device", "camera-1").returncode == 2
