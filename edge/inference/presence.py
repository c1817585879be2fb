"""Which accelerators are there, and whether what they need is installed. Nothing is opened."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import subprocess
from pathlib import Path

import msgspec

from edge import limits
from edge.files import text_of
from edge.inference.edgetpu import LIBRARY

_CORAL_USB = {("1a6e", "089a"), ("18d1", "9302")}
"""Vendor and product of a Coral USB Accelerator, before and after its firmware is loaded."""
_TENSORRT_MODULES = ("tensorrt", "cuda")


class Found(msgspec.Struct, frozen=True):
    """An accelerator.

    Attributes:
        name: what it is and where, for people.
        obstacle: why it cannot be used yet; empty if it can.
        todo: what to do about that.
    """

    name: str
    obstacle: str = ""
    todo: str = ""


def find_edgetpus(root: Path = Path("/"), *, library: bool | None = None) -> list[Found]:
    """Return the Edge TPUs on USB and PCIe.

    Args:
        root: the file system's root, or a folder like it.
        library: whether libedgetpu is installed; looked up if None.
    """
    nodes: list[tuple[str, Path]] = []
    for device in sorted(root.glob("sys/bus/usb/devices/*")):
        if (text_of(device / "idVendor"), text_of(device / "idProduct")) in _CORAL_USB:
            bus, number = text_of(device / "busnum"), text_of(device / "devnum")
            node = root / f"dev/bus/usb/{bus.zfill(3)}/{number.zfill(3)}"
            nodes.append((f"Edge TPU on USB ({device.name})", node))
    nodes += [(f"Edge TPU on PCIe ({n.name})", n) for n in sorted(root.glob("dev/apex_*"))]
    if library is None:
        library = bool(nodes) and ctypes.util.find_library("edgetpu") is not None
    found = []
    for name, node in nodes:
        if not library:
            todo = "install libedgetpu1-std, see docs/accelerators.md"
            found.append(Found(name, f"{LIBRARY} is not installed", todo))
        elif not os.access(node, os.R_OK | os.W_OK):
            todo = f"allow the user to use it ({node}: groups plugdev or apex)"
            found.append(Found(name, "not accessible", todo))
        else:
            found.append(Found(name))
    return found


def find_gpu(python: str = "", root: Path = Path("/")) -> Found | None:
    """Return the NVIDIA GPU, if there is one.

    Args:
        python: interpreter that TensorRT is to run under; our own if empty.
        root: the file system's root, or a folder like it.
    """
    board = text_of(root / "proc/device-tree/model").rstrip("\0")
    if "NVIDIA" in board or "Jetson" in board:
        name = board
    elif (root / "dev/nvidia0").exists():
        name = "NVIDIA GPU"
    else:
        return None
    missing = [module for module in _TENSORRT_MODULES if not _has_module(module, python)]
    if not missing:
        return Found(name)
    todo = "install TensorRT's Python package and cuda-python, see docs/accelerators.md"
    return Found(name, f"{' and '.join(missing)} not installed for {python or 'our Python'}", todo)


def _has_module(name: str, python: str) -> bool:
    """Whether an interpreter finds a module; it is not imported."""
    if not python:
        return importlib.util.find_spec(name) is not None
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    try:
        done = subprocess.run(
            [python, "-c", code, name],
            cwd="/", check=False, capture_output=True, timeout=limits.PROBE_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
