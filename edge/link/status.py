"""What the device says of itself: that it is there, which list it obeys, what is wrong.

Nothing about people, ever: no count of faces, no time of a sighting, no picture.
"""

from __future__ import annotations

import threading
from typing import Literal

import msgspec

from edge.link.session import Link


class ListInForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which list, in which version, until when (seconds since 1970)."""

    id: str
    version: int
    expires: int


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retained status document.

    Attributes:
        state: "online", or "offline" as the last will or after a clean end.
        software: version of the software.
        list: the list in force, if any.
        reasons: why it is degraded, in words; empty if all is well.
    """

    state: Literal["online", "offline"]
    software: str = ""
    list: ListInForce | None = None
    reasons: tuple[str, ...] = ()


OFFLINE = msgspec.json.encode(Status(state="offline"))


class StatusPublisher:
    """Publishes the status, retained, when it changed and after each connection."""

    def __init__(self, link: Link, topic: str) -> None:
        self._link = link
        self._topic = topic
        self._lock = threading.Lock()
        self._status: bytes | None = None
        link.on_connected(self._again)

    def set(self, status: Status) -> None:
        """Publish `status` if it differs from the last one."""
        message = msgspec.json.encode(status)
        with self._lock:
            changed, self._status = message != self._status, message
        if changed:
            self._link.publish(self._topic, message, retain=True)

    def _again(self) -> None:
        with self._lock:
            message = self._status
        if message is not None:
            self._link.publish(self._topic, message, retain=True)
