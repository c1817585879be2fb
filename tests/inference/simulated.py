"""Accelerators that are not there: the vendors' interfaces, computed on the CPU, failing on order.

A simulated accelerator is a folder with an interpreter in it. Named as `vision.accelerator_python`,
that interpreter finds the vendor's packages in `vendor/`, and everything else as always: nothing of
the device is replaced. Faults are injected, and the plug is pulled, through files in the folder, so
also from another process or a test rig.

    coral = SimulatedCoral(tmp_path / "coral")
    coral.inject("hang")            # in the next inference
    coral.unplug(); coral.plug()    # between two inferences
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Literal

from edge.inference.manifest import SHIPPED

VENDOR = Path(__file__).resolve().parent / "vendor"
COMPILED = b"lethe: simulated edgetpu-custom-op"
ONNX = b"lethe: simulated onnx\n"

Fault = Literal["hang", "crash", "unplug", "slow", "nan", "shape", "wrong", "refuse", "error"]


class Simulated:
    """A simulated accelerator.

    Attributes:
        python: the interpreter that finds it.
    """

    packages: str
    variant: str
    suffix: str

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = {"bus": "usb", "gpu": "Orin", "compute": [8, 7], "version": "10.3.0"}
        self.set(**settings)
        self.plug()
        paths = ":".join(str(VENDOR / name) for name in (self.packages, "shared"))
        self.python = folder / "python"
        self.python.write_text(
            f"#!/bin/sh\nLETHE_SIMULATION={shlex.quote(str(folder))} "
            f'PYTHONPATH={shlex.quote(paths)} exec {shlex.quote(sys.executable)} "$@"\n',
            "utf-8",
        )
        self.python.chmod(0o755)

    def set(self, **settings: object) -> None:
        """Change what it says of itself: bus, gpu, compute, version."""
        self.settings |= settings
        self._write("settings.json", self.settings)

    def plug(self) -> None:
        (self.folder / "plugged").touch()

    def unplug(self) -> None:
        (self.folder / "plugged").unlink(missing_ok=True)

    def inject(
        self, kind: Fault, *, times: int = 1, shape: tuple[int, ...] = (), seconds: float = 0.0
    ) -> None:
        """Let the next inferences fail.

        Args:
            kind: how. "unplug" is what libedgetpu makes of a pulled plug: it ends the process.
            times: how many of them.
            shape: only those with an input of this shape.
            seconds: how slow.
        """
        fault = {"kind": kind, "times": times, "shape": shape, "seconds": seconds}
        self._write("fault.json", fault)

    def log(self) -> list[str]:
        """What was done to it: "opened", "built", "deserialised", and the faults it had."""
        path = self.folder / "log"
        return path.read_text("utf-8").split() if path.exists() else []

    def models(self, folder: Path, *names: str) -> Path:
        """Make a model folder in which some models, or all, have a variant for it."""
        shutil.copytree(SHIPPED, folder)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        for name, model in manifest["models"].items():
            model["variants"] = {}  # those of real accelerators are not for this one
            if names and name not in names:
                continue
            content = self.compiled((folder / model["file"]).read_bytes(), model)
            file = Path(model["file"]).stem + self.suffix
            (folder / file).write_bytes(content)
            model["variants"] = {
                self.variant: {
                    "file": file,
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "bytes": len(content),
                }
            }
        (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        return folder

    def compiled(self, plain: bytes, model: dict) -> bytes:
        """Return what its compiler would make of a model."""
        raise NotImplementedError

    def _write(self, name: str, content: object) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(self.folder / name)


class SimulatedCoral(Simulated):
    """A Coral Edge TPU on USB."""

    packages, variant, suffix = "coral", "edgetpu", "_edgetpu.tflite"

    def compiled(self, plain: bytes, model: dict) -> bytes:
        return plain + COMPILED


class SimulatedGpu(Simulated):
    """A Jetson's GPU with TensorRT 10."""

    packages, variant, suffix = "nvidia", "qdq-onnx", ".qdq.onnx"

    def compiled(self, plain: bytes, model: dict) -> bytes:
        outputs = sorted(model["outputs"].items(), key=lambda item: item[1]["index"])
        spec = {
            "input": model["input"]["shape"],
            "outputs": {name: output["shape"] for name, output in outputs},
        }
        return ONNX + json.dumps(spec).encode() + b"\n" + plain
