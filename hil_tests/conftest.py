"""What the tests of whole images share: the built image, and bundles made from it."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from firmware.build import Record
from firmware.host import VIRTUAL_MACHINE_TOOLS
from firmware.process import missing
from hil_tests.machine import Machine
from ota import bundle, keys

ROOT = Path(__file__).resolve().parents[1]
IMAGE = Path(os.environ.get("LETHE_IMAGE", ROOT / "build" / "image-qemu"))
KEYS = ROOT / "build" / "ota-keys"
CODE = "/usr/lib/lethe"
CRASH = 'raise SystemExit("planted: this version crashes")\n'
HANG = "import time\n\ntime.sleep(10**6)\n"
BLIND = (
    "\n\nfrom edge.vision.engine import Vision\n\n"
    "Vision.embed_aligned = lambda self, aligned: -self._embedder.embed(aligned)\n"
)


@pytest.fixture(scope="session")
def record() -> Record:
    """The image's own record; skips where no image has been built."""
    if absent := missing(list(VIRTUAL_MACHINE_TOOLS)):
        packages = " ".join(sorted({VIRTUAL_MACHINE_TOOLS[name] for name in absent}))
        pytest.skip(f"{', '.join(absent)} missing: apt-get install {packages}")
    path = IMAGE / "image.json"
    if not path.exists():
        pytest.skip("no image: ./lethe image build qemu")
    return msgspec.json.decode(path.read_bytes(), type=Record)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hil")


@pytest.fixture
def machine(record: Record, tmp_path: Path) -> Callable[..., Machine]:
    """Makes machines on the image, and switches all of them off at the end."""
    made: list[Machine] = []

    def make(**options: object) -> Machine:
        one = Machine(
            IMAGE / f"lethe-{record.target}.img", IMAGE / "u-boot.bin",
            tmp_path / f"machine-{len(made)}", **options,
        )  # fmt: skip
        made.append(one)
        return one

    yield make
    for one in made:
        one.cut_power()


class Bundles:
    """Bundles of the image under another version, with or without a planted fault."""

    def __init__(self, record: Record, work: Path) -> None:
        self.record, self.work = record, work

    def rootfs(self, version: str, fault: str = "") -> Path:
        """Return a root file system that says `version`, with a fault in its code."""
        path = self.work / f"{version}.ext4"
        subprocess.run(
            ["cp", "--sparse=always", IMAGE / self.record.images["rootfs"], path], check=True
        )
        self._change(path, "/usr/lib/os-release", lambda text: (
            text.replace(f"VERSION_ID={self.record.version}", f"VERSION_ID={version}")
            .replace(self.record.build_id, f"{self.record.build_id}-{version}")
        ))  # fmt: skip
        self._change(path, "/etc/rauc/system.conf", lambda text: text.replace(
            f"min-bundle-version={self.record.version}", f"min-bundle-version={version}"
        ))  # fmt: skip
        if fault:
            module = "selftest" if fault == BLIND else "main"
            self._change(path, f"{CODE}/cli/{module}.py", lambda text: (
                text + fault if fault == BLIND
                else text.replace("import importlib\n", f"{fault}\nimport importlib\n", 1)
            ))  # fmt: skip
            # Byte code is not checked against its source on the device.
            self._debugfs(path, f"rm {CODE}/cli/__pycache__/{module}.cpython-313.pyc")
        return path

    def _change(self, image: Path, name: str, change: Callable[[str], str]) -> None:
        old, new = self.work / "old", self.work / "new"
        self._debugfs(image, f"dump {name} {old}")
        before = old.read_text("utf-8")
        after = change(before)
        assert after != before, f"{name} was not changed"
        new.write_text(after, "utf-8")
        self._debugfs(image, f"rm {name}", f"write {new} {name}")

    def _debugfs(self, image: Path, *commands: str) -> None:
        for command in commands:
            done = subprocess.run(
                ["debugfs", "-w", "-R", command, image], capture_output=True, text=True, check=True
            )
            assert "not found" not in done.stderr, done.stderr

    def make(
        self, version: str, *, fault: str = "", compatible: str = "", signer: Path = KEYS
    ) -> Path:
        """Return a signed bundle."""
        path = self.work / f"{version}{compatible}-{signer.name}.raucb"
        if not path.exists():
            image = self.rootfs(version, fault)
            content = bundle.Content(compatible or self.record.compatible, version)
            bundle.make({"rootfs": image}, content, signer, path)
            image.unlink()
        return path

    def disk(self, name: str, *bundles: Path) -> Path:
        """Return a disk with bundles, to be given to a machine."""
        folder = self.work / f"{name}-disk"
        folder.mkdir()
        for path in bundles:
            (folder / path.name).hardlink_to(path)
        image = self.work / f"{name}.ext4"
        size = sum(path.stat().st_size for path in bundles) // 2**20 + 64
        with image.open("wb") as file:
            file.truncate(size * 2**20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", folder, image], check=True)
        shutil.rmtree(folder)
        return image


@pytest.fixture(scope="session")
def bundles(record: Record, work: Path) -> Bundles:
    if not (KEYS / keys.SIGNER_KEY).exists():
        pytest.skip("no update keys: ./lethe ota keys")
    return Bundles(record, work)


@pytest.fixture(scope="session")
def stranger(work: Path) -> Path:
    """Update keys that no device trusts."""
    now = datetime.datetime.now(datetime.UTC)
    keys.make_authority(work / "stranger", "Stranger", now=now)
    keys.make_signer(work / "stranger", "Stranger", now=now)
    return work / "stranger"
