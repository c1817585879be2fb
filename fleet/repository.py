"""The fleet's folder: what is signed, in the form in which it lies at the broker.

    keys/           keys that sign; whoever can, keeps those of root elsewhere
    root.json       what devices are given: the newest root metadata
    devices.json    the devices and their public keys (`fleet.devices`)
    retained/       one file a retained topic: metadata/, target/, piece/, key/
    releases/       which pieces and keys belong to a version of a list

The state is what `retained/metadata/timestamp.json` leads to. A change is prepared in memory; all
files but this one are written first, then this one: whatever happens in between, the folder holds
the old state or the new one. devices.json follows. Metadata is made with python-tuf.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository as MetadataEditor

from edge import limits
from edge.errors import BadInput, ConfigError, FormatError, SignatureRefused
from edge.files import private_folder, read_small, write_atomically
from edge.protocol import topics
from edge.trust.view import ROLE_FIELD, is_signed_as
from fleet.keys import Keyring

RETAINED, RELEASES, KEYS, ROOT = "retained", "releases", "keys", "root.json"
TIMESTAMP = topics.TIMESTAMP
COMPACT = JSONSerializer(compact=True)
TOP_LEVEL = (Root.type, Targets.type, Snapshot.type, Timestamp.type)

_PATH = re.compile(r"(piece|key)/[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*")

_BEGINNINGS: dict[str, Callable[[], Root | Snapshot | Timestamp]] = {
    Root.type: lambda: Root(consistent_snapshot=True),
    Snapshot.type: Snapshot,
    Timestamp.type: Timestamp,
}

LIFETIMES = {
    Snapshot.type: limits.SNAPSHOT_LIFETIME_S,
    Timestamp.type: limits.TIMESTAMP_LIFETIME_S,
}
"""Seconds; others live for `limits.ROLE_LIFETIME_S`."""


class Repository(MetadataEditor):
    """A fleet's folder, opened to be changed. Use it under `fleet.folder.locked`."""

    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        """Open a folder made by `fleet.setup.init`.

        Raises:
            ConfigError: it is not one, or damaged.
        """
        self.folder = folder
        self.keyring = Keyring(folder / KEYS, passphrase)
        self._metadata: dict[str, Metadata[Any]] = {}
        self._staged: dict[str, bytes] = {}
        self._releases: dict[str, bytes] = {}
        self._files: dict[str, bytes] = {}
        if (folder / RETAINED / TIMESTAMP).exists():
            self._load()

    @classmethod
    def existing(cls, folder: Path, passphrase: bytes | None = None) -> Repository:
        """Open a folder that must be a fleet's.

        Raises:
            ConfigError: it is not.
        """
        if not (folder / RETAINED / TIMESTAMP).exists():
            raise ConfigError(f"{folder}: no fleet here; make one with `lethe fleet init {folder}`")
        return cls(folder, passphrase)

    # --- What python-tuf's editor asks for ------------------------------------------------------

    def open(self, role: str) -> Metadata[Any]:
        """Return a copy of a role's metadata, or its empty beginning."""
        if role in self._metadata:
            return deepcopy(self._metadata[role])
        made: Metadata[Any] = Metadata(_BEGINNINGS.get(role, Targets)())
        made.signed.version = 0
        return made

    def close(self, role: str, md: Metadata[Any]) -> None:
        """Sign a new version of a role's metadata with the keys that are here.

        Raises:
            ConfigError: they are too few.
        """
        md.signed.version += 1
        if role not in TOP_LEVEL:
            md.signed.unrecognized_fields[ROLE_FIELD] = role
        lifetime = LIFETIMES.get(role, limits.ROLE_LIFETIME_S)
        md.signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lifetime)
        md.signatures.clear()
        signing = [self._keyids(role, md)]
        if role == Root.type and role in self._metadata:  # signed by the old and by the new keys
            signing.append(self._keyids(role, self._metadata[role]))
        for keyids, _ in signing:
            for signer in self.keyring.signers(keyids):
                md.sign(signer, append=True)
        for keyids, threshold in signing:
            if len(md.signatures.keys() & set(keyids)) < threshold:
                raise ConfigError(
                    f"role {role}: {threshold} of its {len(keyids)} keys must sign; put their "
                    f"files into {self.folder / KEYS} for as long as it takes: "
                    + ", ".join(keyid[:12] for keyid in keyids)
                )
        self._stage(role, md)

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        """Versions of every role that signs targets."""
        return {
            f"{role}.json": MetaFile(md.signed.version)
            for role, md in self._metadata.items()
            if isinstance(md.signed, Targets)
        }

    @property
    def snapshot_info(self) -> MetaFile:
        """Version of the snapshot."""
        return MetaFile(self._metadata[Snapshot.type].signed.version)

    # --- What is there --------------------------------------------------------------------------

    @property
    def roles(self) -> dict[str, Metadata[Any]]:
        """Every role's metadata, by name."""
        return dict(self._metadata)

    def delegation(self, role: str) -> tuple[DelegatedRole, dict[str, Any]]:
        """Return a delegated role and its keys by id.

        Raises:
            ConfigError: there is no such role.
        """
        delegations = self.targets().delegations
        found = ((delegations and delegations.roles) or {}).get(role)
        if delegations is None or found is None:
            raise ConfigError(f"{self.folder}: nothing is delegated to {role!r}")
        return found, {keyid: delegations.keys[keyid] for keyid in found.keyids}

    def bins(self, role: str) -> SuccinctRoles | None:
        """Return the bins in which a role has its targets signed; None if it signs them itself."""
        md = self._metadata.get(role)
        if role in TOP_LEVEL or md is None or md.signed.delegations is None:
            return None
        bins: SuccinctRoles | None = md.signed.delegations.succinct_roles
        return bins

    def signed_by(self, role: str) -> dict[str, TargetFile]:
        """Return the targets that a role and its bins have signed, by path."""
        bins = self.bins(role)
        found: dict[str, TargetFile] = {}
        for each in (role, *(bins.get_roles() if bins else ())):
            if each in self._metadata:
                found |= self._metadata[each].signed.targets
        return found

    def paths(self) -> list[str]:
        """Return every path that lies at the broker, in the order in which it is published.

        What is referred to comes before what refers to it: pieces and keys, targets, roots,
        delegated roles, targets role, snapshot, timestamp.
        """
        found = [topics.SENTINEL]
        for role, md in self._metadata.items():
            if isinstance(md.signed, Targets):
                found += self._release_paths(role, md.signed.version)
                found += [_target_path(info) for info in md.signed.targets.values()]
        root = self._metadata[Root.type].signed.version
        found += [_metadata_path(Root.type, version) for version in range(1, root + 1)]
        delegated = [role for role, md in self._metadata.items() if isinstance(md.signed, Targets)]
        delegated.sort(key=lambda role: role == Targets.type)
        found += [_metadata_path(r, self._metadata[r].signed.version) for r in delegated]
        found += [
            _metadata_path(Snapshot.type, self._metadata[Snapshot.type].signed.version),
            TIMESTAMP,
        ]
        return list(dict.fromkeys(found))

    def content(self, path: str) -> bytes:
        """Return what lies at a path.

        Raises:
            ConfigError: it is missing.
        """
        if path == topics.SENTINEL:
            return b"."
        if path in self._staged:
            return self._staged[path]
        try:
            return read_small(self.folder / RETAINED / path, limits.MAX_TARGET_BYTES)
        except OSError as error:
            raise ConfigError(f"{self.folder}: damaged, {path}: {error.strerror}") from error

    def target_content(self, info: TargetFile) -> bytes:
        """Return the content of a target."""
        return self.content(_target_path(info))

    def reload_keys(self) -> None:
        """Look again which keys are in the folder."""
        self.keyring = self.keyring.again()

    # --- What changes it ------------------------------------------------------------------------

    def delegate(self, role: str, keys: Iterable[Any], threshold: int, paths: list[str]) -> None:
        """Let a role sign targets; one that is there already gets these keys instead.

        Raises:
            ConfigError: fewer keys than the threshold, or those of the targets role are missing.
        """
        keys = list(keys)
        if not 1 <= threshold <= len({key.keyid for key in keys}):
            raise ConfigError(
                f"{role}: threshold {threshold} of {len(keys)} keys; each signer needs their own"
            )
        with self.edit_targets() as top:
            if top.delegations is None:
                top.delegations = Delegations({}, {})
            roles = top.delegations.roles
            assert roles is not None, "made by this class, which names its roles"
            roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=paths)
            for key in keys:
                top.add_key(key, role)
            used = {keyid for each in roles.values() for keyid in each.keyids}
            for keyid in set(top.delegations.keys) - used:
                del top.delegations.keys[keyid]

    def put(self, role: str, path: str, content: bytes | None, custom: Any = None) -> None:  # noqa: ANN401
        """Have a role whose keys are here sign a target, or that there is none.

        Args:
            role: "targets", "models", "firmware" or "config".
            path: of the target.
            content: of it; None takes it away.
            custom: what else is signed of it.

        Raises:
            ConfigError: keys are missing, or the role may not sign this path.
        """
        if role != Targets.type and not self.delegation(role)[0].is_delegated_path(path):
            raise ConfigError(f"{role} may not sign {path!r}")
        if (bins := self.bins(role)) is not None:
            role = bins.get_role_for_target(path)
        with self.edit_targets(role) as targets:
            if content is None:
                targets.targets.pop(path, None)
                return
            info = target_info(path, content, custom)
            targets.targets[path] = info
            self._staged[_target_path(info)] = content

    def accept(
        self, role: str, metadata: bytes, retained: Mapping[str, bytes], targets: Iterable[bytes]
    ) -> None:
        """Take metadata that others have signed, with what belongs to it.

        Args:
            role: whose it is.
            metadata: signed.
            retained: path to content of pieces and keys.
            targets: contents of the targets it names.

        Raises:
            SignatureRefused: the threshold of the role is not met, or it names what the role may
                not sign.
            FormatError: a path is none of a piece or key.
            ConfigError: not newer than what is there, or a target is missing.
        """
        try:
            md: Metadata[Targets] = Metadata.from_bytes(metadata)
            self.targets().verify_delegate(role, md.signed_bytes, md.signatures)
        except (RepositoryError, ValueError, DownloadError) as error:
            raise SignatureRefused(f"{role}: {error}") from error
        is_signed_as(role, md.signed)
        before = self._metadata.get(role)
        if before is not None and md.signed.version <= before.signed.version:
            raise ConfigError(
                f"{role}: version {md.signed.version} is not newer than {before.signed.version}"
            )
        by_hash = {hashlib.sha256(content).hexdigest(): content for content in targets}
        delegated = self.delegation(role)[0]
        for path, info in md.signed.targets.items():
            if not delegated.is_delegated_path(path):  # it would become the name of a file
                raise SignatureRefused(f"{role} may not sign {path!r}")
            if info.hashes.get("sha256") not in by_hash:
                raise ConfigError(f"{role}: the content of {path} is missing")
            self._staged[_target_path(info)] = by_hash[info.hashes["sha256"]]
        for path in retained:
            if not _PATH.fullmatch(path):
                raise FormatError(f"{role}: {path!r} is no path of a piece or key")
        self._staged.update(retained)
        self._releases[_release_name(role, md.signed.version)] = msgspec.json.encode(
            sorted(retained)
        )
        self._stage(role, md)

    def file(self, name: str) -> bytes | None:
        """Return a file in the folder as it will be when the state is saved; None if there is none.

        Raises:
            ConfigError: it cannot be read.
        """
        if name in self._files:
            return self._files[name]
        try:
            return read_small(self.folder / name, limits.MAX_OWNER_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.folder / name}: {error.strerror or error}") from error

    def stage_file(self, name: str, content: bytes) -> None:
        """Have a file in the folder replaced when the state is saved."""
        self._files[name] = content

    def seal_state(self, *, force: bool = False) -> None:
        """Sign snapshot and timestamp for what has changed.

        Args:
            force: also where nothing has: their time begins anew.

        Raises:
            ConfigError: their keys are missing.
        """
        self.do_snapshot(force)
        self.do_timestamp(force)

    def save(self) -> None:
        """Write what has changed, the timestamp last, then remove what nothing leads to.

        Raises:
            StorageUnavailable: the disk is full; the old state is as it was.
        """
        current = self.paths()
        for name, paths in self._releases.items():
            private_folder(self.folder / RELEASES)
            write_atomically(self.folder / RELEASES / name, paths)
        for path in current:
            file, content = self.folder / RETAINED / path, self._staged.get(path)
            if content is None or path == TIMESTAMP:
                continue
            if not file.exists() or file.read_bytes() != content:  # most of a list never changes
                private_folder(file.parent)
                write_atomically(file, content)
        if TIMESTAMP in self._staged:
            write_atomically(self.folder / RETAINED / TIMESTAMP, self._staged[TIMESTAMP])
        for name, new in self._files.items():  # if this is cut off, the command can be repeated
            write_atomically(self.folder / name, new)
        root = COMPACT.serialize(self._metadata[Root.type])
        write_atomically(self.folder / ROOT, root, mode=0o644)
        self._staged, self._releases, self._files = {}, {}, {}
        self._tidy(set(current))

    # --- Within ---------------------------------------------------------------------------------

    def _load(self) -> None:
        retained = self.folder / RETAINED

        def read(role: str, version: int | None) -> Metadata[Any]:
            path = TIMESTAMP if version is None else _metadata_path(role, version)
            try:
                return Metadata.from_bytes(read_small(retained / path, limits.MAX_TARGETS_BYTES))
            except (OSError, RepositoryError) as error:
                raise ConfigError(f"{self.folder}: damaged, {path}: {error}") from error

        timestamp = self._metadata[Timestamp.type] = read(Timestamp.type, None)
        snapshot = read(Snapshot.type, timestamp.signed.snapshot_meta.version)
        self._metadata[Snapshot.type] = snapshot
        for name, info in snapshot.signed.meta.items():
            role = name.removesuffix(".json")
            self._metadata[role] = read(role, info.version)
        roots = [
            int(file.name.split(".")[0]) for file in (retained / "metadata").glob("*.root.json")
        ]
        self._metadata[Root.type] = read(Root.type, max(roots, default=1))

    def _keyids(self, role: str, md: Metadata[Any]) -> tuple[list[str], int]:
        """Return who may sign a role, and how many must."""
        if role == Root.type:
            found = md.signed.roles[role]
        elif role in TOP_LEVEL:
            found = self.root().roles[role]
        else:
            found = self._bins_of.get(role) or self.delegation(role)[0]
        return list(found.keyids), found.threshold

    @property
    def _bins_of(self) -> dict[str, SuccinctRoles]:
        """Every bin's name, to the role of keys that sign it."""
        sets = [bins for role in self._metadata if (bins := self.bins(role))]
        return {name: bins for bins in sets for name in bins.get_roles()}

    def _stage(self, role: str, md: Metadata[Any]) -> None:
        self._metadata[role] = md
        version = None if role == Timestamp.type else md.signed.version
        path = TIMESTAMP if version is None else _metadata_path(role, version)
        self._staged[path] = md.to_bytes(COMPACT)

    def _release_paths(self, role: str, version: int) -> list[str]:
        name = _release_name(role, version)
        try:
            content = self._releases.get(name) or (self.folder / RELEASES / name).read_bytes()
        except FileNotFoundError:
            return []
        paths: list[str] = msgspec.json.decode(content, type=list[str])
        return paths

    def _tidy(self, current: set[str]) -> None:
        retained = self.folder / RETAINED
        for file in [file for file in retained.rglob("*") if file.is_file()]:
            if file.relative_to(retained).as_posix() not in current:
                file.unlink()
        kept = {_release_name(role, md.signed.version) for role, md in self._metadata.items()}
        for file in (self.folder / RELEASES).glob("*.json"):
            if file.name not in kept:
                file.unlink()


def target_info(path: str, content: bytes, custom: Any = None) -> TargetFile:  # noqa: ANN401
    """Return what metadata says of a target."""
    if len(content) > limits.MAX_TARGET_BYTES:
        raise BadInput(f"{path}: {len(content)} bytes; devices read {limits.MAX_TARGET_BYTES}")
    info = TargetFile(len(content), {"sha256": hashlib.sha256(content).hexdigest()}, path)
    if custom is not None:
        info.unrecognized_fields["custom"] = custom
    return info


def _metadata_path(role: str, version: int) -> str:
    return f"metadata/{version}.{quote(role, '')}.json"


def _target_path(info: TargetFile) -> str:
    return topics.target(info.path, info.hashes["sha256"])


def _release_name(role: str, version: int) -> str:
    return f"{version}.{quote(role, '')}.json"
