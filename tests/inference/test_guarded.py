"""Networks on an accelerator that fails, and on the CPU whenever it has: never a wrong result."""

import threading
import time

import numpy as np
import pytest

from edge import limits
from edge.errors import ModelError
from edge.inference import guarded
from edge.inference.guarded import Accelerator, GuardedNetwork, Job, known_results
from edge.inference.isolated import HANGS, REFUSES, WRONG
from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import load_manifest
from edge.inference.open import BackEnds, open_networks
from tests.inference.simulated import SimulatedCoral, SimulatedGpu

NAME = "yunet-2023mar-320x192"
PATIENCE = 60.0


class Stand:
    """One network, guarded, on a simulated Edge TPU."""

    def __init__(self, folder):
        self.coral = SimulatedCoral(folder / "coral")
        self.manifest = load_manifest(self.coral.models(folder / "models", NAME))
        _, self.model = self.manifest.detector(NAME)
        self.cpu = LiteRtNetwork(self.manifest.read(self.model), self.model, threads=1)
        self.accelerator = Accelerator(
            "edgetpu",
            [Job("detector", self.model, self.read, known_results(self.cpu, self.model))],
            options={},
            python=str(self.coral.python),
        )
        self.network = GuardedNetwork(self.cpu, self.accelerator, 0)
        self.history = []
        self.changed = threading.Condition()

    def read(self):
        return self.manifest.read(self.model.variants["edgetpu"])

    def start(self):
        self.accelerator.start(self.note)
        return self

    def note(self):
        with self.changed:
            status = self.accelerator.status
            self.history.append((status.state, status.reason))
            self.changed.notify_all()

    def wait(self, *states):
        """Wait until these have been the last states, in this order."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: [s for s, _ in self.history][-len(states) :] == list(states), PATIENCE
            )
        assert found, self.history

    def right(self, seed=0):
        """Run a picture; the result must be the CPU's."""
        picture = np.random.default_rng(seed).integers(0, 256, self.model.input.shape, np.uint8)
        found, expected = self.network.run(picture), self.cpu.run(picture)
        return all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.fixture
def stand(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ACCELERATOR_RETRY_FIRST_S", 0.1)
    monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)  # a busy machine is no hang
    stand = Stand(tmp_path)
    yield stand
    stand.accelerator.close()


def test_the_cpu_works_until_the_accelerator_does(stand):
    assert stand.accelerator.status.state == "starting"
    assert "until edgetpu works" in stand.network.runtime
    assert stand.right()
    stand.start().wait("working")
    assert stand.right()
    assert "Edge TPU" in stand.network.runtime


def test_a_fault_costs_no_result_and_it_is_used_again_when_it_works(stand, monkeypatch):
    stand.start().wait("working")
    stand.coral.inject("hang")
    monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", 0.5)
    began = time.monotonic()
    assert stand.right(1)
    assert time.monotonic() - began >= 0.5
    monkeypatch.setattr(limits, "ACCELERATOR_DEADLINE_S", PATIENCE)
    assert stand.history[-1] == ("failed", HANGS)
    assert stand.right(2)
    stand.wait("working", "failed", "working")
    assert stand.right(3)
    assert stand.coral.log().count("opened") == 2


def test_while_it_is_unplugged_it_is_tried_in_growing_pauses(stand):
    stand.start().wait("working")
    stand.coral.inject("unplug")
    assert stand.right(1)
    stand.wait("working", "failed", "failed", "failed")
    assert {reason for _, reason in stand.history[2:]} == {REFUSES}
    assert stand.right(2)
    stand.coral.plug()
    stand.wait("failed", "working")
    assert stand.right(3)


def test_what_gives_wrong_results_is_never_trusted(stand):
    stand.coral.inject("wrong", times=2)
    stand.start().wait("failed", "failed", "working")
    assert {reason for _, reason in stand.history[:2]} == {WRONG}


def test_what_begins_to_give_wrong_results_is_found_by_the_next_check(stand, monkeypatch):
    monkeypatch.setattr(limits, "ACCELERATOR_CHECK_S", 0.0)
    stand.start().wait("working")
    assert stand.right(1)
    stand.coral.inject("wrong")
    assert stand.right(2)
    assert stand.history[-1] == ("failed", WRONG)


def test_a_process_that_cannot_be_killed_is_not_given_a_rival(stand, monkeypatch):
    """As one does that waits for its device in the kernel."""
    stand.start().wait("working")
    process = stand.accelerator._trusted
    monkeypatch.setattr(process, "gone", lambda _seconds=0.0: False)
    stand.coral.inject("crash")
    assert stand.right(1)
    stand.wait("failed", "failed")
    assert stand.coral.log().count("opened") == 1
    monkeypatch.delattr(process, "gone")
    stand.wait("failed", "working")


def test_a_file_that_is_altered_later_is_refused_at_the_next_start(stand):
    stand.start().wait("working")
    path = stand.manifest.folder / stand.model.variants["edgetpu"].file
    path.write_bytes(path.read_bytes()[::-1])
    stand.coral.inject("crash")
    assert stand.right(1)
    stand.wait("failed", "failed")
    assert stand.history[-1] == ("failed", REFUSES)


@pytest.mark.parametrize("name", sorted(load_manifest().models()))
def test_the_check_tells_a_right_result_from_a_wrong_one(name):
    """Exchanged colours, another picture, nothing at all: each is off by more than is allowed."""
    model = load_manifest().models()[name]
    cpu = LiteRtNetwork(load_manifest().read(model), model, threads=2)
    (picture, right), (_, other) = known_results(cpu, model)
    exchanged = cpu.run(np.ascontiguousarray(picture[..., ::-1]))
    nothing = {name: np.zeros_like(values) for name, values in right.items()}
    for wrong in (exchanged, other, nothing):
        assert max(guarded._deviation(wrong[output], right[output]) for output in right) > 1.2
    noise = np.random.default_rng(1)
    for output, values in right.items():  # farther off than another runtime is
        spread = 0.14 * np.sqrt(np.mean(values**2))
        near = values + noise.normal(0, spread, values.shape).astype(np.float32)
        assert guarded._deviation(near, right[output]) < 1


def test_it_can_be_closed_while_it_loads(tmp_path):
    stand = Stand(tmp_path)
    stand.coral.python.write_text("#!/bin/sh\nexec sleep 1000\n", "utf-8")
    stand.start()
    while stand.accelerator._tried is None:
        time.sleep(0.001)
    stand.accelerator.close()
    assert stand.right()


def test_it_can_be_closed_before_it_is_started(tmp_path):
    Stand(tmp_path).accelerator.close()


@pytest.mark.parametrize("works", [False, True])
def test_wrong_pixels_are_refused_whoever_works(stand, works):
    if works:
        stand.start().wait("working")
    with pytest.raises(ModelError, match="takes uint8"):
        stand.network.run(np.zeros((1, 2, 2, 3), np.uint8))
    assert stand.accelerator.status.state == ("working" if works else "starting")


@pytest.mark.parametrize(
    ("kind", "wanted"), [(SimulatedCoral, "edgetpu"), (SimulatedGpu, "tensorrt")]
)
def test_an_altered_variant_is_refused_before_anything_starts(tmp_path, kind, wanted):
    manifest = load_manifest(kind(tmp_path / "simulated").models(tmp_path / "models", NAME))
    _, model = manifest.detector(NAME)
    (variant,) = model.variants.values()
    content = (manifest.folder / variant.file).read_bytes()
    (manifest.folder / variant.file).write_bytes(content[:-1] + b"?")
    with pytest.raises(ModelError, match="SHA-256"):
        open_networks(manifest, {"detector": model}, threads=1, back_ends=BackEnds(wanted=wanted))
