"""Giving a device a command, and hearing what becomes of it."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge import limits
from edge.config import BrokerConfig
from edge.errors import BadInput, BrokerUnavailable, ConfigError
from edge.protocol import command, topics
from edge.protocol.command import EVERY, Answer, Identify, Order, Restart, SelfTest
from fleet import setup
from fleet.broker import session
from fleet.events import device_of
from fleet.keys import read_ed25519
from fleet.repository import Repository

END = ("refused", "done", "failed")


def authority(
    folder: Path, passphrase: bytes | None
) -> tuple[Ed25519PrivateKey, dict[str, Ed25519PublicKey]]:
    """Return a key of the fleet that may command, and the keys of its devices by id.

    Raises:
        ConfigError: no such key is in the folder, or it cannot be opened.
    """
    repository = Repository.existing(folder, passphrase)
    file = repository.keyring.file(repository.delegation(command.ROLE)[0].keyids)
    if file is None:
        raise ConfigError(
            f"{folder}: no key here may command; give --key, or let one: `lethe fleet operator add`"
        )
    devices = setup.read_devices(repository)
    return read_ed25519(file, passphrase), {
        name: device.device_key for name, device in devices.items()
    }


def give(
    order: Order,
    device: str,
    key: Ed25519PrivateKey,
    devices: Mapping[str, Ed25519PublicKey],
    broker: BrokerConfig,
    on_answer: Callable[[Answer], None],
    *,
    timeout: float = limits.COMMAND_PATIENCE_S,
    on_strange: Callable[[str], None] = lambda _why: None,
) -> dict[str, Answer]:
    """Give a command, and wait for the answers.

    Args:
        order: what is to be done.
        device: id of the device; `EVERY` for all.
        key: signs it.
        devices: keys of the devices that are believed, by id.
        broker: where.
        on_answer: called with each answer as it comes.
        timeout: seconds to wait for the first answer of a device; for the end of what takes its
            time, as much more as that may take.
        on_strange: called with what is wrong with an answer that is not believed.

    Returns:
        The last answer of each device that answered.

    Raises:
        ConfigError: the device's key is not known.
        BrokerUnavailable: no session, or the broker does not take the command.
    """
    if device != EVERY and device not in devices:
        raise ConfigError(f"{device!r}: its key is not known: register it, or give --device-key")
    identifier = secrets.token_hex(16)
    came: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def take(topic: str, message: bytes) -> None:
        sender = device_of(topic)
        try:
            answer, document = command.parse_answer(message)
            if answer.id != identifier:
                return
            if sender not in devices or answer.device != sender:
                raise ConfigError(f"{sender}: not a device whose key is known")
            command.verify_answer(document, devices[sender])
        except BadInput as error:
            on_strange(str(error))
            return
        came.put(answer)

    root = broker.topic_root
    told = "+" if device == EVERY else device
    topic = topics.command_to_all(root) if device == EVERY else topics.command(root, device)
    answers: dict[str, Answer] = {}
    expected = set(devices) if device == EVERY else {device}
    with session(broker) as link:
        link.subscribe(topics.answer(root, told), take, limits.MAX_ANSWER_BYTES)
        message = command.make(
            order, device=device, identifier=identifier, now=time.time(), key=key
        )
        taken = threading.Event()
        link.on_acknowledged(lambda _number: taken.set())
        if link.publish(topic, message) is None or not taken.wait(limits.PUBLISH_ACK_S):
            raise BrokerUnavailable("the broker did not take the command: give it again")
        until = time.monotonic() + timeout
        while not all(name in answers and answers[name].state in END for name in expected):
            try:
                answer = came.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if answer.state == "accepted":
                until = max(until, time.monotonic() + timeout + _lasts(order))
            if answers.get(answer.device) != answer:
                on_answer(answer)
            answers[answer.device] = answer
    return answers


def _lasts(order: Order) -> float:
    """Return for how many seconds an order that was accepted may take to come to its end."""
    match order:
        case Identify():
            return order.seconds
        case SelfTest():
            return limits.SELFTEST_ANSWER_S
        case Restart():
            return limits.FLUSH_S
        case _:
            return 0.0
