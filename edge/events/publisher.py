"""From the outbox to the broker: in order, one at a time, forgotten only when acknowledged.

At least once: an event whose acknowledgement was lost is sent again under the same id.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from edge import limits
from edge.errors import StorageUnavailable
from edge.events.outbox import Outbox, Stored
from edge.link.session import Link

log = logging.getLogger(__name__)


class Publisher:
    """Drains an outbox through a link, on a thread of its own."""

    def __init__(self, outbox: Outbox, link: Link, topic: str) -> None:
        self._outbox = outbox
        self._link = link
        self._topic = topic
        self._wake = threading.Event()
        self._closing = threading.Event()
        # Numbers come from paho's thread, which holds a lock that publish() needs: no lock here.
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        link.on_acknowledged(self._acknowledged.put)
        link.on_connected(self._wake.set)
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new in the outbox."""
        self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Wait until the outbox is empty, at most `seconds`; return whether it is."""
        self.wake()
        patience = time.monotonic() + seconds
        while len(self._outbox) and time.monotonic() < patience:
            time.sleep(0.02)
        return not len(self._outbox)

    def close(self) -> None:
        """Stop; what waits stays in the outbox."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            # Nothing is awaited here. Numbers come round again: an old one must not pass for ours.
            while not self._acknowledged.empty():
                self._acknowledged.get_nowait()
            try:
                stored = self._outbox.pending(1)
                if stored and self._send(stored[0]):
                    self._outbox.delete(stored[0].sequence)
                    continue
            except StorageUnavailable as error:
                log.warning("%s; trying again", error)
            self._wake.wait(limits.PUBLISH_RETRY_S)

    def _send(self, stored: Stored) -> bool:
        """Publish one event; return whether the broker has acknowledged it."""
        number = self._link.publish(self._topic, stored.message)
        if number is None:
            return False
        patience = time.monotonic() + limits.PUBLISH_ACK_S
        while time.monotonic() < patience and not self._closing.is_set():
            try:
                if self._acknowledged.get(timeout=0.1) == number:
                    return True
            except queue.Empty:
                if not self._link.connected:
                    # paho sends it again by itself after reconnecting, under the same number.
                    patience = time.monotonic() + limits.PUBLISH_ACK_S
        return False
