"""Would this broker lose anything? Asked as a device can: by what it keeps, and what it holds.

Retained messages are what lists travel by. A broker that keeps few of them, or hands out few of
many at once, does so without a word. So the doctor puts some there, below the device's own topics,
counts what comes back, and takes them away again. Whether they survive a restart cannot be told
from outside.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from edge import limits
from edge.config import Config
from edge.errors import BadInput, LetheError, MissingAtBroker, Unavailable
from edge.health.finding import Finding
from edge.link.sender import Sender
from edge.link.session import Link
from edge.protocol import topics
from edge.trust.client import read_root
from edge.trust.shelf import Shelf
from edge.trust.view import open_view

_CONF = "take over deploy/mosquitto/lethe.conf"


def examine(config: Config) -> Iterator[Finding]:
    """Yield what can be told of the broker in a configuration."""
    broker, device = config.broker, config.device.id
    connected = threading.Event()
    try:
        link = Link(broker, f"lethe-{device}-doctor")
    except LetheError as error:
        yield Finding("session", "problem", str(error), "correct it")
        return
    link.on_connected(connected.set)
    link.start()
    try:
        if not connected.wait(limits.DOCTOR_CONNECT_S):
            todo = "look at its log: are user, password and certificates right?"
            yield Finding("session", "problem", "the broker does not accept the session", todo)
            return
        yield Finding("session", "ok", f"accepted as {device}")
        yield check_retained(link, topics.probe(broker.topic_root, device))
        yield check_signed(link, broker.topic_root, Path(config.fleet.root))
    finally:
        link.close()


def check_retained(link: Link, prefix: str) -> Finding:
    """Check that many retained messages are kept and handed out.

    Args:
        link: a session that is connected.
        prefix: topics that this device may write and read, with the slash at its end.
    """
    sender, shelf = Sender(link, prefix), Shelf(link, prefix)
    names = [str(number) for number in range(limits.DOCTOR_RETAINED)]
    try:
        try:
            sender.send({topics.SENTINEL: b".", **dict.fromkeys(names, b".")})
            kept = len(shelf.read(dict.fromkeys(names, 1)))
            at_once = _count(link, prefix, len(names) + 1) - 1  # the sentinel comes as well
        finally:
            sender.send(dict.fromkeys([topics.SENTINEL, *names], b""))
    except (Unavailable, BadInput) as error:
        todo = f"may this device write and read {prefix}#? See deploy/mosquitto/acl"
        return Finding("retained", "note", f"could not be tried: {error}", todo)
    if kept < len(names):
        says = f"of {len(names)} retained messages the broker keeps {kept}: lists would be lost"
        return Finding("retained", "problem", says, f"use a broker that keeps them, or {_CONF}")
    if at_once < len(names):
        says = f"who asks for {len(names)} retained messages at once gets {at_once}, silently"
        return Finding("retained", "note", says, f"max_queued_messages 0: {_CONF}")
    return Finding("retained", "ok", f"{kept} of {len(names)} messages kept and handed out")


def check_signed(link: Link, topic_root: str, root: Path) -> Finding:
    """Check that what the fleet signed is at the broker, whole, and would be taken.

    Args:
        link: a session that is connected.
        topic_root: first level of every topic.
        root: the fleet's root metadata.
    """
    todo = "./lethe fleet announce, on the fleet's machine"
    shelf, path = Shelf(link, topics.trust(topic_root, "")), topics.TIMESTAMP
    try:
        timestamp = shelf.read({path: limits.MAX_TIMESTAMP_BYTES}).get(path)
        if timestamp is None:
            raise MissingAtBroker("the broker holds no timestamp")
        with tempfile.TemporaryDirectory() as folder:
            view = open_view(read_root(root), Path(folder), shelf, lambda: timestamp)
            named = view.metadata_paths()
        held = shelf.read(dict.fromkeys(named, limits.MAX_TARGETS_BYTES))
    except Unavailable as error:
        return Finding("signed", "problem", f"nothing of the fleet's can be read: {error}", todo)
    except BadInput as error:
        return Finding("signed", "problem", f"would be refused: {error}", todo)
    if len(held) < len(named):
        says = f"of {len(named)} parts that are signed the broker holds {len(held)}: it forgot"
        return Finding("signed", "problem", says, todo)
    return Finding("signed", "ok", f"{len(held)} parts, verified with {root}")


def _count(link: Link, prefix: str, most: int) -> int:
    """Return how many retained messages come when all are asked for at once."""
    came, changed = 0, threading.Condition()

    def take(_topic: str, payload: bytes) -> None:
        nonlocal came
        with changed:
            came += bool(payload)
            changed.notify()

    link.subscribe(f"{prefix}#", take, 1)  # QoS 1: it is those that a broker queues, and cuts off
    with changed:
        while came < most and changed.wait(limits.DOCTOR_QUIET_S):
            continue
        return came
