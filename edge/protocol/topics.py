"""MQTT topics. `docs/mqtt.md` is the reference: direction, QoS, retain, schema of each."""

from __future__ import annotations


def watchlist(root: str, list_id: str) -> str:
    """Owner to device, QoS 1, retained: the signed snapshot of a list."""
    return f"{root}/watchlist/{list_id}"


def event(root: str, device_id: str) -> str:
    """Device to owner, QoS 1, not retained: one signed match event."""
    return f"{root}/device/{device_id}/event"


def status(root: str, device_id: str) -> str:
    """Device to owner, QoS 1, retained, also the last will: online or not, and why degraded."""
    return f"{root}/device/{device_id}/status"
