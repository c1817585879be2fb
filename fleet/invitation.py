"""The one file for a device that is to come: what the operator wrote, completed by what is signed.

The template holds what the operator decides (camera, list, broker, network); device, root of trust,
authority and one-time token are put in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tomli_w

from edge import limits
from edge.errors import ConfigError
from edge.files import read_small, read_toml
from edge.provision import document


def complete(
    template: Path, device: str, root: Path, authority: Path, invite: Callable[[str], str]
) -> bytes:
    """Return the content of a device's lethe.toml.

    Args:
        template: TOML of the operator.
        device: id of the device.
        root: the fleet's root.json.
        authority: PEM of the authority that signs devices, and the broker's if it has another.
        invite: makes a one-time token; called when everything else is right.

    Raises:
        ConfigError: a file cannot be read, or the result would be refused by the device.
    """
    filled = read_toml(template, limits.MAX_CONFIG_BYTES)
    try:
        root_json = read_small(root, limits.MAX_ROOT_BYTES).decode("utf-8")
        own = read_small(authority, limits.MAX_AUTHORITIES_BYTES).decode("ascii")
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{root} or {authority}: not text: {error}") from error
    for section in ("device", "fleet", "broker", "enrol"):
        if not isinstance(filled.setdefault(section, {}), dict):
            raise ConfigError(f"{template}: {section} is no section")
    filled["device"]["id"] = device
    filled["fleet"]["root_json"] = root_json
    filled["broker"]["ca_pem"] = str(filled["broker"].get("ca_pem", "")) + own
    filled["enrol"]["token"] = document.EXAMPLE_TOKEN
    document.parse(tomli_w.dumps(filled).encode())  # refused here rather than on a roof
    filled["enrol"]["token"] = invite(device)
    return tomli_w.dumps(filled, multiline_strings=True).encode()
