"""The configuration that the fleet wants of its devices: one signed document a device.

Documents are signed in bins (TAP 15, "succinct hash bin delegations"): a device fetches what is
signed of one device in 64, not of all (docs/adr/0023). The keys of `config` make and sign them.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tuf.api.metadata import Delegations, SuccinctRoles

from edge import limits
from edge.config import BrokerConfig, Config
from edge.errors import ConfigError
from edge.protocol import topics
from edge.protocol.configuration import (
    ROLE,
    Desired,
    Reported,
    decode,
    decode_reported,
    encode,
    target,
)
from edge.settings import layers
from fleet import renewal
from fleet.broker import session
from fleet.repository import Repository

BIN = f"{ROLE}/bin"


def read(repository: Repository, device: str) -> Desired | None:
    """Return what is signed for a device; None if nothing is.

    Raises:
        FormatError: something else was signed.
    """
    info = repository.signed_by(ROLE).get(target(device))
    return None if info is None else decode(repository.target_content(info))


def changed(
    before: Mapping[str, Any], settings: Mapping[str, Any], unset: Iterable[str] = ()
) -> dict[str, Any]:
    """Return settings with some fields set and others left to the device's own file again.

    Raises:
        ConfigError: a field is not one that the fleet may set, or not set.
    """
    fields = dict(layers.flat(before)) | dict(layers.flat(settings))
    for path in unset:
        if path not in fields:
            raise ConfigError(f"{path} is not set by the fleet")
        del fields[path]
    layers.checked(made := layers.nested(fields))
    return made


def put(
    repository: Repository,
    device: str,
    settings: Mapping[str, Any],
    *,
    local: Config | None = None,
) -> Desired:
    """Have the operator's key sign what is wanted of a device; the caller seals and saves.

    Args:
        repository: of the fleet.
        device: its id.
        settings: all that the fleet sets: what is not named is left to the device's own file.
        local: that file, to find out beforehand what the device would refuse; None: it is not here.

    Raises:
        ConfigError: the device would refuse it, or the key of `config` is not here.
    """
    layers.checked(settings)
    if local is not None:
        layers.merged(local, settings)
    last = read(repository, device)
    document = Desired(
        device=device,
        version=last.version + 1 if last else 1,
        issued=int(time.time()),
        settings=dict(settings),
    )
    content = encode(document)
    if len(content) > limits.MAX_DESIRED_BYTES:
        raise ConfigError(f"{len(content)} bytes; devices read {limits.MAX_DESIRED_BYTES}")
    _look_after_bins(repository)
    repository.put(ROLE, target(device), content)
    return document


def _look_after_bins(repository: Repository) -> None:
    """Make the bins, or sign them anew where keys have changed or half of their time is over."""
    delegated, keys = repository.delegation(ROLE)
    wanted = SuccinctRoles(sorted(keys), delegated.threshold, limits.CONFIG_BINS_BITS, BIN)
    if repository.bins(ROLE) != wanted:
        with repository.edit_targets(ROLE) as config:
            config.delegations = Delegations(dict(keys), succinct_roles=wanted)
        due = list(wanted.get_roles())
    else:
        due = renewal.due(repository, ROLE)
    for role in due:
        with repository.edit_targets(role):
            pass


def reported(broker: BrokerConfig, devices: Iterable[str]) -> dict[str, Reported]:
    """Return what devices report, of those whose report the broker holds. Not signed.

    Args:
        broker: where.
        devices: their ids.

    Raises:
        BrokerUnavailable: no session.
    """
    missing = set(devices)
    came: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    found: dict[str, Reported] = {}
    with session(broker) as link:
        names = {topics.configuration(broker.topic_root, device): device for device in missing}
        for topic in names:
            link.subscribe(
                topic, lambda where, what: came.put((where, what)), limits.MAX_REPORTED_BYTES
            )
        while missing:
            try:
                topic, message = came.get(timeout=limits.DOCTOR_QUIET_S)
            except queue.Empty:
                break
            if message:
                found[names[topic]] = decode_reported(message)
                missing.discard(names[topic])
    return found
