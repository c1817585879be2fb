"""Models that come after the software: checked, tried out, used, gone back from.

With shipped models and a real self-test in its own process; what is broken is broken in a copy.
"""

import hashlib
import json
import os
import shutil
import threading
import types

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import FormatError, ModelError, NoLongerWanted, StorageUnavailable
from edge.inference.manifest import SHIPPED, load_manifest
from edge.protocol import audit, model_bundle, update
from edge.trust.target import Target
from edge.update import model_store
from edge.update.model_store import ModelStore
from edge.update.models import ModelUpdates
from edge.update.reporter import Reporter
from edge.vision.engine import Vision
from tests.update.kit import DETECTOR, EMBEDDER, name_anew, shipped

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def blind(manifest, files):
    """Hashes hold, and it recognises nobody: the embedder's bytes are all the same."""
    name = manifest["models"][EMBEDDER]["file"]
    content = bytearray(files[name])
    half = len(content) // 2
    content[half : half + 400_000] = bytes(400_000)
    files[name] = bytes(content)
    manifest["models"][EMBEDDER]["sha256"] = hashlib.sha256(content).hexdigest()
    name_anew(manifest["models"][EMBEDDER])


class Wire:
    def __init__(self):
        self.said = []

    def on_connected(self, callback):
        callback()

    def publish(self, _topic, payload, *, retain):
        assert retain
        self.said.append(update.decode(payload, "gate-3", [KEY.public_key()]).models)


class Device:
    """The models of gate-3, run by hand."""

    def __init__(self, folder):
        self.folder = folder
        self.so = types.SimpleNamespace(embedder="", candidate=False)
        self.restarts, self.notes, self.wire, self.fetched = 0, [], Wire(), 0
        self.content = b""
        self.start()

    def start(self):
        self.store = ModelStore(self.folder)
        self.loaded = self.store.open(lambda folder: load_manifest(folder).folder)
        reporter = Reporter(
            self.wire, "t", "gate-3", KEY, update.Software(state="current", version="1"),
            now=lambda: 1_800_000_000.0,
        )  # fmt: skip
        self.updates = ModelUpdates(
            "default", self.store, reporter, names=("", ""),
            embedder_in_force=lambda: self.so.embedder,
            candidate=lambda: self.so.candidate, restart=self._restart, note=self.notes.append,
        )  # fmt: skip

    def _restart(self):
        self.restarts += 1

    def announce(self, files):
        self.content = files if isinstance(files, bytes) else model_bundle.encode(files)
        self.follow()

    def follow(self, *, nothing=False):
        self.updates.follow(self.view(nothing=nothing))
        self.updates.step()

    def view(self, *, nothing=False):
        device = self

        class View:
            def find(self, path, role):
                assert (path, role) == ("models/default", "models")
                return None if nothing else Target(
                    path, role, 1, len(device.content), device.sha256, {}, (), 1
                )  # fmt: skip

            def read(self, _target):
                device.fetched += 1
                return device.content

        return View()

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()

    @property
    def told(self):
        return self.wire.said[-1]


@pytest.fixture
def quick(monkeypatch):
    """The self-test of the shipped models is another test's."""
    monkeypatch.setattr(ModelStore, "try_out", lambda *_, **__: None)


@pytest.fixture
def device(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return Device(tmp_path / "models")


def test_good_models_are_tried_out_used_and_kept(device):
    device.announce(shipped())
    assert device.restarts == 1
    device.start()
    assert device.loaded == device.folder / device.sha256
    assert (device.told.state, device.told.active) == ("trying", device.sha256[:16])
    device.updates.works()
    assert device.told.state == "current"
    assert device.notes == [
        audit.Updated(
            what="models", before="shipped", version=device.sha256[:16], sha256=device.sha256
        )
    ]
    device.start()
    device.follow()
    assert (device.loaded.name, device.fetched) == (device.sha256, 1)


def test_models_that_recognise_nobody_are_refused_with_the_reason(device):
    device.announce(shipped(tamper=blind))
    assert device.told.state == "refused"
    assert "self-test: " in device.told.reason
    assert device.restarts == 0
    assert device.notes[0].reason == device.told.reason
    device.follow()
    assert device.fetched == 1, "it is judged once"
    device.start()
    assert device.loaded == SHIPPED
    assert not any(path.is_dir() for path in device.folder.iterdir()), "nothing is left of it"


def not_flatbuffers(manifest, files):
    name = manifest["models"][EMBEDDER]["file"]
    files[name] = b"\xff" * 5000
    manifest["models"][EMBEDDER] |= {
        "sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": 5000
    }  # fmt: skip
    name_anew(manifest["models"][EMBEDDER])


def test_models_that_are_none_are_refused_whatever_the_library_does(device):
    device.announce(shipped(tamper=not_flatbuffers))
    assert device.told.state == "refused"
    assert "self-test" in device.told.reason


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("exec sleep 1000", "no answer in 0.1 s"),
        ("kill -SEGV $$", "crashed with SIGSEGV"),
        ("exit 1", "it did not say why"),
    ],
)
def test_a_self_test_that_hangs_or_crashes_is_a_refusal(
    device, monkeypatch, tmp_path, does, reason
):
    monkeypatch.setattr(limits, "MODEL_TRIAL_S", 0.1)
    monkeypatch.setattr(limits, "MODEL_TRIAL_LOOK_S", 0.1 if "sleep" in does else 60)
    monkeypatch.setattr(model_store.sys, "executable", str(script(tmp_path / "python", does)))
    with pytest.raises(ModelError, match=reason):
        device.store.try_out("0" * 64, "", "")


def test_a_device_that_stops_does_not_wait_for_the_self_test(device, monkeypatch, tmp_path):
    hang = script(tmp_path / "python", "exec sleep 1000")
    monkeypatch.setattr(model_store.sys, "executable", str(hang))
    with pytest.raises(NoLongerWanted):
        device.store.try_out("0" * 64, "", "", wanted=lambda: False)


def script(path, does):
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (lambda: shipped(drop=["mobilefacenet-192.tflite"]), "cannot be read"),
        (lambda: shipped(extra={"more.bin": b"x"}), "does not name"),
        (lambda: shipped(extra={"mobilefacenet-192.tflite": b"x"}), "bytes, the manifest says"),
        (lambda: shipped(extra={"manifest.json": b"{"}), "manifest.json"),
        (lambda: b"\x00", "no models in the documented form"),
        (lambda: msgspec.msgpack.encode({"files": {"manifest.json": b"", "../x": b""}}), "form"),
        (lambda: msgspec.msgpack.encode({"files": {"manifest.json": b"", ".x": b""}}), "form"),
        (lambda: msgspec.msgpack.encode({"files": {"manifest.json": b"", "/x": b""}}), "form"),
        (lambda: msgspec.msgpack.encode({"files": {"a": b"", "b": b""}}), "without manifest.json"),
    ],
)
def test_what_is_no_bundle_is_refused_whole(device, files, reason):
    device.announce(files())
    assert device.told.state == "refused"
    assert reason in device.told.reason
    assert [p.name for p in device.folder.iterdir()] == ["record.json"]
    assert device.restarts == 0


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused_in_words(content):
    with pytest.raises(FormatError):
        model_bundle.decode(content)


def test_size_is_looked_at_first(monkeypatch):
    monkeypatch.setattr(limits, "MAX_TARGET_BYTES", 10)
    with pytest.raises(FormatError, match="at most 10"):
        model_bundle.decode(bytes(11))


def test_models_with_which_the_device_does_not_work_are_gone_back_from(device, quick):
    device.announce(shipped())
    for _ in range(limits.MODEL_TRIAL_STARTS):
        device.start()
        assert device.loaded.name == device.sha256
    device.start()
    assert device.loaded == SHIPPED
    assert device.told.state == "gone-back"
    assert "did not work with them in 2 starts" in device.told.reason
    assert device.notes[-1].reason == device.told.reason
    device.follow()
    assert (device.fetched, device.restarts) == (1, 1), "and are not tried again"
    assert device.told.state == "gone-back"


def test_models_are_not_proven_by_a_start_without_them(device, quick):
    device.announce(shipped())
    device.updates.works()  # health is looked at once more before the device has ended
    assert not device.store.active.proven
    assert device.notes == []
    device.start()
    device.updates.works()
    assert device.store.active.proven


def test_newer_models_are_not_forgotten_while_those_before_are_proven(device, quick, monkeypatch):
    """By two threads: that of health, and that of models."""
    device.announce(shipped())
    device.start()
    writing, go, write = threading.Event(), threading.Event(), model_store.write_atomically

    def slow(path, content):
        if b'"proven":true' in content and b'"starts":1' in content:
            writing.set()
            assert go.wait(60)
        write(path, content)

    monkeypatch.setattr(model_store, "write_atomically", slow)
    health = threading.Thread(target=device.updates.works)
    health.start()
    assert writing.wait(60)
    models = threading.Thread(target=device.store.activate, args=("7" * 64,))
    models.start()
    models.join(0.2)  # it has to wait; and if it does not, it is found out below
    go.set()
    for thread in (health, models):
        thread.join(60)
    assert ModelStore(device.folder).active.sha256 == "7" * 64


def test_models_that_rot_on_the_disk_are_gone_back_from(device, quick):
    device.announce(shipped())
    (device.folder / device.sha256 / "mobilefacenet-192.tflite").write_bytes(b"rot")

    def load(folder):
        return Vision.open(folder, DETECTOR, EMBEDDER).models

    store = ModelStore(device.folder)
    assert store.open(load) == load(None)
    assert "bytes, the manifest says" in store.fallen.reason
    assert store.active is None


def test_a_full_disk_leaves_those_in_use(device, monkeypatch):
    usage = shutil.disk_usage(device.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(StorageUnavailable, match="no room for models"):
        device.announce(shipped())
    monkeypatch.undo()
    monkeypatch.setattr(ModelStore, "try_out", lambda *_, **__: None)
    device.updates.step()
    assert device.restarts == 1, "and it is tried again"


def test_a_start_that_cannot_be_counted_is_not_begun_with_them(device, quick, monkeypatch):
    device.announce(shipped())

    def full(*_, **__):
        raise StorageUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "write_atomically", full)
        assert ModelStore(device.folder).active is None
    assert ModelStore(device.folder).active.starts == 1


def test_they_wait_until_nobody_is_in_view(device, quick):
    device.so.candidate = True
    device.announce(shipped())
    assert (device.told.state, device.told.reason) == ("waiting", "a candidate is in view")
    device.so.candidate = False
    device.updates.step()
    assert device.restarts == 1


def test_another_embedder_waits_for_a_list_of_its_own(device, quick):
    device.so.embedder = "another"
    device.announce(shipped())
    assert device.told.state == "waiting"
    assert "the list's are of another" in device.told.reason
    device.so.embedder = load_manifest(SHIPPED).embedder(EMBEDDER)[1].embedder_id
    device.updates.step()
    assert device.restarts == 1


def lax(manifest, _files):
    """The software's own embedder, by which strangers would be candidates more often."""
    manifest["models"][EMBEDDER]["impostor_tail"]["fused"]["scale"] = 0.001


def test_models_by_which_a_list_would_be_laxer_are_refused_said_and_recorded(device, quick):
    device.so.embedder = load_manifest(SHIPPED).embedder(EMBEDDER)[1].embedder_id
    device.announce(shipped(tamper=lax))
    assert device.restarts == 0
    assert device.told.state == "refused"
    assert "thresholds would be laxer" in device.told.reason
    assert device.notes == [
        audit.NotUpdated(
            what="models", version=device.sha256[:16], sha256=device.sha256,
            reason=device.told.reason,
        )
    ]  # fmt: skip
    assert [path.name for path in device.folder.iterdir()] == ["record.json"]


def test_models_that_are_laxer_than_a_new_version_of_the_software_are_gone_back_from(
    device, quick, monkeypatch, tmp_path
):
    device.announce(shipped())
    device.start()
    device.updates.works()
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    manifest["models"][EMBEDDER]["impostor_tail"]["fused"]["scale"] = 0.1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(
        model_store, "load_manifest", lambda folder=None: load_manifest(folder or tmp_path)
    )
    device.start()
    assert device.loaded == SHIPPED
    assert device.told.state == "gone-back"
    assert "thresholds would be laxer" in device.notes[-1].reason


def test_models_that_are_withdrawn_give_way_to_the_shipped_ones(device, quick):
    device.announce(shipped())
    device.start()
    device.updates.works()
    device.follow(nothing=True)
    assert device.restarts == 2
    device.start()
    assert (device.loaded, device.told.active) == (SHIPPED, "shipped")


def test_models_that_are_replaced_while_they_are_tried_out_are_not_used(device, monkeypatch):
    first = model_bundle.encode(shipped())
    second = model_bundle.encode(shipped(defaults={"embedder": EMBEDDER, "detector": DETECTOR}))
    rejected = hashlib.sha256(second).hexdigest()
    device.store.reject(rejected, "refused", "known to be bad")
    announced = iter([second])

    def meanwhile(*_, **__):
        device.content = next(announced)
        device.updates.follow(device.view())

    monkeypatch.setattr(ModelStore, "try_out", meanwhile)
    device.announce(first)
    assert device.restarts == 0
    assert (device.told.state, device.told.reason) == ("refused", "known to be bad")


def test_newer_models_take_the_place_of_those_before(device, quick):
    device.announce(shipped())
    device.start()
    device.updates.works()
    first = device.sha256
    device.announce(shipped(defaults={"embedder": EMBEDDER, "detector": DETECTOR}))
    assert device.sha256 != first
    device.start()
    assert device.loaded.name == device.sha256
    assert [p.name for p in device.folder.iterdir() if p.is_dir()] == [device.sha256]
