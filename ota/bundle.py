"""Making and examining update bundles, by RAUC.

A bundle is a squashfs with the root file system and a dm-verity tree, described by a manifest that
is signed (RAUC's "verity" format): a device checks every block it reads against the signature.
"""

from __future__ import annotations

import configparser
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.process import output
from ota.keys import AUTHORITY_CERT, SIGNER_CERT, SIGNER_KEY

COMPRESSION = "-comp zstd -Xcompression-level 3"
"""The default, zlib, takes nine times as long for 3 % less."""
HOST_CONFIG = """[system]
compatible=host
bootloader=noop
bundle-formats=-plain

[keyring]
path={authority}
check-purpose=codesign
"""
"""What devices hold, for RAUC on the owner's machine: a signer without the purpose is refused here
already."""


@dataclass(frozen=True)
class Content:
    """What a bundle says of itself.

    Attributes:
        compatible: the devices it is for.
        version: semantic version.
        description: for people.
    """

    compatible: str
    version: str
    description: str = ""


def make(images: Mapping[str, Path], content: Content, keys: Path, bundle: Path) -> None:
    """Make and sign a bundle; it is checked against the authority as a device would.

    Args:
        images: slot class ("rootfs", and "boot" where a slot has one) to its image.
        content: what it says of itself.
        keys: folder of `ota.keys` with authority's certificate and a signer.
        bundle: the file to write; replaced.

    Raises:
        BuildFailed: RAUC refused: an expired signer, a missing file; the message is RAUC's.
    """
    with tempfile.TemporaryDirectory(dir=bundle.parent) as folder:
        work = Path(folder)
        tree = work / "content"
        tree.mkdir()
        for image in images.values():
            _link_or_copy(image, tree / image.name)
        _write_manifest(tree / "manifest.raucm", content, images)
        made = work / "bundle.raucb"
        output(
            [
                "rauc", "--conf", _host_config(work, keys),
                "--cert", keys / SIGNER_CERT, "--key", keys / SIGNER_KEY,
                "--keyring", keys / AUTHORITY_CERT,
                f"--mksquashfs-args={COMPRESSION}", "bundle", tree, made,
            ]
        )  # fmt: skip
        made.replace(bundle)


def examine(bundle: Path, keys: Path) -> Mapping[str, Any]:
    """Return what RAUC says of a bundle whose signature it has checked.

    Raises:
        BuildFailed: the signature is missing, wrong, expired or not for code; RAUC's words.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = output(
            [
                "rauc", "--conf", _host_config(Path(folder), keys),
                "info", "--output-format=json", bundle,
            ]
        )  # fmt: skip
    answer: dict[str, Any] = json.loads(told[told.index("{") :])
    return answer


def _host_config(work: Path, keys: Path) -> Path:
    config = work / "system.conf"
    config.write_text(HOST_CONFIG.format(authority=(keys / AUTHORITY_CERT).resolve()), "utf-8")
    return config


def _write_manifest(path: Path, content: Content, images: Mapping[str, Path]) -> None:
    manifest = configparser.ConfigParser(interpolation=None)
    manifest["update"] = {"compatible": content.compatible, "version": content.version}
    if content.description:
        manifest["update"]["description"] = content.description
    manifest["bundle"] = {"format": "verity"}
    for kind, image in images.items():
        manifest[f"image.{kind}"] = {"filename": image.name}
    with path.open("w", encoding="utf-8") as file:
        manifest.write(file, space_around_delimiters=False)


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard-link where source and target share a file system: root images are large."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
