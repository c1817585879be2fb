"""The fleet's devices and their public keys: devices.json in its folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge import limits
from edge.errors import ConfigError, FormatError
from edge.files import read_small
from edge.protocol.party import Party

DEVICES = "devices.json"


def read(file: Path) -> dict[str, Party]:
    """Return the devices in a devices.json by id; none where there is no file.

    Raises:
        ConfigError: it cannot be read.
        FormatError: it is damaged.
    """
    try:
        return decode(read_small(file, limits.MAX_OWNER_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error


def decode(content: bytes) -> dict[str, Party]:
    """Return the devices by id.

    Raises:
        FormatError: not in the documented form.
    """
    try:
        devices = msgspec.json.decode(content, type=list[Party])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{DEVICES}: not in the documented form: {error}") from error
    return {device.name: device for device in devices}


def encode(devices: dict[str, Party]) -> bytes:
    """Return the content of the file."""
    ordered = sorted(devices.values(), key=lambda device: device.name)
    return msgspec.json.format(msgspec.json.encode(ordered))


def added(devices: dict[str, Party], device: Party) -> dict[str, Party]:
    """Return the devices with one more.

    Raises:
        ConfigError: another device has its id.
        FormatError: its keys are none.
    """
    if devices.get(device.name, device) != device:
        raise ConfigError(
            f"{device.name}: registered with other keys; was it set up anew? "
            "`lethe fleet device remove` it first"
        )
    _ = device.device_key, device.opening_key  # refused here rather than at the first list
    return devices | {device.name: device}
