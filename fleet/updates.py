"""Announcing updates to a fleet, and reading what its devices report of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edge import limits
from edge.config import BrokerConfig
from edge.errors import BadInput, ConfigError
from edge.protocol import announcement as announcements
from edge.protocol import topics, update
from edge.protocol.announcement import Announcement, precedence
from edge.protocol.party import Party
from edge.trust.shelf import Shelf
from fleet.broker import session
from fleet.repository import Repository
from fleet.rollout import Seen


def measure(bundle: Path) -> tuple[int, str]:
    """Return a bundle's size in bytes and its SHA-256, hex.

    Raises:
        ConfigError: it cannot be read, or is larger than devices take.
    """
    try:
        with bundle.open("rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    except OSError as error:
        raise ConfigError(f"{bundle}: cannot be read: {error.strerror}") from error
    if not 1 <= size <= limits.MAX_BUNDLE_BYTES:
        raise ConfigError(f"{bundle}: {size} bytes; devices take {limits.MAX_BUNDLE_BYTES}")
    return size, digest


def announced(repository: Repository) -> dict[str, Announcement]:
    """Return what is announced, by the kind of device.

    Raises:
        FormatError: something else lies in the place of an announcement.
    """
    role = repository.roles.get(announcements.ROLE)
    targets = role.signed.targets if role is not None else {}
    found = (announcements.decode(repository.target_content(t)) for t in targets.values())
    return {each.compatible: each for each in found}


def announce(repository: Repository, what: Announcement) -> None:
    """Have the role `firmware` sign an announcement, in the place of the one before.

    Raises:
        ConfigError: older than what is announced, without leave; or its keys are not here.
    """
    before = announced(repository).get(what.compatible)
    if (
        before is not None
        and precedence(what.version) < precedence(before.version)
        and not what.allow_downgrade
    ):
        raise ConfigError(
            f"{what.version} is older than {before.version}, which is announced: devices that "
            "have it would refuse; --allow-downgrade signs for going down"
        )
    path = announcements.target_path(what.compatible)
    repository.put(announcements.ROLE, path, announcements.encode(what))


def withdraw(repository: Repository, compatible: str) -> None:
    """Have it signed that nothing is announced; what is installed stays.

    Raises:
        ConfigError: nothing is announced, or the keys are not here.
    """
    if compatible not in announced(repository):
        raise ConfigError(f"nothing is announced for {compatible}")
    repository.put(announcements.ROLE, announcements.target_path(compatible), None)


def reports(broker: BrokerConfig, fleet: Mapping[str, Party]) -> list[Seen]:
    """Return what the devices of a fleet have reported last.

    Raises:
        BrokerUnavailable: no session, or it is lost.
    """
    root = broker.topic_root
    paths = {topics.update(root, name).removeprefix(f"{root}/"): name for name in sorted(fleet)}
    with session(broker) as link:
        shelf = Shelf(link, f"{root}/", f"trust/{topics.SENTINEL}")
        # What is too large is that device's problem (`update.decode`), not the others'.
        found = shelf.read(dict.fromkeys(paths, limits.MAX_TARGET_BYTES))
    return [_seen(fleet[name], found.get(path)) for path, name in paths.items()]


def _seen(device: Party, message: bytes | None) -> Seen:
    if message is None:
        return Seen(device.name, None, "has reported nothing")
    try:
        return Seen(device.name, update.decode(message, device.name, [device.device_key]))
    except BadInput as error:
        return Seen(device.name, None, str(error))
