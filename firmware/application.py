"""The application as it lies on a device: our code, the locked wheels, the models.

The same tree goes into every image and into the Debian package:

    /usr/lib/lethe/                 code and models, as in the repository
    /usr/lib/lethe/site-packages/   the wheels of requirements/device.txt, nothing else
    /usr/bin/lethe                  the command
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from pathlib import Path

from firmware.process import Steps

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "device.txt"
HOME = Path("usr/lib/lethe")
CODE = ("edge", "cli", "fleet", "models/quantized", "demo/assets", "pyproject.toml", "LICENSE")
WORKSHOP = (
    "demo.py", "test.py", "evaluate.py", "image.py", "deb.py", "hil.py",
    "ota.py", "ota_models.py", "ota_rollout.py",
)  # fmt: skip
"""Commands that are of no use on a device, and need what is not there."""
GLIBC_OLDEST = 17
COMMAND = """#!/bin/sh
# Lethe's command line on a device. -P: nothing is imported from the folder one stands in.
export PYTHONPATH=/usr/lib/lethe:/usr/lib/lethe/site-packages PYTHONNOUSERSITE=1
exec python{python} -P -m cli.main "$@"
"""


def version() -> str:
    """Return the version of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return str(project["project"]["version"])


def fetch_wheels(cache: Path, steps: Steps, *, machine: str, python: str, glibc: int) -> Path:
    """Return a folder with the unpacked wheels of the lock, from the cache or the index.

    Args:
        cache: where it is kept.
        steps: shows progress.
        machine: "aarch64" or "x86_64".
        python: version on the device, such as "3.13".
        glibc: minor version of the C library on the device, such as 41 for 2.41.

    Raises:
        BuildFailed: a wheel is missing or its hash is wrong.
    """
    key = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    site = cache / f"site-{machine}-cp{python.replace('.', '')}-{glibc}-{key}"
    if site.exists():
        steps.say(f"wheels: {site} (cached)")
        return site
    part = site.with_name(f"{site.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    tag = "cp" + python.replace(".", "")
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, GLIBC_OLDEST - 1, -1)]
    with steps.step(f"wheels for {machine}, Python {python}"):
        steps.run(
            [
                sys.executable, "-m", "pip", "install", "--no-input", "--no-cache-dir",
                "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
                "--implementation", "cp", "--python-version", python,
                *(word for abi in (tag, "abi3", "none") for word in ("--abi", abi)),
                *(word for name in [*platforms, f"manylinux2014_{machine}"]
                  for word in ("--platform", name)),
                "--no-compile", "--target", part, "-r", LOCK,
            ]
        )  # fmt: skip
    shutil.rmtree(part / "bin", ignore_errors=True)  # their shebangs name this machine's Python
    part.rename(site)
    return site


def place(source: Path, target: Path, *left_out: str) -> None:
    """Copy a folder of the project, with modes that are the same whoever has checked it out.

    Args:
        source: the folder.
        target: where to; may be there.
        left_out: patterns of names.
    """
    shutil.copytree(
        source, target, symlinks=True, dirs_exist_ok=True, copy_function=_place_file,
        ignore=shutil.ignore_patterns(*left_out),
    )  # fmt: skip
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        placed = target / folder.relative_to(source)
        if placed.exists() and not placed.is_symlink():
            placed.chmod(0o755)


def _place_file(source: str | Path, target: str | Path) -> None:
    """Copy a file; git knows of its mode only whether it is executable, and so do we."""
    shutil.copy2(source, target)
    Path(target).chmod(0o755 if Path(source).stat().st_mode & 0o100 else 0o644)


def install(tree: Path, site: Path, python: str) -> None:
    """Put code, models and wheels into a root file system or package tree.

    Args:
        tree: the root of it.
        site: from `fetch_wheels`.
        python: version that they are for, such as "3.13".
    """
    home = tree / HOME
    home.mkdir(parents=True)
    for name in CODE:
        source, target = ROOT / name, home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            place(source, target, "__pycache__", *WORKSHOP)
        else:
            _place_file(source, target)
    shutil.copytree(site, home / "site-packages", symlinks=True)
    for folder in (home / "site-packages").rglob("tests"):
        shutil.rmtree(folder)
    command = tree / "usr/bin/lethe"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(COMMAND.format(python=python), "utf-8")
    command.chmod(0o755)


def install_units(tree: Path) -> None:
    """Put the systemd units of the device, and its user, into a tree."""
    common = ROOT / "firmware" / "common"
    for source, target in (
        (common / "systemd", "usr/lib/systemd/system"),
        (common / "sysusers", "usr/lib/sysusers.d"),
        (common / "udev", "usr/lib/udev/rules.d"),
    ):
        place(source, tree / target)
