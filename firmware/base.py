"""The base of a root file system: Debian's packages and nothing else, as a tar that is cached.

This is the slow part: the packages' own scripts run emulated. So it depends on as little as may
be (packages, mirror, initramfs settings), and is made again only when one of those changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from firmware.process import Steps
from firmware.recipe import HERE, Recipe, common_packages

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DOWNLOADS = "var/cache/lethe"
"""Where the base keeps the packages that are unpacked by hand."""
HNSWLIB = "python3-hnswlib"
INITRAMFS = HERE / "common" / "initramfs"
TRYBOOT = HERE / "raspberrypi" / "initramfs" / "lethe-tryboot"
EPOCH = 1754697600
"""Time of the files in a base, seconds since 1970: the day Debian 13 came out. The image's own time
is set later, so that a commit does not make the base anew."""
LEFT_OUT = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/i18n/*",
    "path-exclude=/usr/share/bug/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",  # the licences stay
)


@dataclass(frozen=True)
class Archive:
    """Where packages come from, and as of when.

    Attributes:
        mirror: Debian mirror; one of snapshot.debian.org pins every version.
        security: mirror of the security updates.
    """

    mirror: str
    security: str


def main_source(archive: Archive, suite: str) -> str:
    """Return Debian's main archive as a line of apt's sources.list."""
    return f"deb [signed-by={KEYRING}] {archive.mirror} {suite} main"


def sources(recipe: Recipe, archive: Archive) -> list[str]:
    """Return the archives as lines of apt's sources.list."""
    suites = [
        main_source(archive, recipe.suite),
        f"deb [signed-by={KEYRING}] {archive.mirror} {recipe.suite}-updates main",
        f"deb [signed-by={KEYRING}] {archive.security} {recipe.suite}-security main",
    ]
    for source in recipe.sources:
        key = source.key or KEYRING
        mirror, parts = source.mirror or archive.mirror, " ".join(source.components)
        suites.append(f"deb [signed-by={key}] {mirror} {source.suite} {parts}")
    return suites


def fingerprint(recipe: Recipe, archive: Archive) -> str:
    """Return a name for the base that changes with everything it is made from."""
    made_from = [
        sources(recipe, archive),
        sorted([*common_packages(), *recipe.packages, *recipe.boot.packages]),
        LEFT_OUT,
        [path.read_text("utf-8") for path in sorted(INITRAMFS.iterdir())],
        *([TRYBOOT.read_text("utf-8")] if recipe.boot.backend == "tryboot" else []),
    ]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]


def describe(recipe: Recipe, archive: Archive) -> list[str]:
    """Return what a build would fetch from where, for people, without asking anyone."""
    return [
        *sources(recipe, archive),
        "packages, with what they depend on:",
        *(f"  {name}" for name in sorted([*common_packages(), *recipe.packages])),
        "unpacked, not installed:",
        *(f"  {name}" for name in sorted([*recipe.boot.packages, HNSWLIB])),
    ]


def command(recipe: Recipe, archive: Archive, target: Path) -> list[str]:
    """Return the call of mmdebstrap that makes the base."""
    packages = sorted([*common_packages(), *recipe.packages])
    taken_along = " ".join([*recipe.boot.packages, HNSWLIB])
    download = (
        f'cd "$1/{DOWNLOADS}" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download {taken_along}'
    )
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        "--architectures=arm64",
        "--format=tar",
        f"--include={','.join(packages)}",
        '--aptopt=Apt::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=force-confold",
        *(f"--dpkgopt={option}" for option in LEFT_OUT),
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
        f'--essential-hook=cp {INITRAMFS}/lethe.conf "$1/etc/initramfs-tools/conf.d/"',
        f"--essential-hook=cp {INITRAMFS}/modules {INITRAMFS}/update-initramfs.conf "
        '"$1/etc/initramfs-tools/"',
        *(
            [
                "--essential-hook="
                f'install -D {TRYBOOT} "$1/etc/initramfs-tools/scripts/local-top/lethe-tryboot"'
            ]
            if recipe.boot.backend == "tryboot"
            else []
        ),
        # Taken along, not installed: the boot loader has a partition of its own, and of hnswlib
        # only the library is wanted, not Debian's numpy.
        f'--customize-hook=mkdir -p "$1/{DOWNLOADS}"',
        f"--customize-hook={download}",
        recipe.suite,
        str(target),
        *sources(recipe, archive),
    ]


def make(recipe: Recipe, archive: Archive, cache: Path, steps: Steps) -> Path:
    """Return the base's tar, made unless it is in the cache.

    Raises:
        BuildFailed: mmdebstrap failed; the log says why.
    """
    tar = cache / f"base-{recipe.name}-{fingerprint(recipe, archive)}.tar"
    if tar.exists():
        steps.say(f"Debian packages: {tar} (cached)")
        return tar
    cache.mkdir(parents=True, exist_ok=True)
    part = tar.with_suffix(".part.tar")
    with steps.step("Debian packages (emulated: about half an hour)"):
        steps.run(command(recipe, archive, part), env={"SOURCE_DATE_EPOCH": str(EPOCH)})
    part.rename(tar)
    return tar
