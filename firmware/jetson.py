"""The Jetson target: a Debian package and an overlay for NVIDIA's L4T root file system.

Boot chain, kernel and partitions stay NVIDIA's. *Never run on a board.*
"""

from __future__ import annotations

import shutil
from pathlib import Path

from firmware import application, deb, rootfs
from firmware.build import Options
from firmware.errors import BuildFailed
from firmware.process import Steps
from firmware.recipe import HERE

RELEASE = "jammy"
"""What L4T r36 (JetPack 6) is made from; its Python 3.10 is too old, python3.11 is in universe."""
UNITS = (
    "lethe-good.service", "lethe-goback.service", "lethe-install.path", "lethe-install.service"
)  # fmt: skip


def build(options: Options, steps: Steps) -> tuple[Path, Path]:
    """Make package and overlay.

    Returns:
        The package, and the folder to be copied over `Linux_for_Tegra/rootfs`.

    Raises:
        BuildFailed: the authority's certificate or a wheel is missing.
    """
    if not options.keyring.is_file():
        raise BuildFailed(f"{options.keyring}: no such certificate; make it: ./lethe ota keys")
    version = options.version or application.version()
    package = deb.build(
        options.out, options.cache, steps, release=RELEASE, architecture="arm64",
        epoch=options.epoch,
    )  # fmt: skip
    return package, make_overlay(options, version)


def make_overlay(options: Options, version: str) -> Path:
    """Make the folder that is copied over L4T's root file system."""
    overlay = options.out / "overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    application.place(HERE / "jetson" / "overlay", overlay)
    system = overlay / "usr/lib/systemd/system"
    for unit in UNITS:
        shutil.copy2(rootfs.UPDATES / unit, system)
    dropin = "lethe-selftest.service.d"
    application.place(rootfs.UPDATES / dropin, system / dropin)
    (system / "multi-user.target.wants").mkdir()
    for unit in ("lethe-selftest.service", "lethe-good.service", "lethe-install.path"):
        (system / "multi-user.target.wants" / unit).symlink_to(f"../{unit}")
    (system / "local-fs.target.wants").mkdir()
    for unit in ("data.mount", "var-lib-lethe.mount"):
        (system / "local-fs.target.wants" / unit).symlink_to(f"../{unit}")
    application.place(rootfs.OTA, overlay / application.HOME / "ota")
    for name in ("good", "goback"):  # os-release is Ubuntu's: the build is named by ours
        path = overlay / application.HOME / "ota" / name
        text = path.read_text("utf-8")
        path.write_text(text.replace("/usr/lib/os-release", "/usr/lib/lethe/os-release"), "utf-8")
    release = overlay / application.HOME / "os-release"
    release.write_text(f"VERSION_ID={version}\nBUILD_ID={version}-{options.epoch}\n", "ascii")
    config = overlay / "etc/rauc/system.conf"
    config.write_text(config.read_text("utf-8").replace("@VERSION@", version), "utf-8")
    shutil.copy2(options.keyring, overlay / "etc/rauc/keyring.pem")
    return overlay
