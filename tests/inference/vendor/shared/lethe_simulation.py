"""What every simulated accelerator shares: whether it is plugged in, which fault is due, the CPU.

Runs in the accelerator's process. `tests/inference/simulated.py` writes the files that this reads.
"""

import json
import os
import signal
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ["LETHE_SIMULATION"])
COMPILED = b"lethe: simulated edgetpu-custom-op"
ONNX = b"lethe: simulated onnx\n"

LIBEDGETPU_LAST_WORDS = (
    "F driver/usb/usb_driver.cc:1148] HandleQueuedBulkIn transfer in failed. Not found: USB "
    "transfer error 5 [LibUsbDataInCallback]\n"
)
"""What libedgetpu writes when its device is unplugged, before it ends the process:
https://github.com/blakeblackshear/frigate/issues/5559."""


def settings():
    return json.loads((FOLDER / "settings.json").read_text("utf-8"))


def plugged():
    return (FOLDER / "plugged").exists()


def note(what):
    """Tell the test that something was done."""
    with (FOLDER / "log").open("a", encoding="utf-8") as file:
        file.write(what + "\n")


def due(*kinds, shape=None):
    """Return the injected fault if it is one of these and meant for an input of this shape."""
    path = FOLDER / "fault.json"
    try:
        fault = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    if fault["kind"] not in kinds or (fault["shape"] and tuple(fault["shape"]) != tuple(shape)):
        return None
    fault["times"] -= 1
    if fault["times"]:
        path.write_text(json.dumps(fault), "utf-8")
    else:
        path.unlink()
    note(fault["kind"])
    return fault


def suffer(shape):
    """Do what an accelerator may do in the middle of an inference."""
    fault = due("hang", "crash", "unplug", "slow", shape=shape)
    if fault is None:
        return
    if fault["kind"] == "slow":
        time.sleep(fault["seconds"])
    elif fault["kind"] == "hang":
        while True:
            time.sleep(3600)
    elif fault["kind"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    else:
        (FOLDER / "plugged").unlink()
        sys.stderr.write(LIBEDGETPU_LAST_WORDS)
        sys.stderr.flush()
        os.abort()


def spoil(results, shape):
    """Return results as a faulty accelerator might give them."""
    fault = due("nan", "shape", "wrong", shape=shape)
    if fault is None:
        return results
    if fault["kind"] == "nan":
        return [np.full(r.shape, np.nan, np.float32) for r in results]
    if fault["kind"] == "shape":
        return [np.concatenate([r, r]) for r in results]
    return [np.roll(r, 1, axis=-1) if r.shape[-1] > 1 else r for r in results]


def cpu_runtime():
    """Return the interpreter module of the real runtime, though a simulated one may hide it."""
    try:
        import ai_edge_litert.interpreter as real
    except ModuleNotFoundError:
        import tflite_runtime

        (path,) = (p for p in tflite_runtime.__path__ if "vendor" not in p)
        loader = SourceFileLoader("real_tflite_interpreter", str(Path(path) / "interpreter.py"))
        real = module_from_spec(spec_from_loader(loader.name, loader))
        loader.exec_module(real)
    return real
