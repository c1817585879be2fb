"""What is done to a fleet as a whole: its beginning, its keys, its lists, its devices.

Each function leaves the change staged in the `Repository`; the caller seals and saves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from edge.errors import ConfigError
from edge.files import private_folder
from edge.protocol import command, policy
from edge.protocol.party import Party
from edge.protocol.watchlist import Name, list_role, list_target
from fleet import devices
from fleet.keys import make_key
from fleet.repository import KEYS, TOP_LEVEL, Repository

VENDOR_ROLES = {"models": ["models/*"], "firmware": ["firmware/*"], "config": ["config/*"]}
"""Roles beside the lists', and the targets they sign: of the vendor, the vendor, the operator."""


def init(
    folder: Path, *, keys: int = 3, threshold: int = 2, passphrase: bytes | None = None
) -> Repository:
    """Make a fleet: keys for every role, and metadata signed by them.

    Args:
        folder: must hold no fleet yet.
        keys: of root and of targets each; the other roles have one.
        threshold: how many of them must sign.
        passphrase: encrypts the keys, if given.

    Raises:
        ConfigError: there is a fleet already, or the threshold is impossible.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; nothing was changed")
    if not 1 <= threshold <= keys:
        raise ConfigError(f"threshold {threshold} of {keys} keys is impossible")
    private_folder(folder / KEYS)
    private_folder(folder)
    made = {
        role: [
            make_key(folder / KEYS / f"{role}-{number}", passphrase)
            for number in range(1, 1 + (keys if role in (Root.type, Targets.type) else 1))
        ]
        for role in (*TOP_LEVEL, *VENDOR_ROLES, command.ROLE)
    }
    repository = Repository(folder, passphrase)
    with repository.edit_root() as root:
        for role in TOP_LEVEL:
            for key in made[role]:
                root.add_key(key, role)
        for role in (Root.type, Targets.type):
            root.roles[role].threshold = threshold
    repository.put(Targets.type, policy.TARGET, policy.encode(policy.Policy()))
    for role, paths in VENDOR_ROLES.items():
        repository.delegate(role, made[role], 1, paths)
        with repository.edit_targets(role):
            pass  # signed, and empty
    add_operator(repository, made[command.ROLE][0])
    return repository


def add_operator(repository: Repository, key: SSlibKey) -> None:
    """Let a key sign commands, alone. It signs no targets: its role has no metadata of its own.

    Raises:
        ConfigError: not an Ed25519 key, or keys of targets are missing.
    """
    if key.keytype != "ed25519":
        raise ConfigError(f"commands are signed with Ed25519 keys; this is {key.keytype}")
    delegations = repository.targets().delegations
    there = command.ROLE in ((delegations and delegations.roles) or {})
    others = repository.delegation(command.ROLE)[1] if there else {}
    repository.delegate(command.ROLE, {**others, key.keyid: key}.values(), 1, [f"{command.ROLE}/*"])


def found(folder: Path, *members: Party) -> Path:
    """Make a fleet of some devices, with keys that are not encrypted, and return its folder.

    For what is tried out on one machine; errors as `init`.
    """
    repository = init(folder)
    for device in members:
        add_device(repository, device)
    repository.seal_state()
    repository.save()
    return folder


def rotate_root(repository: Repository, *, passphrase: bytes | None = None) -> list[str]:
    """Replace every key of root by a new one; signed by the old keys and the new.

    Returns:
        Names of the new key files.

    Raises:
        ConfigError: too few of the old keys are here.
    """
    with repository.edit_root() as root:
        version = root.version + 1
        old = list(root.roles[Root.type].keyids)
        names = [f"root-{version}-{number}" for number in range(1, len(old) + 1)]
        for keyid in old:
            root.revoke_key(keyid, Root.type)
        for name in names:
            root.add_key(make_key(repository.folder / KEYS / name, passphrase), Root.type)
        repository.reload_keys()
    return names


def find_key(repository: Repository, role: str, beginning: str) -> str:
    """Return the id of a key of a role by its beginning.

    Raises:
        ConfigError: no such role, or none or several such keys.
    """
    if role in TOP_LEVEL:
        return _one(beginning, repository.root().roles[role].keyids)
    return _one(beginning, repository.delegation(role)[0].keyids)


def replace_key(repository: Repository, role: str, keyid: str, new: SSlibKey | None) -> list[str]:
    """Take a key away from a role, and give it another.

    Args:
        repository: of the fleet.
        role: of root's four, or a delegated one.
        keyid: the key's id, or its beginning.
        new: instead of it; None for nothing, where enough others are left.

    Returns:
        Roles whose metadata no longer has enough signatures: they must be signed anew.

    Raises:
        ConfigError: no such role or key, too few keys would be left, or keys that sign the change
            are missing.
    """
    found = find_key(repository, role, keyid)
    if role in TOP_LEVEL:
        with repository.edit_root() as root:
            root.revoke_key(found, role)
            if new is not None:
                root.add_key(new, role)
            _check(role, len(root.roles[role].keyids), root.roles[role].threshold)
        if role in (Targets.type, Snapshot.type, Timestamp.type):
            with repository.edit(role):
                pass  # signed by those who are left
        return []
    delegated, keys = repository.delegation(role)
    left = [key for each, key in keys.items() if each != found] + ([new] if new else [])
    _check(role, len(left), delegated.threshold)
    repository.delegate(role, left, delegated.threshold, delegated.paths or [])
    present = repository.roles.get(role)
    if present is None:
        return []
    top = repository.targets()
    held = top.get_verification_result(role, present.signed_bytes, present.signatures)
    return [] if held.verified else [role]


def add_list(
    repository: Repository,
    list_id: str,
    signers: Sequence[SSlibKey],
    threshold: int,
    urgent: Sequence[SSlibKey] = (),
) -> None:
    """Let signers sign a list together, and one alone for a day in an emergency.

    Args:
        repository: of the fleet.
        list_id: name of the list.
        signers: keys, one a person.
        threshold: how many of them must sign.
        urgent: keys that may sign alone; those of all signers if none is given.

    Raises:
        ConfigError: no name, fewer signers than the threshold, or the keys of targets are missing.
    """
    try:
        msgspec.convert(list_id, Name)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{list_id!r} is no name of a list: {error}") from error
    repository.delegate(list_role(list_id), signers, threshold, [list_target(list_id)])
    repository.delegate(
        list_role(list_id, urgent=True),
        urgent or signers,
        1,
        [list_target(list_id, urgent=True)],
    )


def has_list(repository: Repository, list_id: str) -> bool:
    """Return whether it was said who signs a list."""
    delegations = repository.targets().delegations
    return list_role(list_id) in ((delegations and delegations.roles) or {})


def read_devices(repository: Repository) -> dict[str, Party]:
    """Return the devices by id."""
    content = repository.file(devices.DEVICES)
    return {} if content is None else devices.decode(content)


def read_policy(repository: Repository) -> policy.Policy:
    """Return the policy in force."""
    target = repository.targets().targets.get(policy.TARGET)
    if target is None:
        return policy.Policy()
    return policy.decode(repository.target_content(target))


def set_policy(repository: Repository, changed: policy.Policy) -> None:
    """Have the top-level role sign a policy.

    Raises:
        ConfigError: keys of targets are missing.
    """
    repository.put(Targets.type, policy.TARGET, policy.encode(changed))


def add_device(repository: Repository, device: Party) -> None:
    """Register a device; one that had been removed is welcome again.

    Raises:
        ConfigError: another device has its id, or keys of targets are missing.
    """
    known = read_devices(repository)
    repository.stage_file(devices.DEVICES, devices.encode(devices.added(known, device)))
    rules = read_policy(repository)
    if device.name in rules.removed:
        left = [name for name in rules.removed if name != device.name]
        set_policy(repository, policy.Policy(ceilings=rules.ceilings, removed=left))


def remove_device(repository: Repository, name: str) -> None:
    """Take a device out of the fleet: it is told to destroy what it holds, and gets no key again.

    Lists that name it must be published anew, with a new key: `lethe watchlist device`.

    Raises:
        ConfigError: no such device, or keys of targets are missing.
    """
    known = read_devices(repository)
    if name not in known:
        raise ConfigError(f"{name!r} is not registered; see `lethe fleet status`")
    rules = read_policy(repository)
    removed = sorted({*rules.removed, name})
    set_policy(repository, policy.Policy(ceilings=rules.ceilings, removed=removed))
    left = {n: device for n, device in known.items() if n != name}
    repository.stage_file(devices.DEVICES, devices.encode(left))


def _one(beginning: str, keyids: Sequence[str]) -> str:
    found = [keyid for keyid in keyids if keyid.startswith(beginning)]
    if len(found) != 1 or not beginning:
        raise ConfigError(
            f"{len(found)} keys begin with {beginning!r}; the role has "
            + ", ".join(keyid[:12] for keyid in keyids)
        )
    return found[0]


def _check(role: str, left: int, threshold: int) -> None:
    if left < threshold:
        raise ConfigError(
            f"{role}: {left} keys would be left, {threshold} must sign; give another with --new"
        )
