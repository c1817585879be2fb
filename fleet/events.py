"""Receiving what devices report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge import limits
from edge.config import BrokerConfig
from edge.errors import FormatError, SignatureRefused
from edge.link.session import Link
from edge.protocol import event, topics


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it came.

    Attributes:
        message: its bytes.
        event: what it says; None if it is no event.
        trusted: whether a key that is listened to signed it, and its time is not over.
        problem: why it is not trusted; empty if it is.
    """

    message: bytes
    event: event.Event | None
    trusted: bool
    problem: str


def receive(
    message: bytes,
    trusted: Sequence[Ed25519PublicKey],
    *,
    device: str | None = None,
    now: Callable[[], float] = time.time,
) -> Received:
    """Read an event and check it.

    Args:
        message: as it came.
        trusted: keys of the devices that are listened to; without any, nothing is trusted.
        device: id in the topic it came on, if known; an event of another device is not trusted.
        now: seconds since 1970.
    """
    try:
        read = event.parse(message)
    except FormatError as error:
        return Received(message, None, False, str(error))
    if device is not None and device != read.device:
        return Received(message, read, False, f"came on the topic of device {device}")
    if not trusted:
        return Received(message, read, False, "signature not checked: no --device-key was given")
    try:
        event.verify(read, trusted=trusted, now=now())
    except (FormatError, SignatureRefused) as error:
        return Received(message, read, False, str(error))
    return Received(message, read, True, "")


def listen(
    broker: BrokerConfig,
    on_event: Callable[[Received], None],
    *,
    trusted: Sequence[Ed25519PublicKey] = (),
    device: str = "+",
) -> Link:
    """Subscribe to events in the background; close the link to end.

    Args:
        broker: where.
        on_event: called for each event, on the network thread. A second delivery of the same
            event is left out.
        trusted: keys of the devices that are listened to.
        device: id of one device; "+" for all.
    """
    link = Link(broker, f"lethe-watch-{uuid.uuid4().hex[:12]}")
    known: set[str] = set()

    def deliver(topic: str, message: bytes) -> None:
        received = receive(message, trusted, device=topic.split("/")[-2])
        if received.event is not None and received.trusted:
            if received.event.envelope.id in known:
                return
            known.add(received.event.envelope.id)
        on_event(received)

    link.subscribe(topics.event(broker.topic_root, device), deliver, limits.MAX_EVENT_BYTES)
    link.start()
    return link
