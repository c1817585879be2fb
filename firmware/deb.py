"""The Debian package: application, wheels and units, for those who keep their own system.

The wheels belong to one Python, so a package is for one Debian release and one processor.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from firmware import application
from firmware.process import Steps
from firmware.rootfs import set_times

SCRIPTS = application.ROOT / "firmware" / "debian"


@dataclass(frozen=True)
class Release:
    """A Debian release: the name of its packages, its Python, and the minor version of its libc."""

    tag: str
    python: str
    glibc: int


RELEASES = {
    "jammy": Release("ubuntu22.04", "3.11", 35),
    "bookworm": Release("deb12", "3.11", 36),
    "trixie": Release("deb13", "3.13", 41),
    "noble": Release("ubuntu24.04", "3.12", 39),
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
CONTROL = """Package: lethe
Version: {version}
Architecture: {architecture}
Maintainer: The Lethe project <lethe@localhost>
Installed-Size: {kib}
Depends: python{python}, libstdc++6, ca-certificates, systemd
Section: video
Priority: optional
Description: camera that recognises only people on a signed list, and forgets everyone else
 The device of Lethe with its models and everything it needs from PyPI, as a sandboxed service.
 Nothing starts before /etc/lethe/lethe.toml is there.
"""


def build(
    out: Path, cache: Path, steps: Steps, *, release: str, architecture: str, epoch: int
) -> Path:
    """Build the package.

    Args:
        out: folder for it.
        cache: where wheels are kept.
        steps: shows progress.
        release: a key of `RELEASES`.
        architecture: a key of `MACHINES`.
        epoch: seconds since 1970 for every time in it.

    Returns:
        The package.

    Raises:
        BuildFailed: a wheel is missing or a tool failed; the log says why.
    """
    target, machine = RELEASES[release], MACHINES[architecture]
    site = application.fetch_wheels(
        cache, steps, machine=machine, python=target.python, glibc=target.glibc
    )
    version = f"{application.version()}+{target.tag}"
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"lethe_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(dir=out) as folder, steps.step(f"package {package.name}"):
        tree = Path(folder) / "tree"
        tree.mkdir(mode=0o755)
        application.install(tree, site, target.python)
        application.install_units(tree)
        documents = tree / "usr/share/doc/lethe"
        documents.mkdir(parents=True)
        shutil.copy2(application.ROOT / "LICENSE", documents / "copyright")
        shutil.copy2(SCRIPTS / "lethe.toml.example", documents)
        control = tree / "DEBIAN"
        control.mkdir()
        for name in ("postinst", "prerm", "postrm"):
            script = (SCRIPTS / name).read_text("utf-8").replace("@PYTHON@", target.python)
            (control / name).write_text(script, "utf-8")
            (control / name).chmod(0o755)
        size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file())
        text = CONTROL.format(
            version=version,
            architecture=architecture,
            kib=size // 1024,
            python=target.python,
        )
        (control / "control").write_text(text, "utf-8")
        _set_modes(tree)
        set_times(tree, epoch)
        steps.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z9", "--build", tree, package],
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
    return package


def _set_modes(tree: Path) -> None:
    """Give every file the mode it is to have, whatever the umask of the builder."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
