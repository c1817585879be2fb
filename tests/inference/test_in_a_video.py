"""An accelerator that fails in the middle of a video: every frame's result is the CPU's."""

import json
import queue
import shutil
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo import scene
from demo.broker import running_broker
from edge import config, limits
from edge.app import Device
from edge.camera.file import VideoFile
from edge.config import BrokerConfig
from edge.identity import device_key
from edge.inference.open import BackEnds
from edge.protocol.event import AuditHead, Candidate, Ended
from edge.vision.engine import Vision
from fleet.events import listen
from fleet.ledger import Keys
from tests.inference.simulated import SimulatedCoral, SimulatedGpu
from tests.kit import DATA, make_owner, publish, write_config

FAULT_AT, END_AT = 75, 105
"""Frames of the scene: the enrolled person is in it from 45 on."""
PATIENCE = 60.0
DEADLINE = limits.ACCELERATOR_DEADLINE_S


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


@pytest.fixture(scope="module")
def owner(tmp_path_factory, vision):
    return make_owner(tmp_path_factory.mktemp("owner") / "owner", vision, scene.ENROLLED)


def run(folder, clip, owner, saw=lambda _device, _index: None, **options):
    """Run the device on the scene; return tracks by frame, the one candidate's life, statuses."""
    frames, events, statuses, device = {}, queue.SimpleQueue(), [], None

    def observe(frame, tracks):
        frames[frame.index] = [
            (seen.track.id, seen.track.face.box, seen.track.face.score, seen.decision)
            for seen in tracks
        ]
        saw(device, frame.index)
        if frame.index == END_AT:
            device.stop()

    with running_broker() as port:
        publish(owner, port)
        shutil.copytree(owner.folder.parent / "state", folder / "state")  # as it was enrolled
        keys = Keys(named={"camera-1": device_key(folder / "state").public_key()})
        link = listen(BrokerConfig(port=port), events.put, keys=keys)
        link.subscribe(
            "lethe/device/+/status", lambda _t, body: statuses.append(json.loads(body)), 9999
        )
        path = write_config(folder, clip, port, owner, **options)
        device = Device(config.load(path), observer=SimpleNamespace(saw=observe))
        device.run()
        told = [events.get(timeout=60).event.data]
        while not isinstance(told[-1], Ended):
            told.append(events.get(timeout=60).event.data)
        told = [data for data in told if not isinstance(data, AuditHead)]
        patience = time.monotonic() + 60
        while statuses[-1]["state"] != "offline" and time.monotonic() < patience:
            time.sleep(0.01)
        link.close()
    return frames, [said_of_the_person(data) for data in told], statuses


def said_of_the_person(data):
    """What an event says that depends on the frames; not when and under which list."""
    names = ("entry", "score", "threshold", "views", "agreeing", "quality", "box")
    return type(data), {name: getattr(data, name, None) for name in names}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, clip, owner):
    """What the CPU alone makes of it."""
    return run(tmp_path_factory.mktemp("cpu"), clip, owner, backend="litert")


@pytest.mark.parametrize(
    ("kind", "back_end", "fault", "reason"),
    [
        (SimulatedCoral, "edgetpu", "hang", "it does not answer"),
        (SimulatedCoral, "edgetpu", "unplug", "its process has ended"),
        (SimulatedGpu, "tensorrt", "crash", "its process has ended"),
    ],
)
def test_the_device_goes_on_and_says_so(
    tmp_path, clip, owner, expected, monkeypatch, kind, back_end, fault, reason
):
    """A fault in the middle; later the accelerator works again, and is used."""
    monkeypatch.setattr(limits, "ACCELERATOR_RETRY_FIRST_S", 0.2)
    monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)  # a busy machine is no hang
    simulated = kind(tmp_path / "simulated")
    models = simulated.models(tmp_path / "models")

    hit, processes = [], set()

    def saw(device, index):
        accelerator = device._vision.accelerators[0]
        if index == 0:
            assert accelerator.wait("working", PATIENCE)
        if accelerator._trusted:
            processes.add(accelerator._trusted._process.pid)
        if index == FAULT_AT:
            monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", DEADLINE)
            simulated.inject(fault)
        elif not hit and fault in simulated.log():  # whenever faces were looked for next
            monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)
            hit.append(index)
        elif hit and index == hit[0] + 10:
            simulated.plug()
            assert accelerator.wait("working", PATIENCE)

    frames, candidates, statuses = run(
        tmp_path, clip, owner, saw,
        backend=back_end, models_dir=models, accelerator_python=simulated.python,
    )  # fmt: skip
    assert len(processes) == 2
    assert not any(Path(f"/proc/{number}").exists() for number in processes)
    assert FAULT_AT < hit[0] < END_AT - 10
    assert list(frames) == list(range(END_AT + 1))
    assert sum(len(tracks) for tracks in frames.values()) > END_AT // 2
    assert frames == expected[0]
    assert candidates == expected[1]
    assert candidates[0][0] is Candidate
    told = [(a["state"], a["reason"]) for s in statuses for a in s["accelerators"]]
    changes = [told[0], *(after for before, after in pairwise(told) if before != after)]
    assert changes[0] == ("starting", "")
    assert ("failed", reason) in changes
    assert changes[-1] == ("working", "")
    degraded = [s for s in statuses if s["reasons"]]
    assert any(f"{back_end}: {reason}; the CPU goes on" in s["reasons"] for s in degraded)
    networks = ["detector", "scout", *(["embedder"] if back_end == "tensorrt" else [])]
    assert all(a["networks"] == networks for s in statuses for a in s["accelerators"])


@pytest.mark.data
@pytest.mark.timeout(600)  # tflite-runtime takes ten times as long for it
@pytest.mark.skipif(not DATA.is_dir(), reason="the research data is not in ../shared/data")
def test_a_hang_a_crash_and_an_unplugging_in_one_real_video(tmp_path, monkeypatch, vision):
    """Detector and embedder of every frame, against the CPU alone."""
    monkeypatch.setattr(limits, "ACCELERATOR_RETRY_FIRST_S", 0.2)
    monkeypatch.setattr(limits, "EDGETPU_MEMORY_BYTES", 16 << 20)  # so that both run on it
    monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)
    coral = SimulatedCoral(tmp_path / "coral")
    guarded = Vision.open(
        coral.models(tmp_path / "models"),
        back_ends=BackEnds(wanted="edgetpu", python=str(coral.python)),
    )
    (accelerator,) = guarded.accelerators
    faults = {15: "hang", 40: "crash", 65: "unplug"}
    compared = 0
    guarded.start()
    try:
        for frame in VideoFile(DATA / "video" / "stage_360p.mp4").frames():
            if frame.index in (0, 30, 55, 80):
                coral.plug()
                assert accelerator.wait("working", PATIENCE)
            if frame.index in faults:
                monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", DEADLINE)
                # In the middle of a frame: the detector has run, the embedder is next.
                coral.inject(faults[frame.index], shape=(1, 112, 112, 3))
            faces, expected = guarded.detect(frame.image, 0.4), vision.detect(frame.image, 0.4)
            assert [f.box for f in faces] == [f.box for f in expected]
            assert [f.score for f in faces] == [f.score for f in expected]
            for face, other in zip(faces[:2], expected, strict=False):
                np.testing.assert_array_equal(face.landmarks, other.landmarks)
                np.testing.assert_array_equal(
                    guarded.embed(frame.image, face), vision.embed(frame.image, other)
                )
                compared += 1
            monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)
            if frame.index == 90:
                break
        assert coral.log().count("opened") == 3 * 4  # three networks, four starts
        assert [entry for entry in coral.log() if entry != "opened"] == list(faults.values())
        assert compared > 90
        assert accelerator.status.state == "working"
    finally:
        guarded.close()
