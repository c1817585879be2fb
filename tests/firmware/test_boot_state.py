"""The boot script in the real U-Boot, started on disks whose boot state is whole, torn or lost.

The slots hold no kernel, so every start ends with "cannot be started": what is looked at is which
slot was chosen, and what was written before.
"""

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import msgspec
import pytest

from firmware import recipe
from firmware.disk import Maker
from firmware.process import Steps

ROOT = Path(__file__).resolve().parents[2]
LOADERS = (
    ROOT / "build/image-qemu/u-boot.bin",
    Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
)
TOOLS = ("qemu-system-aarch64", "genimage", "mkimage", "mkenvimage", "mcopy", "mkfs.vfat", "mke2fs")
COPY, SECOND = 0x1000, 0x10000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def copy(count, **variables):
    """One copy in the format of U-Boot's redundant environment (include/env_internal.h)."""
    text = b"".join(f"{k}={v}\0".encode() for k, v in variables.items())
    data = text.ljust(COPY - 5, b"\0")
    return struct.pack("<IB", zlib.crc32(data), count) + data


def state(order="A B", a=3, b=3):
    return {"BOOT_ORDER": order, "BOOT_A_LEFT": a, "BOOT_B_LEFT": b}


def torn(content, at=600):
    """What a power cut in a write leaves: new sectors, then old ones."""
    return content[:at] + b"\xff" * (len(content) - at)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(absent)}: not installed; ./lethe image build qemu installs them")
    if not (loader := next((path for path in LOADERS if path.exists()), None)):
        pytest.skip("no U-Boot for QEMU: ./lethe image build qemu, or apt-get install u-boot-qemu")
    work = tmp_path_factory.mktemp("disk")
    small = msgspec.structs.replace(
        recipe.load(recipe.HERE / "qemu/recipe.toml"), slot_mib=8, boot_mib=16, data_mib=8
    )
    maker = Maker(small, 1_700_000_000, work, Steps(work / "log"))
    (work / "tree").mkdir()
    maker.root(work / "tree")
    maker.data(None)
    maker.fat("boot", {"boot.scr": maker.script("1.0.0")})
    maker.boot_state()
    return Disk(maker.assemble(), loader, work)


class Disk:
    def __init__(self, image, loader, work):
        self.image, self.loader, self.work = image, loader, work
        content = image.read_bytes()
        (entries,) = struct.unpack_from("<Q", content, 512 + 72)
        for number in range(16):
            at = entries * 512 + number * 128
            if content[at + 56 : at + 128].decode("utf-16le").startswith("lethe-env"):
                self.at = struct.unpack_from("<Q", content, at + 32)[0] * 512

    def start(self, first, second):
        """Start once; returns the slot that was chosen and both copies afterwards."""
        changed = self.work / "changed.img"
        content = bytearray(self.image.read_bytes())
        content[self.at : self.at + COPY] = first
        content[self.at + SECOND : self.at + SECOND + COPY] = second
        changed.write_bytes(content)
        done = subprocess.run(
            ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "1024",
             "-nographic", "-nic", "none", "-no-reboot", "-bios", self.loader,
             "-drive", f"if=none,id=d,format=raw,file={changed}",
             "-device", "virtio-blk-pci,drive=d"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=240, check=True,
        )  # fmt: skip
        self.said = done.stdout.decode("ascii", "replace")
        after = changed.read_bytes()
        chosen = re.search(r"lethe: starting slot (\w)", self.said)
        copies = [after[self.at + o : self.at + o + COPY] for o in (0, SECOND)]
        return chosen[1] if chosen else None, *copies


def read(content):
    """Count and variables of a copy; None if it is not whole."""
    crc, count = struct.unpack_from("<IB", content)
    if crc != zlib.crc32(content[5:]):
        return None
    pairs = dict(line.split("=", 1) for line in content[5:].decode().split("\0") if line)
    order, a, b = pairs.pop("BOOT_ORDER"), int(pairs.pop("BOOT_A_LEFT")), int(pairs["BOOT_B_LEFT"])
    assert set(pairs) == {"BOOT_B_LEFT"}, "nothing else is kept"
    return count, order, a, b


OLD, NEW = copy(7, **state("A B", 3, 0)), copy(8, **state("B A", 3, 3))


@pytest.mark.parametrize(
    ("first", "second", "slot", "written"),
    [
        pytest.param(OLD, NEW, "B", (0, (9, "B A", 3, 2)), id="newer-is-second"),
        pytest.param(NEW, OLD, "B", (1, (9, "B A", 3, 2)), id="newer-is-first"),
        pytest.param(torn(NEW), OLD, "A", (0, (8, "A B", 2, 0)), id="torn-while-written"),
        pytest.param(OLD, torn(NEW), "A", (1, (8, "A B", 2, 0)), id="second-torn-while-written"),
        pytest.param(b"\0" * COPY, NEW, "B", (0, (9, "B A", 3, 2)), id="first-empty"),
        pytest.param(
            copy(255, **state("A", 3, 0)), copy(0, **state("B A", 3, 3)), "B",
            (0, (1, "B A", 3, 2)), id="count-wraps",
        ),
        pytest.param(
            torn(NEW), torn(OLD), "A", (0, (1, "A B", 2, 3)), id="both-lost-tries-everything"
        ),
        pytest.param(
            copy(1, **state("B A", 3, 0)), b"\0" * COPY, "A", (1, (2, "B A", 2, 0)),
            id="no-tries-left-takes-the-other",
        ),
        pytest.param(
            copy(1, **state("A", 0, 0)), b"\0" * COPY, None, (1, (2, "A", 3, 0)),
            id="never-revives-what-is-not-in-the-order",
        ),
        pytest.param(
            copy(1, **state("A", 3, 0), slot="B", label="lethe-b", bootdelay="-1"), b"\0" * COPY,
            "A", (1, (2, "A", 2, 0)), id="takes-no-other-variable",
        ),
    ],
)  # fmt: skip
def test_which_slot_starts_and_what_is_written_before(disk, first, second, slot, written):
    chosen, *copies = disk.start(first, second)
    assert chosen == slot, disk.said
    place, content = written
    assert read(copies[place]) == content
    assert copies[1 - place] == (first, second)[1 - place], "the copy that counted is untouched"
    assert "cannot be started" in disk.said or slot is None
