"""Receiving what devices report."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from edge import limits
from edge.config import BrokerConfig
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.event import Event
from fleet.ledger import Keys, Ledger, Refusal, Refused, parse


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it came.

    Attributes:
        message: its bytes.
        event: what it says; None if it is no event.
        refusal: why it is not taken, in one word; None if it is.
        problem: the same in words; empty if it is taken.
        skipped: numbers of this device missing before it, first and last.
    """

    message: bytes
    event: Event | None
    refusal: Refusal | None = None
    problem: str = ""
    skipped: tuple[int, int] | None = None

    @property
    def trusted(self) -> bool:
        """Whether it is new, in its time and order, and from the device it names."""
        return self.refusal is None


class Reader:
    """Checks events one after the other. Safe for several threads."""

    def __init__(
        self,
        keys: Keys,
        *,
        ledger: Ledger | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            keys: whom to listen to; without any, nothing is trusted.
            ledger: what has come before.
            now: seconds since 1970.
        """
        self._keys = keys
        self.ledger = ledger if ledger is not None else Ledger()
        self._now = now
        self._lock = threading.Lock()

    def receive(
        self, message: bytes, *, device: str | None = None, at: float | None = None
    ) -> Received:
        """Read an event and check it.

        Args:
            message: as it came.
            device: id in the topic it came on, if known.
            at: when it came, seconds since 1970; now if None.
        """
        try:
            with self._lock:
                now = self._now() if at is None else at
                read, skipped = self.ledger.take(message, self._keys, now=now, device=device)
        except Refused as refused:
            return Received(message, _shown(message), refused.name, str(refused))
        return Received(message, read, skipped=skipped)


def listen(
    broker: BrokerConfig,
    on_event: Callable[[Received], None],
    *,
    keys: Keys | None = None,
    device: str = "+",
) -> Link:
    """Subscribe to events in the background; close the link to end.

    Args:
        broker: where.
        on_event: called for each event, on the network thread. A second delivery of the same
            event is left out.
        keys: whom to listen to.
        device: id of one device; "+" for all.
    """
    link = Link(broker, f"lethe-watch-{uuid.uuid4().hex[:12]}")
    reader = Reader(keys or Keys())

    def deliver(topic: str, message: bytes) -> None:
        received = reader.receive(message, device=device_of(topic))
        if received.refusal != "replayed":
            on_event(received)

    link.subscribe(topics.event(broker.topic_root, device), deliver, limits.MAX_EVENT_BYTES)
    link.start()
    return link


def device_of(topic: str) -> str:
    """Return the id of the device on whose topic something came."""
    return topic.split("/")[-2]


def _shown(message: bytes) -> Event | None:
    """Return what a refused event says, for people to look at."""
    try:
        return parse(message)
    except Refused:
        return None
