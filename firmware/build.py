"""`image build`: the steps in their order, and the record of what came out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.errors import BadInput
from firmware import application, base, boards, host, native, rootfs
from firmware.disk import Maker
from firmware.errors import BuildFailed
from firmware.process import Steps
from firmware.recipe import Recipe

PYTHON_FOLDERS = [Path("usr/lib/python3"), Path(f"usr/lib/python{rootfs.PYTHON}"), application.HOME]


VERSION = re.compile(r"\d+(\.\d+){0,2}(-[0-9A-Za-z.-]+)?")
"""RAUC's idea of a semantic version, without the part that it does not compare."""


@dataclass(frozen=True)
class Options:
    """What a build is given.

    Attributes:
        archive: where packages come from.
        epoch: seconds since 1970 for every time in the image.
        keyring: certificate of the authority whose bundles the device installs.
        out: folder for what comes out.
        cache: folder for what the next build need not make again.
        version: of the image; the project's if empty.
        data: folder whose content goes onto the data partition, or None.
    """

    archive: base.Archive
    epoch: int
    keyring: Path
    out: Path
    cache: Path
    version: str = ""
    data: Path | None = None


class Record(msgspec.Struct, kw_only=True):
    """What a build made, beside it as `image.json`.

    Attributes:
        target: of the recipe.
        compatible: what bundles for it must say.
        version: of the image.
        build_id: hash of the root file system's content; in os-release.
        epoch: seconds since 1970 in its files.
        images: RAUC's slot class to the file that a bundle holds for it.
        sha256: file to its hash.
        bytes: file to its size.
        content_bytes: sum of the files in the root file system.
        largest: folders of the root file system that take the most, with bytes.
        seconds: step to its duration.
    """

    target: str
    compatible: str
    version: str
    build_id: str
    epoch: int
    images: dict[str, str]
    sha256: dict[str, str]
    bytes: dict[str, int]
    content_bytes: int
    largest: list[tuple[str, int]]
    seconds: dict[str, float]


def source_epoch() -> int:
    """Return SOURCE_DATE_EPOCH, or the time of the last commit, seconds since 1970.

    Raises:
        BuildFailed: neither is there.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],
        cwd=application.ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip
    if done.returncode or not done.stdout.strip().isdecimal():
        raise BuildFailed("not a git checkout: set SOURCE_DATE_EPOCH to seconds since 1970")
    return int(done.stdout)


def build(recipe: Recipe, options: Options, steps: Steps) -> Record:
    """Build an image.

    Raises:
        LetheError: a tool is missing or failed; the message says what to do.
    """
    version = options.version or application.version()
    if not VERSION.fullmatch(version):
        raise BadInput(f"{version}: no version that RAUC can compare, such as 1.2.3-rc1")
    if not options.keyring.is_file():
        raise BuildFailed(f"{options.keyring}: no such certificate; make it: ./lethe ota keys")
    host.need_root()
    host.need(steps, host.IMAGE_TOOLS)
    host.need_arm64(steps)
    os.umask(0o022)  # the modes of what is made here are in the image
    work = options.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    tree, along = work / "root", work / "along"
    tar = base.make(recipe, options.archive, options.cache, steps)
    site = application.fetch_wheels(
        options.cache, steps, machine="aarch64", python=rootfs.PYTHON, glibc=rootfs.GLIBC
    )
    rootfs.unpack(tar, tree, steps)
    (options.out / "packages.txt").write_text(rootfs.packages(tree), "utf-8")
    rootfs.take_along(tree, along)
    rootfs.complete(tree, recipe, site, along, version, steps)
    tools = native.Native.fetch(options.archive, recipe.suite, options.cache, steps)
    native.compile_python(tools, tree, PYTHON_FOLDERS, rootfs.PYTHON, steps)
    shutil.copy2(options.keyring, tree / "etc/rauc/keyring.pem")
    build_id = rootfs.seal(tree, options.epoch)
    largest, content = rootfs.largest(tree), rootfs.size(tree)
    maker = Maker(recipe, options.epoch, work, steps, tools)
    with steps.step("file systems"):
        maker.root(tree)
        maker.data(options.data)
        further = boards.make_boot(maker, tree, along, version)
    with steps.step("disk image"):
        disk = maker.assemble()
    images = {"rootfs": work / "rootfs.ext4", **further}
    named = {path.name: path for path in images.values()} | {f"lethe-{recipe.name}.img": disk}
    for name, path in named.items():
        path.replace(options.out / name)
    record = Record(
        target=recipe.name,
        compatible=recipe.compatible,
        version=version,
        build_id=build_id,
        epoch=options.epoch,
        images={kind: path.name for kind, path in images.items()},
        sha256={name: _sha256(options.out / name) for name in named},
        bytes={name: (options.out / name).stat().st_size for name in named},
        content_bytes=content,
        largest=largest,
        seconds=steps.seconds,
    )
    if (work / "u-boot.bin").exists():
        (work / "u-boot.bin").replace(options.out / "u-boot.bin")
    (options.out / "image.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    shutil.rmtree(work)
    return record


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
