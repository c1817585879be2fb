"""From the outbox to the broker: in order, several under way, forgotten only when acknowledged.

At least once: an event whose acknowledgement was lost is sent again under the same id. Sending
again begins at the oldest event that is not acknowledged, so that the order of first arrivals is
that of the numbers. What is under way is bounded (`limits.PUBLISH_WINDOW`), whatever waits on disk.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from edge import limits
from edge.errors import StorageUnavailable
from edge.events.outbox import Outbox
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
        # Publications come back from paho's thread, which holds a lock that publish() needs: no
        # lock here.
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._under_way: dict[int, int] = {}  # publication to event; an event may have several
        self._waiting: set[int] = set()  # events sent and not acknowledged
        self._done: set[int] = set()  # events acknowledged that are still on the disk
        self._sent = 0  # the highest number sent
        self._progress = time.monotonic()
        link.on_acknowledged(self._on_acknowledged)
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

    def _on_acknowledged(self, publication: int) -> None:
        self._acknowledged.put(publication)
        self._wake.set()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self._settle()
                self._forget()
                self._begin_again_if_stuck()
                self._send()
            except StorageUnavailable as error:
                log.warning("%s; trying again", error)
            self._wake.wait(limits.PUBLISH_RETRY_S)

    def _settle(self) -> None:
        """Take note of what was acknowledged. What is not under way is an old acknowledgement."""
        while True:
            try:
                publication = self._acknowledged.get_nowait()
            except queue.Empty:
                return
            event = self._under_way.pop(publication, None)
            if event is not None:
                self._progress = time.monotonic()
                if event in self._waiting:
                    self._waiting.discard(event)
                    self._done.add(event)

    def _forget(self) -> None:
        """Take what was acknowledged off the disk, many at a time.

        What the disk refuses to forget is kept, and keeps nothing else from being sent.
        """
        if self._done and (len(self._done) >= limits.PUBLISH_WINDOW // 2 or not self._waiting):
            try:
                self._outbox.delete(*self._done)
            except StorageUnavailable as error:
                log.warning("%s; trying again", error)
            else:
                self._done.clear()

    def _begin_again_if_stuck(self) -> None:
        """Send everything again that a broker which is there has not acknowledged for long."""
        if not self._waiting or not self._link.connected:
            # While the broker is away there is nothing to wait for: what is under way paho sends
            # again by itself after reconnecting, in the same order.
            self._progress = time.monotonic()
        elif time.monotonic() - self._progress > limits.PUBLISH_ACK_S:
            log.warning("%d events not acknowledged: sent again", len(self._waiting))
            self._sent, self._progress = 0, time.monotonic()
            self._waiting.clear()

    def _send(self) -> None:
        room = limits.PUBLISH_WINDOW - len(self._waiting)
        if room < limits.PUBLISH_WINDOW // 2 or not self._link.connected:
            return
        for stored in self._outbox.pending(room, self._sent):
            if stored.sequence in self._done:
                continue
            self._settle()  # so that an old acknowledgement of the same number is not ours
            publication = self._link.publish(self._topic, stored.message)
            if publication is None:
                return
            self._under_way[publication] = stored.sequence
            self._waiting.add(stored.sequence)
            self._sent = stored.sequence
