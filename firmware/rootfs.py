"""The root file system of a slot: base, application and overlays, made ready to be read-only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from firmware import application, base
from firmware.process import Steps, output
from firmware.recipe import HERE, Recipe

UPDATES, PROVISIONING = HERE / "common" / "updates", HERE / "common" / "provisioning"
OTA = application.ROOT / "ota" / "device"
PYTHON, GLIBC = "3.13", 41
"""Debian 13's."""
ENABLED = (
    "systemd-networkd", "systemd-resolved", "systemd-timesyncd", "lethe", "lethe-selftest",
    "lethe-good", "lethe-grow", "lethe-provision", "lethe-enrol", "lethe-install.path",
)  # fmt: skip
MASKED = (
    "getty@.service", "serial-getty@.service", "apt-daily.timer", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "systemd-networkd-wait-online.service", "systemd-hibernate-clear.service",
)  # fmt: skip
REMOVED = (
    "boot/*.old", "etc/ssh/ssh_host_*",
    "etc/*-", "initrd.img*", "vmlinuz*", "root/.*", "tmp/*", "usr/share/pixmaps",
    "var/cache/*", "var/log/*", "var/tmp/*",
    "var/lib/apt/*", "var/lib/dpkg/*-old", "var/lib/dpkg/info/*.md5sums",
    "var/lib/systemd/random-seed", "var/lib/systemd/catalog",
)  # fmt: skip
"""What belongs to one machine, one build, or nobody."""


def unpack(tar: Path, tree: Path, steps: Steps) -> None:
    """Unpack the base into an empty folder."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    with steps.step("unpacking"):
        steps.run(["tar", "--numeric-owner", "--xattrs", "-xf", tar, "-C", tree])


def packages(tree: Path) -> str:
    """Return every Debian package with its version, one a line."""
    admin = tree / "var/lib/dpkg"
    return output(["dpkg-query", f"--admindir={admin}", "-W", "-f=${Package} ${Version}\\n"])


def take_along(tree: Path, into: Path) -> None:
    """Move the packages that the base took along out of the tree, and unpack them."""
    for package in sorted((tree / base.DOWNLOADS).glob("*.deb")):
        output(["dpkg-deb", "-x", package, into])
        package.unlink()


def complete(
    tree: Path, recipe: Recipe, site: Path, along: Path, version: str, steps: Steps
) -> None:
    """Add application and configuration to an unpacked base.

    Args:
        tree: the unpacked base; changed.
        recipe: the target.
        site: the wheels, from `application.fetch_wheels`.
        along: what `take_along` unpacked.
        version: of the image.
        steps: shows progress.

    Raises:
        BuildFailed: a program of the target failed; the log says why.
    """
    application.install(tree, site, PYTHON)
    for library in sorted((along / "usr/lib/python3/dist-packages").glob("hnswlib*.so")):
        shutil.copy2(library, tree / application.HOME / "site-packages")
    for overlay in ("common/overlay", *recipe.overlays):
        application.place(HERE / overlay, tree)
    application.install_units(tree)
    for units in (UPDATES, PROVISIONING):
        application.place(units, tree / "usr/lib/systemd/system")
    application.place(OTA, tree / application.HOME / "ota")
    for name in ("usr/lib/os-release", "etc/rauc/system.conf"):
        path = tree / name
        text = path.read_text("utf-8")
        path.write_text(fill(text, recipe, version), "utf-8")
    with steps.step("users, units"):
        steps.run(["chroot", tree, "systemd-sysusers"])
        steps.run(["chroot", tree, "systemctl", "enable", *ENABLED])
        steps.run(["chroot", tree, "systemctl", "mask", *MASKED])
    for pattern in REMOVED:
        for path in sorted(tree.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # Empty files and folders that a read-only root must have for what is mounted or bound there.
    for name in ("etc/machine-id", "etc/resolv.conf", "etc/hostname"):
        (tree / name).unlink(missing_ok=True)
    (tree / "etc/machine-id").write_text("uninitialized\n", "ascii")
    (tree / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (tree / "etc/hostname").write_text("lethe\n", "ascii")
    for folder in ("data", "etc/lethe", "boot/lethe"):
        (tree / folder).mkdir(exist_ok=True)
    # Device trees of boards that this is not for: 50 MB.
    for vendor in tree.glob("usr/lib/linux-image-*/*"):
        if vendor.is_dir() and not (recipe.boot.tree and (vendor / recipe.boot.tree).exists()):
            shutil.rmtree(vendor)
    kernel = next(iter(sorted((tree / "boot").glob("vmlinuz-*"))))
    release = kernel.name.removeprefix("vmlinuz-")
    (tree / "boot/vmlinuz").symlink_to(kernel.name)
    (tree / "boot/initrd.img").symlink_to(f"initrd.img-{release}")


def fill(text: str, recipe: Recipe, version: str) -> str:
    """Fill in what a template takes from the recipe."""
    for name, value in {
        "@COMPATIBLE@": recipe.compatible,
        "@TARGET@": recipe.name,
        "@VERSION@": version,
        "@CONSOLE@": recipe.boot.console,
        "@ARGUMENTS@": " ".join(recipe.boot.arguments),
        "@KERNEL_ADDRESS@": recipe.boot.kernel_address,
        "@INITRD_ADDRESS@": recipe.boot.initrd_address,
        "@SCRATCH_ADDRESS@": recipe.boot.scratch_address,
        "@FDT@": recipe.boot.fdt,
    }.items():
        text = text.replace(name, value)
    return text


def set_times(tree: Path, epoch: int) -> None:
    """Set every file's time to `epoch`, so that two builds are the same."""
    for folder, names, files in os.walk(tree):
        for name in [*names, *files]:
            os.utime(Path(folder, name), (epoch, epoch), follow_symlinks=False)
    os.utime(tree, (epoch, epoch))


def largest(tree: Path, count: int = 15) -> list[tuple[str, int]]:
    """Return what takes the most: folders three levels deep and their bytes, largest first."""
    sizes: dict[str, int] = {}
    for folder, _, files in os.walk(tree):
        relative = Path(folder).relative_to(tree)
        key = "/".join(relative.parts[:4]) or "."
        for name in files:
            sizes[key] = sizes.get(key, 0) + Path(folder, name).lstat().st_size
    return sorted(sizes.items(), key=lambda item: -item[1])[:count]


def size(tree: Path) -> int:
    """Return the sum of the sizes of all files, bytes."""
    return sum(
        Path(folder, name).lstat().st_size for folder, _, files in os.walk(tree) for name in files
    )


def seal(tree: Path, epoch: int) -> str:
    """Finish a tree: name its content in os-release, and set every time to `epoch`.

    Returns:
        The build id: 16 hex digits of the hash over every path, mode, owner and content.
    """
    digest = hashlib.sha256()
    for folder, names, files in os.walk(tree):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(folder, name)
            info = path.lstat()
            about = [str(path.relative_to(tree)), info.st_mode, info.st_uid, info.st_gid]
            digest.update(json.dumps(about).encode())
            if path.is_symlink():
                digest.update(os.fsencode(path.readlink()))
            elif path.is_file():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    build_id = digest.hexdigest()[:16]
    release = tree / "usr/lib/os-release"
    release.write_text(release.read_text("utf-8").replace("@BUILD@", build_id), "utf-8")
    set_times(tree, epoch)
    return build_id
