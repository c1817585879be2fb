"""What a device says of itself on the broker: retained, published when it changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import msgspec

from edge.link.session import Link
from edge.protocol.configuration import Reported
from edge.protocol.status import Status, Telemetry


class StatusPublisher:
    """Publishes one such document when it changed, and after each connection."""

    def __init__(self, link: Link, topic: str) -> None:
        self._link = link
        self._topic = topic
        self._lock = threading.Lock()
        self._status: bytes | None = None
        link.on_connected(self._again)

    def set(self, status: Status | Telemetry | Reported | Mapping[str, object]) -> None:
        """Publish `status` if it differs from the last one."""
        message = msgspec.json.encode(status)
        with self._lock:
            changed, self._status = message != self._status, message
        if changed:
            self._link.publish(self._topic, message, retain=True)

    def clear(self) -> None:
        """Have the broker forget what was published, and publish nothing more."""
        with self._lock:
            forget, self._status = self._status is not None, b""
        if forget:
            self._link.publish(self._topic, b"", retain=True)

    def _again(self) -> None:
        with self._lock:
            message = self._status
        if message is not None:
            self._link.publish(self._topic, message, retain=True)
