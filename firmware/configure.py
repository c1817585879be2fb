"""`image configure`: a device's lethe.toml into an image's boot partition, before it is flashed.

Nothing is mounted: sfdisk says where the partition lies, mtools writes into it.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge import limits
from edge.errors import ConfigError
from edge.files import read_small
from edge.provision.document import Plan, parse
from firmware.errors import BuildFailed
from firmware.process import output

TOOLS = {"sfdisk": "fdisk", "mcopy": "mtools"}
"""Program and the Debian package that holds it."""
PARTITION, FILE = "lethe-boot", "lethe.toml"


def check(file: Path) -> Plan:
    """Read a device's file as the device itself will.

    Raises:
        ConfigError: it cannot be read, or the device would refuse it; says where and why.
    """
    try:
        return parse(read_small(file, limits.MAX_CONFIG_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error


def configure(image: Path, file: Path) -> Plan:
    """Put a device's file into an image, in the place of one that is there.

    Args:
        image: from `image build`, or a card's device.
        file: the device's lethe.toml.

    Returns:
        What the device will do with it.

    Raises:
        ConfigError: the device would refuse the file; the image is as it was.
        BuildFailed: the image has no such partition, or a tool is missing or failed.
    """
    plan = check(file)
    put(image, file)
    return plan


def put(image: Path, file: Path) -> None:
    """Put a file into an image as it is, right or wrong: as a hand does that copies it there.

    Raises:
        BuildFailed: as `configure`.
    """
    place = f"{image}@@{_offset(image)}"
    output(["mcopy", "-o", "-i", place, file, f"::{FILE}"])
    written = output(["mtype", "-i", place, f"::{FILE}"])
    if written.encode() != file.read_bytes():
        raise BuildFailed(f"{image}: {FILE} reads back differently: is the medium sound?")


def _offset(image: Path) -> int:
    """Return where the boot partition begins, bytes."""
    try:
        table = json.loads(output(["sfdisk", "--json", image]))["partitiontable"]
        sector = int(table.get("sectorsize", 512))
        starts = [int(p["start"]) for p in table["partitions"] if p.get("name") == PARTITION]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildFailed(f"{image}: no partition table that sfdisk can read: {error}") from error
    if len(starts) != 1:
        raise BuildFailed(f"{image}: no partition {PARTITION}; is it one of Lethe's images?")
    return starts[0] * sector
