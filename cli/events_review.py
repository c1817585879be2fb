"""`./lethe events review`, and what `verify` says of reviews."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.event_text import plain
from edge.errors import ConfigError
from edge.protocol.event import Candidate, Event
from fleet import keys, reviews
from fleet.archive import lines
from fleet.events import Reader
from fleet.ledger import Keys
from fleet.reviews import Review

ReviewerKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--reviewer-key", metavar="NAME=FILE", help="Public key (.pub) of someone who reviews."
    ),
]
ReviewHeads = Annotated[
    list[str] | None,
    typer.Option(
        "--review-head", metavar="NUMBER-SHA256", help="Where `review` said that reviews stood."
    ),
]
Persons = Annotated[
    int, typer.Option(help="So many people must have confirmed a candidate.", min=1, max=9)
]
PERSONS = 2
"""EU AI Act, Art. 14(5)."""


def record(
    archive: Path, event: str, read_keys: Keys, key: Path, name: str, confirm: bool, note: str,
    passphrase_file: Path | None,
) -> Review:  # fmt: skip
    """Add a verdict on a candidate of an archive, whose signature holds.

    Raises:
        ConfigError: there is no such candidate.
    """
    reader = Reader(read_keys)
    for line in lines(archive):
        received = reader.receive(line.message, at=line.received)
        found = received.event
        if found is None or not received.trusted or found.envelope.id != event:
            continue
        if not isinstance(found.data, Candidate):
            raise ConfigError(f"{event}: not a candidate")
        return reviews.add(
            archive, found, "confirmed" if confirm else "rejected", name,
            keys.read_ed25519(key, keys.read_passphrase(passphrase_file)), time.time(), note,
        )  # fmt: skip
    raise ConfigError(f"{event}: no such event in {archive} whose signature holds")


def reviewer_keys(given: list[str] | None) -> dict[str, Ed25519PublicKey]:
    """Return the keys that `--reviewer-key` names.

    Raises:
        ConfigError: a file holds no Ed25519 key, or a name is missing or twice.
    """
    found: dict[str, Ed25519PublicKey] = {}
    for each in given or []:
        name, separator, file = each.partition("=")
        if not separator or name in found:
            raise ConfigError(f"--reviewer-key {each}: NAME=FILE, each name once")
        read = keys.read_public(Path(file))
        if read.keytype != "ed25519":
            raise ConfigError(f"{file}: not an Ed25519 key")
        found[name] = Ed25519PublicKey.from_public_bytes(bytes.fromhex(read.keyval["public"]))
    if len({key.public_bytes_raw() for key in found.values()}) != len(found):
        raise ConfigError("--reviewer-key: one key under two names would pass for two people")
    return found


def judged(
    archive: Path,
    events: dict[str, Event],
    given: list[str] | None,
    persons: int,
    heads: list[str] | None,
) -> tuple[list[str], dict[str, str]]:
    """Return what is wrong with the reviews of an archive, and what each candidate came to."""
    held: dict[str, list[Review]] = {}
    wrong = []
    for line in reviews.judge(archive, events, reviewer_keys(given), heads or ()):
        if line.problem or line.review is None:
            wrong.append(f"review {line.number}: {plain(line.problem)}")
        else:
            held.setdefault(line.review.event, []).append(line.review)
    candidates = [name for name, event in events.items() if isinstance(event.data, Candidate)]
    return wrong, {name: reviews.outcome(held.get(name, []), persons) for name in candidates}
