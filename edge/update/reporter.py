"""Telling upstream how updates stand: one retained document, signed, published when it changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.link.session import Link
from edge.protocol import update
from edge.protocol.update import Models, Software, Update


class Reporter:
    """Publishes the document of one device. Safe for several threads."""

    def __init__(
        self,
        link: Link,
        topic: str,
        device: str,
        key: Ed25519PrivateKey,
        software: Software,
        *,
        now: Callable[[], float],
    ) -> None:
        """Publish it at each connection, and when `set` changes it.

        Args:
            link: session with the broker.
            topic: where.
            device: id of this device.
            key: signs it.
            software: how the image stands at the start.
            now: wall clock, seconds since 1970.
        """
        self._link, self._topic = link, topic
        self._device, self._key, self._now = device, key, now
        self._software, self._models = software, Models()
        self._lock = threading.Lock()
        self._message: bytes | None = None  # not signed before it can be sent: that loads much
        link.on_connected(self._again)

    @property
    def software(self) -> Software:
        """How the image stands."""
        return self._software

    @property
    def models(self) -> Models:
        """How the models stand."""
        return self._models

    def set(self, *, software: Software | None = None, models: Models | None = None) -> None:
        """Say how something stands now."""
        with self._lock:
            before = self._software, self._models
            self._software, self._models = software or before[0], models or before[1]
            if before != (self._software, self._models):
                self._publish()

    def change(self, **fields: object) -> None:
        """Say what has changed about the image."""
        self.set(software=msgspec.structs.replace(self._software, **fields))

    def _publish(self) -> None:
        time = datetime.fromtimestamp(self._now(), UTC).replace(microsecond=0)
        self._message = update.encode(
            Update(device=self._device, time=time, software=self._software, models=self._models),
            self._key,
        )
        self._link.publish(self._topic, self._message, retain=True)

    def _again(self) -> None:
        with self._lock:
            if self._message is None:
                self._publish()
            else:
                self._link.publish(self._topic, self._message, retain=True)
