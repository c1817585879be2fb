"""The device as a whole: real models, real video, a real broker."""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from demo import scene
from demo.broker import free_port, running_broker
from edge import config, limits
from edge.app import Device
from edge.config import BrokerConfig
from edge.errors import CameraUnavailable, ConfigError, ModelError
from edge.identity import device_key
from edge.inference.manifest import SHIPPED
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.audit import Degraded
from edge.protocol.configuration import decode_reported
from edge.protocol.event import AuditHead, Candidate, Ended, Receipt, parse
from edge.protocol.status import parse_telemetry
from edge.vision.engine import Vision
from fleet import audit
from fleet.events import listen
from fleet.ledger import Keys
from tests.kit import make_owner, publish, recording_proxy, write_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def systemd(tmp_path):
    """What a service manager is told: a function that returns it, and how to reach it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)

        def told():
            messages = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    messages.append(sock.recv(4096).decode())
            return messages

        yield told, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


def run(path, **options):
    return Device(config.load(path), **options).run()


def reader(port, state):
    state.mkdir(mode=0o700, exist_ok=True)
    events = queue.SimpleQueue()
    keys = Keys(named={"camera-1": device_key(state).public_key()})

    def take(received):
        if not (received.trusted and isinstance(received.event.data, AuditHead)):
            events.put(received)

    return listen(BrokerConfig(port=port), take, keys=keys), events


def audited(state, received):
    """Check a device's log, against the events it signed; return what it holds."""
    chain = audit.verify(state / "audit")
    assert not chain.findings
    assert not list(audit.compare(chain, [each.event for each in received]))
    return [record.what for _, record in audit.records(state / "audit")]


def life(events):
    """What comes of one candidate, until its end."""
    received = [events.get(timeout=60)]
    while not isinstance(received[-1].event.data, Ended):
        received.append(events.get(timeout=60))
    return received


def test_the_listed_person_is_reported_once_signed_and_says_candidate(tmp_path, clip, vision):
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    with running_broker() as port:
        publish(owner, port)
        link, events = reader(port, tmp_path / "state")
        report = run(write_config(tmp_path, clip, port, owner))
        received, *later = life(events)
        link.close()
    assert events.empty()
    assert all(each.trusted for each in (received, *later))
    assert {each.event.data.candidate for each in later} == {received.event.envelope.id}
    assert [type(each.event.data) for each in later][-1] is Ended
    data = received.event.data
    assert isinstance(data, Candidate)
    assert owner.labels[data.entry] == "eileen-collins"
    assert data.status == "candidate"
    assert data.review == "human-before-action"
    assert data.score >= data.threshold
    assert data.authorisation == "test 1"
    assert data.list.version == 1
    assert report.candidates == 1
    assert report.waiting == 0
    assert report.counters.frames == scene.FRAMES
    recorded = audited(tmp_path / "state", [received, *later])
    kinds = [what.__struct_config__.tag for what in recorded if not isinstance(what, Degraded)]
    assert kinds == [
        "started", "list-taken", "use-began", *["reported"] * (1 + len(later)), "use-ended",
        "stopped",
    ]  # fmt: skip


def test_without_a_match_nothing_about_people_leaves_the_device(tmp_path, clip, vision, systemd):
    """Seen from outside: every byte to the broker, every file on the disk."""
    home = tmp_path / "home"
    home.mkdir()
    owner = make_owner(tmp_path / "owner", vision, strangers=3, state=home / "state")
    with running_broker() as port, recording_proxy(port) as (proxy, recorder):
        publish(owner, port)
        path = write_config(home, clip, proxy, owner)
        before = {p for p in home.rglob("*") if p.is_file()}
        environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), **systemd[1]}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "run", "--config", str(path)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{scene.FRAMES} frames" in done.stderr
    told = [message for message in systemd[0]() if not message.startswith("STATUS=")]
    assert (told[0], told[-1]) == ("READY=1", "STOPPING=1")
    assert set(told[1:-1]) <= {"WATCHDOG=1"}
    # What was published: where the audit log stood at the start; the telemetry of the start; how
    # updates stand; and the status, in it nothing but the list and the device.
    publications = recorder.publications()
    events = [payload for topic, payload in publications if topic.endswith("/event")]
    assert [type(parse(payload).data) for payload in events] == [AuditHead]
    telemetry = [payload for topic, payload in publications if topic.endswith("/telemetry")]
    assert parse_telemetry(telemetry[0]).frames == "unknown"
    statuses = [payload for topic, payload in publications if topic.endswith("/status")]
    updates = [payload for topic, payload in publications if topic.endswith("/update")]
    assert set(json.loads(updates[0])) == {"device", "time", "software", "models", "signature"}
    assert len(set(updates)) == 1  # of the start; again after a connection
    reported = [payload for topic, payload in publications if topic.endswith("/configuration")]
    (configuration,) = [decode_reported(payload) for payload in reported]
    assert (configuration.version, configuration.refused) == (0, "")
    known = (*events, *telemetry, *statuses, *updates, *reported)
    assert len(known) == len(publications)
    for payload in statuses:
        status = json.loads(payload)
        assert set(status) <= {"state", "software", "list", "stopped", "accelerators", "reasons"}
        assert not status.get("accelerators")
        assert set(status["list"] or {}) <= {"id", "version", "expires", "index"}
        # Where the machine is slow these two name their limit, which is the same for everybody.
        said = " ".join(status["reasons"])
        for limit in (f"{limits.FETCH_S:g} s", f"{limits.CAMERA_STALL_S:.0f} s"):
            said = said.replace(limit, "")
        assert not any(char.isdigit() for char in said), status
    # Nor is there anything hidden in between: what else was sent asks for topics, by their names.
    told = len(events[0]) + sum(map(len, (*telemetry, *updates, *reported)))
    assert len(recorder.sent) - told < 3000
    assert b"candidate" not in recorder.sent
    # What was stored: the device's own keys, its list, encrypted; the outbox holds no event.
    files = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()} - {
        p.relative_to(home).as_posix() for p in before
    }
    kept = {name for name in files if name.startswith("state/lists/gate/")}
    signed = {name for name in files if re.fullmatch(r"state/trust/[A-Za-z0-9%./_]+\.json", name)}
    assert files - kept - signed <= {
        "state/storage.key", "state/storage.cred", f"state/audit/audit-{1:020d}.jsonl",
        "state/time.json", "state/outbox.db", "state/outbox.db-wal", "state/outbox.db-shm",
    }  # fmt: skip
    names = {re.sub("[0-9a-f]{64}", "…", name.removeprefix("state/lists/gate/")) for name in kept}
    assert names == {"life.json", "record-…", "parts/…"}
    assert b"candidate" not in (home / "state" / "outbox.db").read_bytes()
    recorded = [what for what in audited(home / "state", []) if not isinstance(what, Degraded)]
    assert [what.__struct_config__.tag for what in recorded] == [
        "started", "list-taken", "use-began", "use-ended", "stopped",
    ]  # fmt: skip


def test_a_broker_that_dies_in_the_middle_gets_the_event_when_it_is_back(
    tmp_path, clip, vision, monkeypatch
):
    monkeypatch.setattr(limits, "FLUSH_S", 0.2)
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    port = free_port()
    broker = running_broker(port)
    broker.__enter__()
    publish(owner, port)
    path = write_config(tmp_path, clip, port, owner)

    def saw(frame, _tracks):
        if frame.index == 20:
            broker.__exit__(None, None, None)

    report = run(path, observer=SimpleNamespace(saw=saw))
    assert report.candidates == 1
    assert report.waiting >= 2, "the candidate and its end"
    monkeypatch.setattr(limits, "FLUSH_S", 10.0)
    with running_broker(port):
        link, events = reader(port, tmp_path / "state")
        publish(make_owner(tmp_path / "other", vision, strangers=1), port)  # another key: refused
        publish(owner, port)
        report = run(path)
        received = [*life(events), *life(events)]
        link.close()
    assert report.waiting == 0
    sequences = [e.event.sequence for e in received]
    assert sequences == sorted(set(sequences))
    assert [type(e.event.data) for e in received].count(Candidate) == 2
    assert all(e.trusted for e in received)


def test_sigterm_ends_it_cleanly_while_the_camera_is_missing(tmp_path, vision, systemd):
    owner = make_owner(tmp_path / "owner", vision, strangers=1)
    with running_broker() as port:
        publish(owner, port)
        path = write_config(tmp_path, "/dev/video99", port, owner)
        statuses = queue.SimpleQueue()
        link, _ = reader(port, tmp_path / "state")
        link.subscribe(
            "lethe/device/+/status", lambda _t, payload: statuses.put(json.loads(payload)), 9999
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", "--config", str(path)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **systemd[1]},
        )  # fmt: skip
        while "camera" not in str(statuses.get(timeout=60).get("reasons")):
            continue
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        while (last := statuses.get(timeout=60))["state"] != "offline":
            continue
        link.close()
    assert process.returncode == 0, errors
    assert "is the camera plugged in?" in errors
    told = systemd[0]()
    assert "READY=1" in told
    assert "WATCHDOG=1" not in told, "no frame was processed"
    assert last["list"] is None


def test_a_file_that_waits_for_its_list_does_not_hang(tmp_path, clip, vision, systemd):
    """The service manager, too, knows it: a device that is stopped is not started anew for that."""
    owner = make_owner(tmp_path / "owner", vision, strangers=1)
    told = []
    with running_broker() as port:
        path = write_config(tmp_path, clip, port, owner)
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", "--config", str(path)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **systemd[1]},
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while told.count("WATCHDOG=1") < 2 and time.monotonic() < deadline:
            told += systemd[0]()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "waiting for a list before the file is begun" in errors
    assert told.count("WATCHDOG=1") >= 2


def test_an_expired_list_ends_the_looking(tmp_path, clip, vision):
    """The clock jumps past the end of the list in the middle of the clip."""
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    ahead = 0.0

    def saw(frame, tracks):
        nonlocal ahead
        seen.append(len(tracks))
        if frame.index == 60:
            ahead = 7200.0

    seen: list[int] = []
    with running_broker() as port:
        publish(owner, port)
        report = run(
            write_config(tmp_path, clip, port, owner),
            observer=SimpleNamespace(saw=saw),
            now=lambda: time.time() + ahead,
        )
    assert sum(seen[:61]) > 0
    assert sum(seen[61:]) == 0
    assert report.candidates == 0


def test_in_heat_it_looks_less_says_so_and_still_finds(tmp_path, clip, vision, monkeypatch):
    """A made-up /sys: 85 degrees, for as long as it takes to be believed."""
    monkeypatch.setattr(limits, "BUDGET_RISE_S", 0.0)
    monkeypatch.setattr(limits, "AUDIT_PAUSE_S", 0.0)
    zone = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("85000\n")
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    with running_broker() as port:
        publish(owner, port)
        device = Device(
            config.load(write_config(tmp_path, clip, port, owner)), sys_folder=tmp_path / "sys"
        )
        report = device.run()
    assert report.candidates == 1
    said = [what.reasons for what in audited(tmp_path / "state", []) if isinstance(what, Degraded)]
    assert any(reason.startswith("heat: ") for reasons in said for reason in reasons)


def test_the_list_outlives_a_restart_without_its_broker_and_ends_with_a_receipt(
    tmp_path, clip, vision
):
    """Nothing is published to the second broker: what is known of the list is on the disk."""
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    with running_broker() as port:
        publish(owner, port)
        assert run(write_config(tmp_path, clip, port, owner)).candidates == 1
    with running_broker() as port:
        path = write_config(tmp_path, clip, port, owner)
        assert run(path).candidates == 1
        # Another list is to be obeyed from now on.
        path.write_text(path.read_text("utf-8").replace('"gate"', '"other"'), "utf-8")
        link, events = reader(port, tmp_path / "state")
        device = Device(config.load(path))
        device.stop()
        device.run()
        while not isinstance(data := events.get(timeout=60).event.data, Receipt):
            continue
        link.close()
    assert (data.list.id, data.list.version, data.reason) == ("gate", 1, "not-authorised")
    kept = {p.name for p in (tmp_path / "state" / "lists" / "gate").rglob("*") if p.is_file()}
    assert kept == {"life.json"}


class Dark:
    """A camera that shows nothing and says nothing of it."""

    name, live, state = "dark", True, "ok"

    def __init__(self):
        self._closed = threading.Event()

    def frames(self):
        self._closed.wait()
        yield from ()

    def close(self):
        self._closed.set()


def test_a_camera_that_shows_nothing_does_not_keep_a_device_from_its_broker(tmp_path, clip, vision):
    """With a list in its store it looks before it talks, but for a second at most."""
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    with running_broker() as port:
        publish(owner, port)
        path = write_config(tmp_path, clip, port, owner)
        run(path)  # brings the list
        says = queue.SimpleQueue()
        link = Link(BrokerConfig(port=port), "reader")
        link.subscribe(topics.status("lethe", "camera-1"), lambda _, said: says.put(said), 2**16)
        link.start()
        assert b'"offline"' in says.get(timeout=60)  # of the first run, retained
        device = Device(config.load(path), camera=Dark())
        thread = threading.Thread(target=device.run)
        thread.start()
        try:
            assert b'"online"' in says.get(timeout=60)
        finally:
            device.stop()
            thread.join()
            link.close()


def test_an_altered_model_is_refused_before_anything_starts(tmp_path, clip, vision):
    models = shutil.copytree(SHIPPED, tmp_path / "models")
    path = models / "sface-2021dec.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    owner = make_owner(tmp_path / "owner", vision, strangers=1)
    with pytest.raises(ModelError, match="SHA-256"):
        run(write_config(tmp_path, clip, 1, owner, models_dir=models))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("missing.mp4", CameraUnavailable),
        ("http://camera/stream", ConfigError),
    ],
)
def test_an_impossible_source_is_refused_with_what_to_do(tmp_path, vision, source, error):
    owner = make_owner(tmp_path / "owner", vision, strangers=1)
    with pytest.raises(error, match=r"camera\.source"):
        run(write_config(tmp_path, source, 1, owner))


def test_a_full_disk_keeps_the_event_until_there_is_room(tmp_path, clip, vision, monkeypatch):
    owner = make_owner(tmp_path / "owner", vision, scene.ENROLLED)
    with running_broker() as port:
        publish(owner, port)
        link, events = reader(port, tmp_path / "state")
        device = Device(config.load(write_config(tmp_path, clip, port, owner)))
        device._outbox._run("PRAGMA max_page_count = 1")  # what SQLite does when the disk is full
        put = device._outbox.put

        def put_or_make_room(data):
            try:
                return put(data)
            except Exception:
                device._outbox._run("PRAGMA max_page_count = 1000000")
                raise

        monkeypatch.setattr(device._outbox, "put", put_or_make_room)
        report = device.run()
        received = events.get(timeout=60)
        link.close()
    assert received.trusted
    assert report.waiting == 0
