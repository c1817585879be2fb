"""The disk that is flashed: boot partition, boot state, two slots, data.

    lethe-boot   FAT: what the board's firmware reads, and the boot script; never written later
    lethe-env    with U-Boot: the boot state, twice (docs/adr/0020)
    lethe-boot-a with tryboot: kernel of slot A, FAT; and lethe-boot-b
    lethe-a      slot A, read-only root file system
    lethe-b      slot B, empty until the first update
    lethe-data   ext4: configuration, keys, list store, outbox, audit, records of updates; grows

Nothing is mounted: mke2fs fills file systems from folders, genimage puts them together.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from firmware.native import Native
from firmware.process import Steps
from firmware.recipe import HERE, MIB, Recipe
from firmware.rootfs import fill, set_times

NAMESPACE = uuid.UUID("5f1c2f0e-6a0b-4c39-9d0c-6f6b8f6d3a10")
DATA_TYPE = "6e6a8a36-2d0b-4f0c-9d5f-3c0a8f7e1d24"
LETHE_ID = 900
DATA_FOLDERS = {
    "lethe": (0o700, LETHE_ID),
    "config": (0o750, LETHE_ID),
    "rauc": (0o700, 0),
    "ota": (0o755, 0),
    "timesync": (0o755, 0),
}
"""Folder of the data partition: mode and group. `lethe` is the device's own, the rest root's."""
PARTITION = """    partition {name} {{
        image = "{image}"
        size = {size}
        partition-uuid = "{uuid}"{type}
    }}
"""
GENIMAGE = """image disk.img {{
    hdimage {{
        partition-table-type = "gpt"
        disk-uuid = "{disk}"
    }}
{partitions}}}
"""


@dataclass(frozen=True)
class Maker:
    """Makes the parts of a disk the same way every time.

    Attributes:
        recipe: the target.
        epoch: seconds since 1970 for every time that is written.
        work: folder for the parts.
        steps: shows progress.
        native: the target's mke2fs; this machine's if None, which may write the moment of the
            build into the file system.
    """

    recipe: Recipe
    epoch: int
    work: Path
    steps: Steps
    native: Native | None = None

    def _uuid(self, name: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{self.recipe.compatible}/{name}"))

    def _env(self) -> dict[str, str]:
        return {"SOURCE_DATE_EPOCH": str(self.epoch)}

    def ext4(self, name: str, tree: Path, mib: int, *options: str) -> Path:
        """Make an ext4 file system from a folder.

        Raises:
            BuildFailed: it does not fit, among others; the log says why.
        """
        image = self.work / f"{name}.ext4"
        image.unlink(missing_ok=True)
        with image.open("wb") as file:
            file.truncate(mib * MIB)
        identity, env, mke2fs = self._uuid(name), self._env(), ["mke2fs"]
        if self.native:
            mke2fs = [str(word) for word in self.native.command("usr/sbin/mke2fs")]
            env["MKE2FS_CONFIG"] = str(self.native.home / "etc/mke2fs.conf")
        self.steps.run(
            [
                *mke2fs, "-q", "-F", "-t", "ext4", "-L", f"lethe-{name}", "-U", identity,
                "-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0",
                *options, "-d", tree, image,
            ],
            env=env,
        )  # fmt: skip
        return image

    def root(self, tree: Path) -> Path:
        """Make the slot's file system: no journal, as it is never written."""
        return self.ext4("rootfs", tree, self.recipe.slot_mib, "-O", "^has_journal", "-m", "0")

    def data(self, given: Path | None) -> Path:
        """Make the data file system: its folders, and what is given for them.

        Args:
            given: folder with `config/` or `lethe/`; not changed. None: both are empty.
        """
        tree = self.work / "data"
        tree.mkdir()
        for name, (mode, group) in DATA_FOLDERS.items():
            folder, source = tree / name, given / name if given else None
            if source and source.is_dir():
                shutil.copytree(source, folder)
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
            owner = LETHE_ID if name == "lethe" else 0
            os.chown(folder, owner, group)
            for path in folder.rglob("*"):
                os.chown(path, owner, group)
                path.chmod(mode if path.is_dir() else mode & 0o666)
        set_times(tree, self.epoch)
        return self.ext4("data", tree, self.recipe.data_mib, "-m", "1")

    def fat(self, name: str, files: dict[str, Path]) -> Path:
        """Make a FAT boot partition.

        Args:
            name: of the image.
            files: path on it, with slashes, to the file that goes there.
        """
        image = self.work / f"{name}.vfat"
        image.unlink(missing_ok=True)
        with image.open("wb") as file:
            file.truncate(self.recipe.boot_mib * MIB)
        serial = self._uuid(name).replace("-", "")[:8]
        kind = "32" if self.recipe.boot_mib >= 64 else "16"
        self.steps.run(
            [
                "mkfs.vfat",
                "-F",
                kind,
                "-i",
                serial,
                "-n",
                f"LETHE-{name.upper()}"[:11],
                "--invariant",
                image,
            ],
            env=self._env(),
        )
        folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
        for folder in folders:
            self.steps.run(["mmd", "-i", image, f"::{folder}"], env=self._env())
        for name, source in sorted(files.items()):
            os.utime(source, (self.epoch, self.epoch))
            self.steps.run(["mcopy", "-m", "-i", image, source, f"::{name}"], env=self._env())
        return image

    def script(self, version: str) -> Path:
        """Compile U-Boot's boot script."""
        text = (HERE / "common" / "boot.cmd").read_text("utf-8")
        source, compiled = self.work / "boot.cmd", self.work / "boot.scr"
        source.write_text(fill(text, self.recipe, version), "utf-8")
        self.steps.run(
            ["mkimage", "-T", "script", "-C", "none", "-A", "arm64", "-d", source, compiled],
            env=self._env(),
        )
        return compiled

    def boot_state(self) -> Path:
        """Make the first boot state: slot A, three tries."""
        state, text = self.work / "env.bin", self.work / "env.txt"
        text.write_text("BOOT_ORDER=A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=0\n", "ascii")
        self.steps.run(["mkenvimage", "-r", "-s", "0x1000", "-o", state, text])
        state.chmod(0o644)
        return state

    def assemble(self) -> Path:
        """Put the parts in `work` together: the disk, in the order of its partitions."""
        (self.work / "empty").write_bytes(b"")
        boot, slot = f"{self.recipe.boot_mib}M", f"{self.recipe.slot_mib}M"
        data = f"{self.recipe.data_mib}M"
        partitions = {
            "uboot": [
                ("boot", "boot.vfat", boot, "F"),
                ("env", "env.bin", "128K", ""),
                ("a", "rootfs.ext4", slot, ""),
                ("b", "empty", slot, ""),
                ("data", "data.ext4", data, DATA_TYPE),
            ],
            "tryboot": [
                ("boot", "boot.vfat", boot, "F"),
                ("boot-a", "boot-slot.vfat", boot, "F"),
                ("boot-b", "empty", boot, "F"),
                ("a", "rootfs.ext4", slot, ""),
                ("b", "empty", slot, ""),
                ("data", "data.ext4", data, DATA_TYPE),
            ],
        }[self.recipe.boot.backend]
        parts = [
            PARTITION.format(
                name=f"lethe-{name}", image=image, size=size, uuid=self._uuid(f"{name}-part"),
                type=f'\n        partition-type-uuid = "{kind}"' if kind else "",
            )
            for name, image, size, kind in partitions
        ]  # fmt: skip
        config = self.work / "genimage.cfg"
        text = GENIMAGE.format(disk=self._uuid("disk-part"), partitions="".join(parts))
        config.write_text(text, "ascii")
        for name in ("root", "tmp"):
            shutil.rmtree(self.work / f"genimage-{name}", ignore_errors=True)
            (self.work / f"genimage-{name}").mkdir()
        self.steps.run(
            [
                "genimage", "--config", config, "--inputpath", self.work, "--outputpath", self.work,
                "--rootpath", self.work / "genimage-root", "--tmppath", self.work / "genimage-tmp",
            ],
            env=self._env(),
        )  # fmt: skip
        return self.work / "disk.img"
