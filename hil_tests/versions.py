"""Other versions of the image's software, in bundles: whole ones, and ones with a planted fault."""

from __future__ import annotations

import datetime
import random
import shutil
import subprocess
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path

from firmware.build import Record
from ota import bundle, keys

CODE = "/usr/lib/lethe"
UNITS = "/usr/lib/systemd/system"
PATIENCE = {"lethe-provision": 600, "lethe-selftest": 600}
"""Units of a start, and their time limits, seconds."""
CRASH = 'raise SystemExit("planted: this version crashes")\n'
HANG = "import time\n\ntime.sleep(10**6)\n"
BLIND = (
    "\n\nfrom edge.vision.engine import Vision\n\n"
    "Vision.embed_aligned = lambda self, aligned: -self._embedder.embed(aligned)\n"
)


def debugfs(image: Path | str, *commands: str) -> None:
    """Change an ext4 file system in a file, without mounting it."""
    for command in commands:
        done = subprocess.run(
            ["debugfs", "-w", "-R", command, str(image)], capture_output=True, text=True, check=True
        )
        assert "not found" not in done.stderr, done.stderr


def change(image: Path | str, name: str, edit: Callable[[str], str], work: Path) -> None:
    """Edit a text file in an ext4 file system.

    Byte code of it goes: the device does not compare it with its source.
    """
    old, new = work / "old", work / "new"
    debugfs(image, f"dump {name} {old}")
    before = old.read_text("utf-8")
    after = edit(before)
    assert after != before, f"{name} was not changed"
    new.write_text(after, "utf-8")
    mode = subprocess.run(
        ["debugfs", "-R", f"stat {name}", str(image)], capture_output=True, text=True, check=True
    ).stdout.split("Mode:")[1].split()[0]  # fmt: skip
    debugfs(image, f"rm {name}", f"write {new} {name}", f"sif {name} mode 010{mode}")
    if name.endswith(".py"):
        folder, _, module = name.rpartition("/")
        debugfs(image, f"rm {folder}/__pycache__/{module[:-3]}.cpython-313.pyc")


class Versions:
    """Bundles of the image under other versions."""

    def __init__(
        self,
        image: Path,
        record: Record,
        signer: Path,
        work: Path,
        always: Callable[[Path], None] | None = None,
    ) -> None:
        """Begin.

        Args:
            image: folder of the built image.
            record: its record.
            signer: folder with the update keys that the image trusts.
            work: folder for what is made.
            always: what the rig changes in every root file system.
        """
        self.image, self.record, self.signer, self.work = image, record, signer, work
        self._always = always
        work.mkdir(parents=True, exist_ok=True)

    def rootfs(self, version: str, plant: Callable[[Path], None] | None = None) -> Path:
        """Return a root file system that says `version`, changed by `plant`."""
        path = self.work / f"{version}.ext4"
        source = self.image / self.record.images["rootfs"]
        subprocess.run(["cp", "--sparse=always", source, path], check=True)
        change(path, "/usr/lib/os-release", lambda text: (
            text.replace(f"VERSION_ID={self.record.version}", f"VERSION_ID={version}")
            .replace(self.record.build_id, f"{self.record.build_id}-{version}")
        ), self.work)  # fmt: skip
        change(path, "/etc/rauc/system.conf", lambda text: text.replace(
            f"min-bundle-version={self.record.version}", f"min-bundle-version={version}"
        ), self.work)  # fmt: skip
        for one in (self._always, plant):
            if one:
                one(path)
        return path

    def bundle(
        self,
        version: str,
        *,
        plant: Callable[[Path], None] | None = None,
        compatible: str = "",
        signer: Path | None = None,
        whole: bool = True,
    ) -> Path:
        """Return a signed bundle.

        Args:
            version: of it.
            plant: changes its root file system.
            compatible: the devices it is for; the image's own if empty.
            signer: folder of whoever signs it; whom the image trusts if None.
            whole: False: for what is refused before the content is looked at, which is nothing.
        """
        signer = signer or self.signer
        kind = "" if whole else "-empty"
        path = self.work / f"{version}{compatible}{kind}-{signer.name}.raucb"
        if not path.exists():
            image = self.rootfs(version, plant) if whole else self._nothing(version)
            content = bundle.Content(compatible or self.record.compatible, version)
            bundle.make({"rootfs": image}, content, signer, path)
            image.unlink()
        return path

    def _nothing(self, version: str) -> Path:
        path = self.work / f"{version}.ext4"
        path.write_bytes(
            random.randbytes(1 << 20)
        )  # squashfs makes nothing of zeros, RAUC no bundle
        return path

    def crashing(self, image: Path) -> None:
        self._begin_main_with(image, CRASH)

    def hanging(self, image: Path) -> None:
        """It hangs. What a start may take is cut to a tenth: it is waited for three times."""
        self._begin_main_with(image, HANG)
        for unit, limit in PATIENCE.items():
            shorter = methodcaller(
                "replace", f"TimeoutStartSec={limit}\n", f"TimeoutStartSec={limit // 10}\n"
            )
            change(image, f"{UNITS}/{unit}.service", shorter, self.work)

    def stranded(self, image: Path) -> None:
        """It cannot mount the data partition, and so cannot say why either."""
        change(image, "/etc/fstab", lambda text: (
            text.replace("PARTLABEL=lethe-data", "PARTLABEL=lethe-boot", 1)
        ), self.work)  # fmt: skip

    def blind(self, image: Path) -> None:
        change(image, f"{CODE}/cli/selftest.py", lambda text: text + BLIND, self.work)

    def _begin_main_with(self, image: Path, fault: str) -> None:
        change(image, f"{CODE}/cli/main.py", lambda text: (
            text.replace("import importlib\n", f"{fault}\nimport importlib\n", 1)
        ), self.work)  # fmt: skip


def stranger(folder: Path) -> Path:
    """Make update keys that no device trusts."""
    now = datetime.datetime.now(datetime.UTC)
    keys.make_authority(folder, "Stranger", now=now)
    keys.make_signer(folder, "Stranger", now=now)
    return folder


def expiring(signer: Path, folder: Path, seconds: float) -> Path:
    """Make a signer of a trusted authority whose certificate is over soon."""
    shutil.copytree(signer, folder)
    day = datetime.timedelta(days=1)
    begin = datetime.datetime.now(datetime.UTC) - day + datetime.timedelta(seconds=seconds)
    keys.make_signer(folder, "Expiring", now=begin, days=1)
    return folder
