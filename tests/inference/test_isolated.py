"""An accelerator's process: what it computes, how it may fail, and that it never stays behind."""

import contextlib
import errno
import gc
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge.errors import AcceleratorUnavailable, ModelError
from edge.inference.isolated import ENDED, FAILS, HANGS, REFUSES, WRONG, Isolated
from edge.inference.litert import LiteRtNetwork
from edge.inference.manifest import load_manifest
from tests.inference.simulated import SimulatedCoral, SimulatedGpu

NAMES = ("yunet-2023mar-320x192", "sface-2021dec")
BACK_ENDS = {SimulatedCoral: "edgetpu", SimulatedGpu: "tensorrt"}
PATIENCE = 60.0


def pictures(model, count=2):
    random = np.random.default_rng(3)
    return [random.integers(0, 256, model.input.shape, np.uint8) for _ in range(count)]


class Rig:
    """A simulated accelerator, the models for it, and processes that are ended with the test."""

    def __init__(self, folder, kind, names=NAMES):
        self.simulated = kind(folder / "accelerator")
        self.back_end = BACK_ENDS[kind]
        self.manifest = load_manifest(self.simulated.models(folder / "models", *names))
        self.models = [self.manifest.models()[name] for name in names]
        self.started = []

    def start(self, python="", **options):
        process = Isolated(
            self.back_end, self.models, options, str(python or self.simulated.python)
        )
        self.started.append(process)
        return process

    def load(self, process, seconds=PATIENCE):
        variants = [next(iter(model.variants.values())) for model in self.models]
        return process.load([self.manifest.read(variant) for variant in variants], seconds)

    def close(self):
        for process in self.started:
            process.kill()
            process.close()


@pytest.fixture
def rig(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(kind=SimulatedCoral, names=NAMES[:1]):
            rig = Rig(tmp_path, kind, names)
            stack.callback(rig.close)
            return rig

        yield make


@pytest.mark.parametrize("kind", BACK_ENDS)
def test_it_computes_what_the_cpu_computes(rig, kind):
    rig = rig(kind, NAMES)
    process = rig.start()
    runtime = rig.load(process)
    assert ("Edge TPU" if kind is SimulatedCoral else "TensorRT 10.3.0, Orin") in runtime
    for number, model in enumerate(rig.models):
        cpu = LiteRtNetwork(rig.manifest.read(model), model, threads=1)
        for picture in pictures(model):
            found, expected = process.run(number, picture, PATIENCE), cpu.run(picture)
            assert list(found) == list(expected)
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)
                assert found[name].flags.owndata


FAULTS = [
    (SimulatedCoral, "hang", HANGS, "nothing in 0.5 s"),
    (SimulatedCoral, "crash", ENDED, "signal 11"),
    (SimulatedCoral, "unplug", ENDED, "signal 6"),
    (SimulatedCoral, "nan", WRONG, "not finite"),
    (SimulatedCoral, "shape", FAILS, r"\(2, 960, 1\), not \(1, 960, 1\)"),
    (SimulatedGpu, "hang", HANGS, "nothing in 0.5 s"),
    (SimulatedGpu, "error", FAILS, "cudaErrorLaunchFailure"),
    (SimulatedGpu, "refuse", FAILS, "refuses to run it"),
    (SimulatedGpu, "nan", WRONG, "not finite"),
]


@pytest.mark.parametrize(("kind", "fault", "reason", "detail"), FAULTS)
def test_every_fault_is_noticed_and_ends_the_process(rig, kind, fault, reason, detail):
    rig = rig(kind)
    process = rig.start()
    rig.load(process)
    (picture,) = pictures(rig.models[0], 1)
    process.run(0, picture, PATIENCE)
    rig.simulated.inject(fault)
    with pytest.raises(AcceleratorUnavailable, match=detail) as caught:
        process.run(0, picture, 0.5 if fault == "hang" else PATIENCE)
    assert caught.value.reason == reason
    assert process.gone(PATIENCE)
    with pytest.raises(AcceleratorUnavailable):
        process.run(0, picture, PATIENCE)


def test_slow_is_no_fault(rig):
    rig = rig()
    process = rig.start()
    rig.load(process)
    (picture,) = pictures(rig.models[0], 1)
    expected = process.run(0, picture, PATIENCE)
    rig.simulated.inject("slow", seconds=0.2)
    found = process.run(0, picture, PATIENCE)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_reason_holds_no_figure():
    """Reasons go into the status, which must not be able to count anything."""
    for reason in (HANGS, ENDED, FAILS, REFUSES, WRONG):
        assert not any(char.isdigit() for char in reason)


def test_wrong_pixels_are_the_callers_fault(rig):
    rig = rig()
    process = rig.start()
    rig.load(process)
    (picture,) = pictures(rig.models[0], 1)
    for wrong in (picture[:, 1:], picture.astype(np.float32)):
        with pytest.raises(ModelError, match="takes uint8"):
            process.run(0, wrong, PATIENCE)
    process.run(0, picture, PATIENCE)


@pytest.mark.parametrize("kind", BACK_ENDS)
def test_it_is_not_plugged_in(rig, kind):
    rig = rig(kind)
    rig.simulated.unplug()
    with pytest.raises(AcceleratorUnavailable, match=r"no Edge TPU|cudaErrorNoDevice") as caught:
        rig.load(rig.start())
    assert caught.value.reason == REFUSES


@pytest.mark.parametrize(("device", "there"), [("usb", True), ("usb:0", True), ("pci:0", False)])
def test_the_edge_tpu_that_was_named(rig, device, there):
    rig = rig()
    process = rig.start(device=device)
    if there:
        rig.load(process)
    else:
        with pytest.raises(AcceleratorUnavailable, match="no Edge TPU 'pci:0'"):
            rig.load(process)


def test_a_model_that_is_not_compiled_is_refused_by_the_process(rig):
    rig = rig()
    process = rig.start()
    with pytest.raises(AcceleratorUnavailable, match="not compiled"):
        process.load([rig.manifest.read(rig.models[0])], PATIENCE)


def test_no_such_interpreter(rig):
    with pytest.raises(AcceleratorUnavailable, match="No such file") as caught:
        rig().start("/nowhere/python")
    assert caught.value.reason == REFUSES


def open_files():
    gc.collect()  # an error's traceback holds what had been made
    return set(Path("/proc/self/fd").iterdir())


def test_a_process_that_cannot_be_started_leaves_nothing_open(rig, monkeypatch):
    """Every step of the start fails once."""
    rig = rig()

    def fail(*_arguments, **_options):
        raise OSError(errno.EMFILE, "Too many open files")

    for step in ("os.memfd_create", "os.ftruncate", "mmap.mmap", "os.pipe", "subprocess.Popen"):
        before = open_files()
        with monkeypatch.context() as patched:
            patched.setattr(f"edge.inference.isolated.{step}", fail)
            with pytest.raises(AcceleratorUnavailable, match="Too many open files"):
                rig.start()
        assert open_files() <= before


def script(folder, text):
    path = folder / "script"
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        ("exec sleep 1000", 0.3, HANGS),  # takes nothing from the pipe
        ("exit 3", PATIENCE, ENDED),
        (f'{shlex.quote(sys.executable)} "$@"', PATIENCE, ENDED),  # not its child, but a grandchild
        ('printf "what is this, no frame" >/proc/self/fd/$5', PATIENCE, WRONG),
    ],
)
def test_an_interpreter_that_is_none(rig, tmp_path, text, seconds, reason):
    rig = rig()
    process = rig.start(script(tmp_path, text))
    with pytest.raises(AcceleratorUnavailable) as caught:
        rig.load(process, seconds)
    assert caught.value.reason == reason
    assert process.gone(PATIENCE)


def test_let_go_of_it_ends_by_itself(rig):
    rig = rig()
    process = rig.start()
    rig.load(process)
    rig.started.clear()
    process._process.send_signal(signal.SIGTERM)  # as systemd does to the whole group
    process._process.send_signal(signal.SIGINT)
    (picture,) = pictures(rig.models[0], 1)
    process.run(0, picture, PATIENCE)
    process.close()
    assert process._process.returncode == 0


def test_no_core_file_could_hold_a_picture(rig):
    rig = rig()
    process = rig.start()
    rig.load(process)
    said = Path(f"/proc/{process._process.pid}/limits").read_text("utf-8")
    (line,) = [line for line in said.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


DEVICE = """
import sys
import numpy as np
from pathlib import Path
from edge.inference.isolated import Isolated
from edge.inference.manifest import load_manifest
manifest = load_manifest(Path(sys.argv[1]))
model = manifest.models()[sys.argv[2]]
process = Isolated("edgetpu", [model], {}, sys.argv[3])
process.load([manifest.read(model.variants["edgetpu"])], 60)
print(process._process.pid, flush=True)
process.run(0, np.zeros(model.input.shape, np.uint8), 1000)
"""


def test_a_hanging_process_does_not_outlive_a_killed_device(rig):
    rig = rig()
    rig.simulated.inject("hang")
    command = [sys.executable, "-c", DEVICE, rig.manifest.folder, NAMES[0], rig.simulated.python]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        pid = int(device.stdout.readline())
        while rig.simulated.log()[-1] != "hang":
            time.sleep(0.01)
        device.kill()
    patience = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < patience:
            os.kill(pid, 0)
            if " Z " in Path(f"/proc/{pid}/stat").read_text("utf-8"):
                break  # dead; whoever inherited it has not looked yet
            time.sleep(0.01)
        else:
            pytest.fail("it is still there")


def test_the_interpreter_is_quoted(tmp_path):
    """A folder with a blank and a quote in its name."""
    folder = tmp_path / "it's here"
    coral = SimulatedCoral(folder)
    done = subprocess.run(
        [coral.python, "-c", "import tflite_runtime.interpreter as i; print(i.__file__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "vendor/coral" in done.stdout
    assert shlex.quote(str(folder)) in coral.python.read_text("utf-8")
