"""What is taken, tried, kept and gone back from; restarts and power cuts are the test's to make."""

import errno
import hashlib
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import config, limits
from edge.errors import BadInput, StorageUnavailable
from edge.protocol.configuration import Desired, decode_reported, encode
from edge.settings import layers, store
from edge.settings.keeper import Configuration, Reactions
from edge.settings.trial import Evidence, Verdict, judge, says
from tests.test_config import document

QUIET = {"telemetry": {"period_s": 300}}
CAMERA = {"camera": {"source": "/dev/video1"}}
OTHER = {"camera": {"source": "/dev/video2"}}
WORKS = Evidence(elapsed=3, frames=9, judged=2, armed=True, waiting=False, camera="ok")
BLIND = Evidence(
    elapsed=limits.CONFIG_TRIAL_S, frames=0, judged=0, armed=True, waiting=False,
    camera="/dev/video1 is not there",
)  # fmt: skip


def signed(version, settings_, *, device="camera-1"):
    return encode(Desired(device=device, version=version, issued=1, settings=settings_))


class Device:
    """A device as far as its configuration goes."""

    def __init__(self, folder, **sections):
        self.folder = folder
        self.sections = sections
        self.start()

    def start(self):
        path = self.folder / "lethe.toml"
        local = config.parse(document() | self.sections)
        local = config._anchor(local, path.parent)
        self.applied, self.restarts, self.recorded, self.reports = [], 0, [], []
        self.keeper = Configuration(local)
        self.keeper.attach(
            Reactions(
                apply=self.applied.append,
                restart=self.restart_asked,
                record=self.recorded.append,
                report=self.reports.append,
            )
        )
        return self

    def restart_asked(self):
        self.restarts += 1

    def take(self, version, settings_, **more):
        content = signed(version, settings_, **more)
        self.keeper.take(content, hashlib.sha256(content).hexdigest())
        return self

    def refuse(self, said, version, settings_, **more):
        with pytest.raises(BadInput, match=said):
            self.take(version, settings_, **more)
        assert decode_reported(encode(self.said)) == self.said
        return self

    @property
    def config(self):
        return self.keeper.config

    @property
    def said(self):
        return self.reports[-1]

    @property
    def state(self):
        return self.folder / "state" / store.FILE


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


def test_without_the_fleet_the_file_is_in_force_and_nothing_is_written(device):
    assert (device.said.version, device.said.desired) == (0, 0)
    assert device.said.fields["log_level"].source == "default"
    assert not device.state.exists()


def test_what_can_counts_at_once_and_after_a_restart(device):
    device.take(1, QUIET)
    assert [made.telemetry.period_s for made in device.applied] == [300]
    assert device.restarts == 0
    assert (device.said.version, device.said.on_trial) == (1, False)
    assert device.said.fields["telemetry.period_s"].source == "fleet"
    assert [record.source for record in device.recorded] == ["fleet, version 1"]
    assert device.recorded[0].configuration == layers.fingerprint(device.config)
    device.start()
    assert device.config.telemetry.period_s == 300
    assert device.said.version == 1


def test_the_same_again_changes_nothing(device):
    device.take(1, QUIET).take(1, QUIET)
    assert len(device.applied) == 1
    assert len(device.recorded) == 1


def test_the_camera_needs_a_restart_and_is_kept_when_it_works(device):
    device.take(1, CAMERA | QUIET)
    assert (device.restarts, device.applied) == (1, [])
    assert device.said.restart == ("camera.source",)
    assert (device.said.version, device.said.desired) == (0, 1)
    device.start()
    assert device.config.camera.source == "/dev/video1"
    assert device.said.on_trial
    assert [record.source for record in device.recorded] == ["fleet, version 1, on trial"]
    device.keeper.watch(WORKS)
    assert not device.said.on_trial
    assert [record.source for record in device.recorded][1:] == ["fleet, version 1"]
    assert device.start().config.camera.source == "/dev/video1"
    assert not device.keeper.on_trial


def test_it_goes_back_when_no_frame_is_judged(device):
    device.take(1, QUIET).take(2, CAMERA).start()
    device.keeper.watch(BLIND)
    assert device.restarts == 1
    assert device.said.gone_back.version == 2
    assert "/dev/video1 is not there" in device.said.gone_back.reason
    device.start()
    assert device.config.camera.source != "/dev/video1"
    assert device.config.telemetry.period_s == 300, "what was in force before is in force again"
    assert (device.said.version, device.said.desired) == (1, 2)
    device.refuse("version 2 was gone back from: no frame came", 2, CAMERA)
    assert device.restarts == 0, "it is not tried again"
    assert device.take(3, CAMERA).restarts == 1, "another version is"
    assert device.said.gone_back is None


def test_it_goes_back_when_the_device_cannot_be_made_with_it(device):
    device.take(1, CAMERA).start()
    assert device.keeper.go_back("model is missing")
    assert not device.start().keeper.go_back("it is not on trial"), "the error is the file's own"
    assert device.said.gone_back.reason == "model is missing"
    assert device.config.camera.source.endswith("clip.mp4")


def test_it_goes_back_when_starts_with_it_end_unproven(device):
    device.take(1, CAMERA)
    for _ in range(limits.CONFIG_TRIAL_STARTS):
        assert device.start().keeper.on_trial
    assert not device.start().keeper.on_trial
    assert "3 starts with it ended" in device.said.gone_back.reason


def test_a_version_on_trial_is_replaced_by_the_next(device):
    device.take(1, CAMERA).start().take(2, OTHER)
    assert device.restarts == 1
    assert device.start().config.camera.source == "/dev/video2"
    device.take(3, {})
    assert device.restarts == 1
    device.start()
    assert not device.keeper.on_trial, "the file's camera has been tried"
    assert device.said.version == 3


def test_a_version_on_trial_may_change_what_counts_at_once(device):
    device.take(1, CAMERA).start().take(2, CAMERA | QUIET)
    assert device.restarts == 0
    assert device.config.telemetry.period_s == 300
    assert device.keeper.on_trial
    device.keeper.watch(BLIND)
    assert device.start().config.telemetry.period_s == 60


@pytest.mark.parametrize(
    ("version", "wanted", "said"),
    [
        (3, {"telemetry": {"period_s": 5}}, "from 30 to 3600"),
        (3, {"watchlist": {"max_entries": 51}}, "stricter"),
        (3, {"broker": {"host": "x"}}, "own file only"),
        (1, {"log_level": "debug"}, "version 1 is older than 2"),
        (2, {"log_level": "debug"}, "seen before with other content"),
    ],
)
def test_what_is_refused_is_refused_whole_and_the_old_stays(tmp_path, version, wanted, said):
    device = Device(tmp_path, watchlist={"id": "gate", "max_entries": 50}).take(2, QUIET)
    before = device.config
    device.refuse(said, version, {"log_level": "error"} | wanted)
    assert device.config == before
    assert said.split()[0] in device.said.refused
    assert device.said.version == 2
    assert device.start().config == before


def test_one_for_another_device_is_refused(device):
    device.refuse("made for device 'camera-2'", 1, QUIET, device="camera-2")


def test_one_that_is_refused_still_keeps_older_ones_out(device):
    device.refuse("period_s", 5, {"telemetry": {"period_s": 5}})
    device.start().refuse("version 4 is older than 5", 4, QUIET)
    device.take(6, QUIET)
    assert device.said.refused == ""


def test_the_devices_own_file_comes_first_also_when_it_changes(device):
    device.take(1, {"watchlist": {"max_entries": 60}})
    device.sections = {"watchlist": {"id": "gate", "max_entries": 50}}
    device.start()
    assert device.config.watchlist.max_entries == 50
    assert "stricter" in device.said.refused
    device.refuse("stricter", 1, {"watchlist": {"max_entries": 60}})
    device.sections = {}
    assert device.start().take(1, {"watchlist": {"max_entries": 60}}).said.version == 1


def test_what_the_fleet_takes_back_is_the_files_again(device):
    device.take(1, QUIET)
    device.keeper.withdraw()
    assert device.config.telemetry.period_s == 60
    assert (device.said.version, device.said.desired) == (0, 0)
    assert device.recorded[-1].source == "file"
    device.start().refuse("other content", 1, CAMERA)


def test_a_password_of_the_files_is_told_to_nobody(tmp_path):
    device = Device(tmp_path, camera={"source": "rtsp://user:geheim@host/1"})
    assert b"geheim" not in encode(device.said)
    assert device.said.fields["camera.source"].value == "rtsp://host/1"


def test_a_damaged_file_is_made_anew(device, caplog):
    device.take(1, QUIET)
    device.state.write_bytes(device.state.read_bytes()[:-9])
    assert device.start().config.telemetry.period_s == 60
    assert "made anew" in caplog.text
    assert device.take(1, QUIET).config.telemetry.period_s == 300


def refuse_to_write(monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_takes_nothing_and_loses_nothing(device, monkeypatch):
    device.take(1, QUIET)
    with monkeypatch.context() as patch:
        refuse_to_write(patch)
        with pytest.raises(StorageUnavailable):
            device.take(2, CAMERA)
        assert (device.restarts, device.said.version) == (0, 1)
    assert device.take(2, CAMERA).restarts == 1
    with monkeypatch.context() as patch:
        refuse_to_write(patch)
        device.start()
        assert device.config.telemetry.period_s == 300, "what cannot be counted is not tried"
        assert not device.keeper.on_trial


class PowerCut(BaseException):
    """It goes dark."""


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["camera", "other", "quiet", "works", "blind", "start"]),
                   min_size=1, max_size=8),
    cut=st.integers(1, 8),
    late=st.booleans(),
)  # fmt: skip
def test_whenever_the_power_is_cut_old_or_new_is_in_force(tmp_path_factory, steps, cut, late):
    """A write is cut before or after the file took its new name."""
    folder = tmp_path_factory.mktemp("power")
    device = Device(folder)
    documents = {"camera": CAMERA, "other": OTHER, "quiet": QUIET}
    versions = itertools.count(1)
    offered = {0: {}}
    writes = 0
    write = store.write_atomically

    def write_or_die(path, content):
        nonlocal writes
        writes += 1
        if writes != cut or late:
            write(path, content)
        if writes == cut:
            raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_atomically", write_or_die)
        for step in steps:
            try:
                if step in documents:
                    number = next(versions)
                    offered[number] = documents[step]
                    device.take(number, documents[step])
                elif step == "start":
                    device.start()
                else:
                    device.keeper.watch(WORKS if step == "works" else BLIND)
            except PowerCut:
                device.start()
            version = device.keeper.reported().version
            wanted = offered[version]
            assert device.config.camera.source.endswith(
                wanted.get("camera", {}).get("source", "clip.mp4")
            )
            assert device.config.telemetry.period_s == wanted.get("telemetry", {}).get(
                "period_s", 60
            )


@pytest.mark.parametrize(
    ("elapsed", "frames", "judged", "armed", "waiting", "verdict"),
    [
        (0, 0, 0, False, False, Verdict.OPEN),
        (1, 5, 1, True, False, Verdict.PROVEN),
        (59, 900, 0, False, False, Verdict.OPEN),
        (60, 900, 0, False, False, Verdict.PROVEN),  # nobody is to be looked for
        (60, 0, 0, True, False, Verdict.FAILED),
        (60, 0, 0, False, False, Verdict.FAILED),
        (61, 900, 0, True, False, Verdict.OPEN),  # the list came a moment ago
        (120, 900, 0, True, False, Verdict.FAILED),
        (0, 0, 0, False, True, Verdict.PROVEN),  # a file that waits for its list
    ],
)
def test_when_a_configuration_is_proven(elapsed, frames, judged, armed, waiting, verdict):
    evidence = Evidence(elapsed, frames, judged, armed, waiting, "ok")
    assert judge(evidence) is verdict
    assert says(evidence)
