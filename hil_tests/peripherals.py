"""Simulated cameras and accelerators on the device itself, failing on order.

The simulators are those of the tests (`tests/inference/simulated.py`,
`tests/camera/picamera2_simulator.py`). Here they lie in memory on the device, beside its software,
and a drop-in in /run lets the service write there. A restart of the device takes all of it away.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2

from demo import scene
from hil_tests.device import Device
from hil_tests.site import PEOPLE, Site
from tests.inference.simulated import VENDOR, Simulated, SimulatedCoral, SimulatedGpu

PLACE = "/mnt"
PYTHON, CODE = "/usr/bin/python3.13", "/usr/lib/lethe"
ACCELERATORS: dict[str, type[Simulated]] = {"edgetpu": SimulatedCoral, "tensorrt": SimulatedGpu}
CAMERA = Path(__file__).resolve().parents[1] / "tests" / "camera" / "picamera2_simulator.py"
PICAMERA2 = f'''"""Picamera2, simulated: the pictures of a folder, and faults from a file."""
import json
import time
from pathlib import Path

import cv2
import picamera2_simulator as simulator

HERE = Path("{PLACE}/camera")


class Picamera2(simulator.Picamera2):
    number = 0

    def __init__(self, camera_num=0):
        simulator.attached[:] = [0] if (HERE / "plugged").exists() else []
        super().__init__(camera_num)

    def capture_arrays(self, names, wait=None):
        time.sleep(0.2)
        if not (HERE / "plugged").exists():
            raise RuntimeError("Camera frontend has timed out!")
        fault = HERE / "fault.json"
        if fault.exists():
            kind = json.loads(fault.read_text())["kind"]
            fault.unlink()
            if kind == "hang":
                raise TimeoutError
            if kind == "shape":
                return [simulator.np.zeros((3, 5), "uint8") for _ in names], {{}}
        files = sorted(HERE.glob("*.png"))
        Picamera2.number += 1
        self.shown = cv2.imread(str(files[Picamera2.number % len(files)]))
        return super().capture_arrays(names, wait)

    def _picture(self, name):
        picture = cv2.resize(self.shown, self._configuration[name]["size"])
        return cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420) if name == "lores" else picture
'''
PATIENCE = """# Emulated, an inference takes longer than a device waits for an accelerator.
from edge import limits

limits.ACCELERATOR_DEADLINE_S *= 20
limits.ACCELERATOR_START_S *= 10
"""
DROP_IN = "/run/systemd/system/lethe.service.d/rig.conf"


class Peripheral:
    """Something simulated that is plugged into the device."""

    def __init__(self, device: Device, folder: str) -> None:
        self._device, self._folder = device, folder

    def plug(self) -> None:
        self._device.run(f"touch {self._folder}/plugged")

    def unplug(self) -> None:
        self._device.run(f"rm -f {self._folder}/plugged")

    def inject(self, kind: str, *, times: int = 1, seconds: float = 0.0) -> None:
        """Let what is done next fail: "hang", "shape", and what else the simulator knows."""
        fault = {"kind": kind, "times": times, "shape": [], "seconds": seconds}
        self._device.run(
            f"printf %s {shlex.quote(json.dumps(fault))} >{self._folder}/fault.new && "
            f"chmod 666 {self._folder}/fault.new && mv {self._folder}/fault.new "
            f"{self._folder}/fault.json"
        )


def install(device: Device, site: Site, files: Callable[[Path], None], modules: str) -> None:
    """Put files of the rig on the device, and let the service use them.

    Args:
        device: where.
        site: hands them over.
        files: writes them into a folder.
        modules: folder there from which the service imports, too.
    """
    tree = site.folder / "peripherals"
    tree.mkdir()
    files(tree)
    archive = site.folder / "peripherals.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree, ".")
    paths = f"{CODE}:{modules}:{CODE}/site-packages"
    start = (
        f"ExecStart=\\nExecStart=/usr/bin/env PYTHONPATH={paths} PYTHONNOUSERSITE=1 {PYTHON} -P "
        "-m cli.main run --config /etc/lethe/lethe.toml\\n"
    )
    device.fetch(site.url(archive), "/run/peripherals.tar")
    device.run(
        f"mountpoint -q {PLACE} || mount -t tmpfs -o mode=777 rig {PLACE}; "
        f"tar -xf /run/peripherals.tar -C {PLACE} --no-same-owner && rm /run/peripherals.tar && "
        f"chmod -R a+rwX {PLACE} && mkdir -p {Path(DROP_IN).parent} && "
        f"printf '[Service]\\nReadWritePaths={PLACE}\\n{start}' >{DROP_IN} && "
        "systemctl daemon-reload"
    )


def remove(device: Device) -> None:
    """Take all of it away again."""
    device.run(
        f"systemctl stop lethe.service; rm -f {DROP_IN}; systemctl daemon-reload; "
        f"! mountpoint -q {PLACE} || umount {PLACE}",
        timeout=600,
    )


def accelerator(device: Device, site: Site, name: str) -> tuple[Peripheral, dict[str, str]]:
    """Plug in an accelerator; returns it, and what the configuration needs in `[vision]`."""

    def files(tree: Path) -> None:
        made = ACCELERATORS[name](tree)
        made.models(tree / "models")
        vendor = [made.packages, "shared"]
        for package in vendor:
            _copy(VENDOR / package, tree / "vendor" / package)
        paths = ":".join(f"{PLACE}/vendor/{package}" for package in vendor)
        (tree / "patience").mkdir()
        (tree / "patience" / "sitecustomize.py").write_text(PATIENCE, "utf-8")
        made.python.write_text(
            f"#!/bin/sh\nLETHE_SIMULATION={PLACE} PYTHONPATH={paths}:{CODE}/site-packages "
            f'exec {PYTHON} "$@"\n',
            "utf-8",
        )

    install(device, site, files, f"{PLACE}/patience")
    vision = {"backend": name, "accelerator_python": f"{PLACE}/python"}
    return Peripheral(device, PLACE), vision | {"models_dir": f"{PLACE}/models"}


def picamera2(device: Device, site: Site) -> Peripheral:
    """Plug in the Raspberry Pi's own camera; its source is "picamera2"."""

    def files(tree: Path) -> None:
        home = tree / "camera"
        home.mkdir()
        (home / "plugged").touch()
        (home / "picamera2.py").write_text(PICAMERA2, "utf-8")
        (home / CAMERA.name).write_text(CAMERA.read_text("utf-8"), "utf-8")
        drawn = list(scene.frames())
        for number, frame in enumerate([*[drawn[0]] * 10, *drawn[PEOPLE]]):
            cv2.imwrite(str(home / f"{number:03}.png"), frame)

    install(device, site, files, f"{PLACE}/camera")
    return Peripheral(device, f"{PLACE}/camera")


def _copy(source: Path, target: Path) -> None:
    """Copy a vendor's package with what says its version."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
