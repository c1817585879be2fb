"""MQTT topics. `docs/mqtt.md` is the reference: direction, QoS, retain, schema of each."""

from __future__ import annotations

TIMESTAMP = "metadata/timestamp.json"
"""Its message says that something new was signed. Published last."""
SENTINEL = "sentinel"
"""Retained and never changed: asked for after other topics, it comes when they hold nothing."""


def trust(root: str, path: str) -> str:
    """Fleet to device, QoS 1, retained: signed metadata, and what it names, by its path."""
    return f"{root}/trust/{path}"


def target(path: str, sha256: str) -> str:
    """Return the path of a target's content (TUF specification 6.2.3, consistent snapshots)."""
    folder, slash, name = path.rpartition("/")
    return f"target/{folder}{slash}{sha256}.{name}"


def piece(list_id: str, name: str) -> str:
    """Return the path of an encrypted piece of a list."""
    return f"piece/{list_id}/{name}"


def list_key(list_id: str, committed: str, device_id: str) -> str:
    """Return the path of a list's key as only one device can open it.

    Args:
        list_id: name of the list.
        committed: the commitment to the key (`edge.protocol.list_key`).
        device_id: whose.
    """
    return f"key/{device_id}/{list_id}.{committed[:16]}"


def probe(root: str, device_id: str) -> str:
    """Device to itself, retained for a moment: what `lethe doctor` tries a broker with."""
    return f"{root}/device/{device_id}/probe/"


def event(root: str, device_id: str) -> str:
    """Device to owner, QoS 1, not retained: one signed match event."""
    return f"{root}/device/{device_id}/event"


def command(root: str, device_id: str) -> str:
    """Operator to one device, QoS 1, not retained: one signed command."""
    return f"{root}/device/{device_id}/command"


def command_to_all(root: str) -> str:
    """Operator to every device, QoS 1, not retained: one signed command."""
    return f"{root}/command"


def switch(root: str, device_id: str) -> str:
    """Home Assistant to one device, QoS 1, not retained: ON or OFF, unsigned; off by default."""
    return f"{root}/device/{device_id}/switch"


def answer(root: str, device_id: str) -> str:
    """Device to operator, QoS 1, not retained: what becomes of a command, signed."""
    return f"{root}/device/{device_id}/answer"


def telemetry(root: str, device_id: str) -> str:
    """Device to operator, QoS 1, retained: how it is, at fixed times."""
    return f"{root}/device/{device_id}/telemetry"


def status(root: str, device_id: str) -> str:
    """Device to owner, QoS 1, retained, also the last will: online or not, and why degraded."""
    return f"{root}/device/{device_id}/status"


def update(root: str, device_id: str) -> str:
    """Device to operator, QoS 1, retained: how its updates stand, signed."""
    return f"{root}/device/{device_id}/update"


def configuration(root: str, device_id: str) -> str:
    """Device to operator, QoS 1, retained: what is in force, and why it is not what is desired."""
    return f"{root}/device/{device_id}/configuration"


def enrol_request(root: str, device_id: str) -> str:
    """Device to authority, QoS 1, retained: asks for a client certificate."""
    return f"{root}/enrol/{device_id}/request"


def enrol_answer(root: str, device_id: str) -> str:
    """Fleet's authority to device, QoS 1, retained: a certificate, or why there is none."""
    return f"{root}/enrol/{device_id}/answer"
