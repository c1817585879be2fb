"""Bringing what is signed to the broker, in the order in which nothing refers to what is not there.

What the broker holds already is not sent again, unless it forgot: then its timestamp is not the
one that was published last, and everything is sent.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from edge import limits
from edge.config import BrokerConfig
from edge.errors import BrokerUnavailable, ConfigError, FormatError
from edge.files import write_atomically
from edge.link.sender import Sender
from edge.link.session import Link
from edge.protocol import topics
from edge.trust.shelf import Shelf
from fleet.repository import TIMESTAMP, Repository

PUBLISHED = "published.json"


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What was brought to a broker last.

    Attributes:
        timestamp: SHA-256 of timestamp.json, hex.
        paths: everything that lies there.
    """

    timestamp: str
    paths: list[str]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing did.

    Attributes:
        sent: messages sent.
        cleared: topics emptied, for nothing refers to them any more.
        bytes: topics and payloads sent.
        all: whether everything was sent, for the broker held another state.
    """

    sent: int
    cleared: int
    bytes: int
    all: bool


def publish(
    repository: Repository,
    broker: BrokerConfig,
    *,
    everything: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Summary:
    """Bring the state of a saved repository to a broker.

    Args:
        repository: of the fleet.
        broker: where.
        everything: send all of it, whatever the broker holds.
        on_progress: called with the messages taken so far, and their number.

    Raises:
        BrokerUnavailable: no session, or it does not take what is sent.
        ConfigError: the broker holds a newer state: this folder is an old copy.
    """
    file = repository.folder / PUBLISHED
    place = f"{broker.host}:{broker.port}/{broker.topic_root}"
    known = _read(file)
    before = known.get(place, Published(timestamp="", paths=[]))
    with session(broker) as link:
        sender = Sender(link, topics.trust(broker.topic_root, ""))
        sender.send({topics.SENTINEL: repository.content(topics.SENTINEL)})
        present = _present(Shelf(link, topics.trust(broker.topic_root, "")))
        _check_newer(repository, present)
        held = hashlib.sha256(present).hexdigest() == before.timestamp
        everything = everything or not held
        paths = repository.paths()
        wanted = paths if everything else [path for path in paths if path not in before.paths]
        wanted = [path for path in wanted if path != TIMESTAMP]
        for done, path in enumerate(wanted):
            sender.queue(path, repository.content(path))
            on_progress(done, len(wanted))
        sender.wait()
        sender.send({TIMESTAMP: repository.content(TIMESTAMP)})  # when all else is there
        stale = [path for path in before.paths if path not in paths]
        sender.send(dict.fromkeys(stale, b""))
    digest = hashlib.sha256(repository.content(TIMESTAMP)).hexdigest()
    now = Published(timestamp=digest, paths=paths)
    write_atomically(file, msgspec.json.encode({**known, place: now}))
    return Summary(sent=len(wanted) + 2, cleared=len(stale), bytes=link.sent_bytes, all=everything)


@contextmanager
def session(broker: BrokerConfig) -> Iterator[Link]:
    """Give a session with a broker.

    Raises:
        BrokerUnavailable: there is none within `limits.PUBLISH_ACK_S`.
    """
    link = Link(broker, f"lethe-fleet-{uuid.uuid4().hex[:12]}")
    connected = threading.Event()
    link.on_connected(connected.set)
    link.start()
    try:
        if not connected.wait(limits.PUBLISH_ACK_S):
            raise BrokerUnavailable(
                f"no session with the broker at {broker.host}:{broker.port} within "
                f"{limits.PUBLISH_ACK_S:g} s; is it running, and does it take these credentials?"
            )
        yield link
    finally:
        link.close()


def _present(shelf: Shelf) -> bytes:
    """Return the timestamp that the broker holds; empty if there is none of ours."""
    try:
        return shelf.read({TIMESTAMP: limits.MAX_TIMESTAMP_BYTES}).get(TIMESTAMP, b"")
    except FormatError:  # somebody put something else there
        return b""


def _check_newer(repository: Repository, present: bytes) -> None:
    """Refuse to go back behind a state that this fleet has signed."""
    try:
        held: Metadata[Timestamp] = Metadata.from_bytes(present)
        repository.root().verify_delegate(Timestamp.type, held.signed_bytes, held.signatures)
    except (RepositoryError, ValueError):
        return  # not ours: replaced
    if held.signed.version > repository.timestamp().version:
        raise ConfigError(
            f"{repository.folder}: the broker holds state {held.signed.version}, this folder "
            f"{repository.timestamp().version}: is it an old copy? Devices refuse to go back"
        )


def _read(file: Path) -> dict[str, Published]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Published])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{file}: cannot be read ({error}); remove it: all is sent then"
        ) from error
