"""What lies on a target's boot partitions: the one place that knows boards by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from firmware.disk import Maker
from firmware.errors import BuildFailed
from firmware.recipe import HERE, Recipe

RASPI_FIRMWARE = Path("usr/lib/raspi-firmware")
AUTOBOOT = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
"""Always 512 bytes: `ota/device/tryboot` overwrites the one sector."""


def make_boot(maker: Maker, tree: Path, along: Path, version: str) -> dict[str, Path]:
    """Make the boot partitions, and the boot state where the boot loader keeps one.

    Args:
        maker: of the target.
        tree: the finished root file system.
        along: the boot packages, unpacked.
        version: of the image.

    Returns:
        Further images that a bundle must hold, by RAUC's slot class.

    Raises:
        BuildFailed: a boot package lacks a file.
    """
    recipe = maker.recipe
    if recipe.boot.backend == "tryboot":
        (maker.work / "autoboot.txt").write_text(f"{AUTOBOOT:<511}\n", "ascii")
        maker.fat("boot", {"autoboot.txt": maker.work / "autoboot.txt"})
        return {"boot": maker.fat("boot-slot", _pi5(maker, tree, along))}
    maker.boot_state()
    script = {"boot.scr": maker.script(version)}
    if recipe.name == "qemu":  # its boot loader is QEMU's argument
        shutil.copy2(along / "usr/lib/u-boot/qemu_arm64/u-boot.bin", maker.work / "u-boot.bin")
        maker.fat("boot", script)
    else:
        maker.fat("boot", script | _pi4(recipe, tree, along))
    return {}


def _pi4(recipe: Recipe, tree: Path, along: Path) -> dict[str, Path]:
    return {
        "u-boot.bin": _need(along / "usr/lib/u-boot/rpi_arm64/u-boot.bin"),
        "start4.elf": _need(along / RASPI_FIRMWARE / "start4.elf"),
        "fixup4.dat": _need(along / RASPI_FIRMWARE / "fixup4.dat"),
        recipe.boot.tree: device_tree(tree, recipe),
        **_files(recipe),
    }


def _pi5(maker: Maker, tree: Path, along: Path) -> dict[str, Path]:
    recipe = maker.recipe
    # No root=: `raspberrypi/initramfs/lethe-tryboot` sets it, one boot image serves both slots.
    line = maker.work / "cmdline.txt"
    line.write_text(
        f"ro console={recipe.boot.console} panic=10 systemd.gpt_auto=0 quiet "
        f"{' '.join(recipe.boot.arguments)}\n",
        "ascii",
    )
    return {
        "vmlinuz": _need((tree / "boot/vmlinuz").resolve()),
        "initrd.img": _need((tree / "boot/initrd.img").resolve()),
        "cmdline.txt": line,
        recipe.boot.tree: device_tree(tree, recipe),
        **_files(recipe),
    }


def device_tree(tree: Path, recipe: Recipe) -> Path:
    """Return the board's device tree, which Debian's kernel package brings.

    Raises:
        BuildFailed: there is none.
    """
    found = sorted(tree.glob(f"usr/lib/linux-image-*/broadcom/{recipe.boot.tree}"))
    if not found:
        raise BuildFailed(f"{recipe.boot.tree}: the kernel's package brings no such device tree")
    return found[-1]


def _files(recipe: Recipe) -> dict[str, Path]:
    folder = HERE / recipe.boot.files
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}


def _need(path: Path) -> Path:
    if not path.is_file():
        raise BuildFailed(f"{path}: not there: has the package moved it?")
    return path
