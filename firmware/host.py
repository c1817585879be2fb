"""What the building machine needs: tools from Debian, and a way to run ARM64 programs."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from firmware.errors import BuildFailed
from firmware.process import Steps, missing, output

IMAGE_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "genimage": "genimage",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "mke2fs": "e2fsprogs",
    "mkimage": "u-boot-tools",
    "zstd": "zstd",
    "dpkg-deb": "dpkg",
}
"""Program and the Debian package that holds it."""
BUNDLE_TOOLS = {"rauc": "rauc", "mksquashfs": "squashfs-tools"}
EMULATION_TOOLS = {"qemu-aarch64-static": "qemu-user-static", "update-binfmts": "binfmt-support"}
VIRTUAL_MACHINE_TOOLS = {"qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils"}
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def need(steps: Steps, tools: dict[str, str]) -> None:
    """Install the Debian packages of missing tools as root; otherwise say how.

    Raises:
        BuildFailed: a tool is missing and cannot be installed.
    """
    absent = sorted({tools[name] for name in missing(list(tools))})
    if not absent:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *absent]
    if os.geteuid() != 0 or missing(["apt-get"]):
        raise BuildFailed(f"tools are missing; install them: sudo {' '.join(command)}")
    with steps.step(f"tools: {' '.join(absent)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        steps.run(["apt-get", "-qq", "update"], env=quiet)
        steps.run(command, env=quiet)
    still = missing(list(tools))
    if still:
        raise BuildFailed(f"{', '.join(still)}: still missing after {' '.join(command)}")


def need_root() -> None:
    """Refuse to go on without root: file owners and device nodes of the image need it.

    Raises:
        BuildFailed: not root.
    """
    if os.geteuid() != 0:
        raise BuildFailed("images are built as root (file owners): sudo ./lethe image build …")


def need_arm64(steps: Steps) -> None:
    """Make ARM64 programs runnable here: natively, or by QEMU's user mode emulation.

    binfmt_misc stays mounted where the system expects it: it belongs to the machine, not to us.

    Raises:
        BuildFailed: the kernel offers no binfmt_misc.
    """
    if platform.machine() == "aarch64":
        return
    # Before the package: its installation registers the emulators, which needs the mount.
    if not (BINFMT / "register").exists():
        steps.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    need(steps, EMULATION_TOOLS)
    if not (BINFMT / "qemu-aarch64").exists():
        output(["update-binfmts", "--enable", "qemu-aarch64"])
    if not (BINFMT / "qemu-aarch64").exists():
        raise BuildFailed("qemu-aarch64 is not registered: update-binfmts --display says why")
