"""Sealing a list and handing it to the broker."""

from __future__ import annotations

import threading
import time
import uuid

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import limits
from edge.config import BrokerConfig
from edge.errors import BrokerUnavailable, ListRefused
from edge.link.session import Link
from edge.protocol import signing, topics
from edge.protocol.watchlist import SNAPSHOT_TYP, Watchlist, encode


def seal(watchlist: Watchlist, key: Ed25519PrivateKey) -> bytes:
    """Return the signed message of a list.

    Raises:
        ListRefused: it would be larger than devices read.
    """
    message = signing.seal(encode(watchlist), typ=SNAPSHOT_TYP, key=key)
    if len(message) > limits.MAX_SNAPSHOT_BYTES:
        raise ListRefused(
            f"the list takes {len(message)} bytes; devices read {limits.MAX_SNAPSHOT_BYTES}"
        )
    return message


def publish(
    message: bytes, list_id: str, broker: BrokerConfig, *, timeout: float = limits.PUBLISH_ACK_S
) -> str:
    """Publish a sealed list, retained, and return the topic once the broker has taken it.

    Raises:
        BrokerUnavailable: it did not within `timeout` seconds.
    """
    topic = topics.watchlist(broker.topic_root, list_id)
    link = Link(broker, f"lethe-owner-{uuid.uuid4().hex[:12]}")
    connected, taken = threading.Event(), threading.Event()
    link.on_connected(connected.set)
    link.on_acknowledged(lambda _number: taken.set())
    link.start()
    try:
        began = time.monotonic()
        if not connected.wait(timeout):
            raise BrokerUnavailable(
                f"no session with the broker at {broker.host}:{broker.port} within {timeout:g} s; "
                "is it running, and does it take these credentials?"
            )
        link.publish(topic, message, retain=True)
        if not taken.wait(max(0.1, timeout - (time.monotonic() - began))):
            raise BrokerUnavailable(
                f"the broker at {broker.host}:{broker.port} did not take the list ({len(message)} "
                "bytes); does it limit the size of messages?"
            )
    finally:
        link.close()
    return topic
