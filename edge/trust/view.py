"""What the fleet has signed, as python-tuf verifies it.

TUF specification 1.0, section 5, "Detailed client workflow": signatures and thresholds, no
rollback, no freeze, no mix of states, a root that may be rotated.

python-tuf and the libraries below it take a tenth of the time in which a device starts, and nothing
is verified before the broker has brought something: so this module is imported when it has
(`edge.trust.client`), while frames are judged by the list in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import (
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
    VerificationResult,
)
from tuf.ngclient import Updater, UpdaterConfig

from edge import limits
from edge.errors import (
    AlterationRefused,
    FormatError,
    FreezeRefused,
    LetheError,
    MissingAtBroker,
    RollbackRefused,
    SignatureRefused,
    StorageUnavailable,
)
from edge.protocol import topics
from edge.trust.fetcher import MqttFetcher
from edge.trust.shelf import Shelf
from edge.trust.target import TOP_LEVEL, Target

ROLE_FIELD = "role"
"""Member of a role's metadata that says whose it is. TUF's own does not: what the same people have
signed for one role, above all that there is no target, would pass for another's."""


class View:
    """One consistent state of what the fleet has signed. Used on the trust thread only."""

    def __init__(self, updater: Updater, folder: Path, shelf: Shelf) -> None:
        """Show what a refreshed updater knows."""
        self._updater = updater
        self._folder = folder
        self._shelf = shelf

    def find(self, path: str, role: str) -> Target | None:
        """Return what a role has signed of a target, or None if it has signed that there is none.

        Args:
            path: of the target, for instance "config/gate-3".
            role: the only role that is believed about it, for instance "config". One that has
                its targets signed in bins (TAP 15) is followed to the bin.

        Raises:
            BadInput: the role's metadata is refused; the class says why.
            Unavailable: it cannot be fetched or kept at the moment.
        """
        with refusals():
            if not self._is_delegated(path, role):
                return None
            self._updater.get_targetinfo(path)  # fetches and verifies the role's metadata
            found, result = self._verified(role, Root.type if role == TOP_LEVEL else TOP_LEVEL)
            info: TargetFile | None = found.targets.get(path)
            hands_on = None if role == TOP_LEVEL else found.delegations
            if info is None and hands_on is not None and hands_on.succinct_roles is not None:
                bin_ = hands_on.succinct_roles.get_role_for_target(path)
                found, result = self._verified(bin_, role)
                info, role = found.targets.get(path), bin_
            return None if info is None else _target(found.version, role, info, result)

    def keys(self, role: str) -> dict[str, Ed25519PublicKey]:
        """Return the Ed25519 keys that may sign as a role, by their ids; none if it is not there.

        Raises:
            BadInput: the metadata that says so is damaged.
            StorageUnavailable: it cannot be read.
        """
        with refusals():
            delegations = self._read(TOP_LEVEL).signed.delegations
            found = ((delegations and delegations.roles) or {}).get(role)
            if delegations is None or found is None:
                return {}
            keys = {keyid: delegations.keys[keyid] for keyid in found.keyids}
            return {
                keyid: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
                for keyid, key in keys.items()
                if key.keytype == "ed25519"
            }

    def until(self) -> float:
        """Return when this state has to be signed anew, seconds since 1970."""
        with refusals():
            expires: datetime = self._read(Timestamp.type).signed.expires
            return expires.timestamp()

    def metadata_paths(self) -> list[str]:
        """Return where the metadata lies that the snapshot names."""
        meta = self._read(Snapshot.type).signed.meta
        return [
            f"metadata/{info.version}.{quote(name.removesuffix('.json'), '')}.json"
            for name, info in meta.items()
        ]

    def version(self, role: str) -> int:
        """Return the version of a role's metadata in this state; 0 if it has said nothing yet."""
        with refusals():
            info = self._read(Snapshot.type).signed.meta.get(f"{role}.json")
        return info.version if info else 0

    def read(self, target: Target) -> bytes:
        """Return the content of a target; errors as `gather`."""
        return self.gather([target], {})[topics.target(target.path, target.sha256)]

    def gather(self, targets: Iterable[Target], others: Mapping[str, int]) -> dict[str, bytes]:
        """Return contents that are asked for together.

        Args:
            targets: their length and hash are checked.
            others: paths that no metadata names, to the most bytes that are taken; the caller
                checks what comes, and whether it came.

        Returns:
            Path to content.

        Raises:
            AlterationRefused: a target is not what was signed.
            FormatError: something is larger than it may be.
            MissingAtBroker: the broker does not hold a target.
            BrokerUnavailable: it cannot be asked.
        """
        wanted = {topics.target(target.path, target.sha256): target for target in targets}
        for target in wanted.values():
            if target.length > limits.MAX_TARGET_BYTES:
                raise FormatError(
                    f"{target.path}: {target.length} bytes, at most {limits.MAX_TARGET_BYTES}"
                )
        sizes = {path: target.length for path, target in wanted.items()}
        found = self._shelf.read({**others, **sizes})
        with refusals():
            for path, target in wanted.items():
                if path not in found:
                    raise MissingAtBroker(f"{path}: the broker holds nothing there")
                signed = TargetFile(target.length, {"sha256": target.sha256}, target.path)
                signed.verify_length_and_hashes(found[path])
        return found

    def _verified(self, role: str, by: str) -> tuple[Targets, VerificationResult]:
        """Return what a role has signed, as far as `by` vouches for it."""
        found = self._read(role)
        result = self._read(by).signed.get_verification_result(
            role, found.signed_bytes, found.signatures
        )
        if not result.verified:
            raise SignatureRefused(
                f"{role}: {len(result.signed)} signatures hold, {result.threshold} are needed"
            )
        if role != TOP_LEVEL:
            is_signed_as(role, found.signed)
        return found.signed, result

    def _is_delegated(self, path: str, role: str) -> bool:
        """Whether the role may speak of this target, and has said anything yet."""
        if role == TOP_LEVEL:
            return True
        if not self.version(role):
            return False
        top = self._read(TOP_LEVEL).signed
        if path in top.targets:
            raise SignatureRefused(f"{path}: signed by the top-level role, only {role} may")
        delegated = ((top.delegations and top.delegations.roles) or {}).get(role)
        return bool(delegated and delegated.is_delegated_path(path))

    def _read(self, role: str) -> Metadata[Any]:
        """Read metadata that the updater has verified and stored."""
        return Metadata.from_file(str(self._folder / f"{quote(role, '')}.json"))


def open_view(root: bytes, folder: Path, shelf: Shelf, timestamp: Callable[[], bytes]) -> View:
    """Bring what is known up to date, and show it.

    Args:
        root: root metadata that is trusted from the start.
        folder: where verified metadata is kept.
        shelf: where it comes from.
        timestamp: the newest timestamp.json.

    Raises:
        BadInput: something is refused; the class says why.
        Unavailable: it cannot be fetched or kept at the moment.
    """
    fetcher = MqttFetcher(shelf, timestamp)
    with refusals():
        updater = _updater(root, folder, fetcher)
        updater.refresh()
    return View(updater, folder, shelf)


def check_root(root: bytes, folder: Path, shelf: Shelf) -> None:
    """Verify root metadata, and keep it; nothing is fetched.

    Raises:
        SignatureRefused: it is not signed by itself.
        FormatError: it is no root metadata.
        StorageUnavailable: the folder cannot be written.
    """
    with refusals():
        _updater(root, folder, MqttFetcher(shelf, bytes))


def is_signed_as(role: str, signed: Targets) -> None:
    """Refuse metadata that names another role than the one it is found as.

    Raises:
        SignatureRefused: it does.
    """
    named = signed.unrecognized_fields.get(ROLE_FIELD)
    if named != role:
        raise SignatureRefused(f"{role}: this was signed as {named!r}")


def _updater(root: bytes, folder: Path, fetcher: MqttFetcher) -> Updater:
    return Updater(
        str(folder),
        "metadata",
        fetcher=fetcher,
        config=UpdaterConfig(
            max_root_rotations=limits.MAX_ROOT_ROTATIONS,
            max_delegations=limits.MAX_DELEGATIONS,
            root_max_length=limits.MAX_ROOT_BYTES,
            timestamp_max_length=limits.MAX_TIMESTAMP_BYTES,
            snapshot_max_length=limits.MAX_SNAPSHOT_METADATA_BYTES,
            targets_max_length=limits.MAX_TARGETS_BYTES,
        ),
        bootstrap=root,
    )


@contextmanager
def refusals() -> Iterator[None]:
    """Turn python-tuf's errors into ours, by what they mean."""
    try:
        yield
    except tuf_errors.UnsignedMetadataError as error:
        raise SignatureRefused(str(error)) from error
    except tuf_errors.BadVersionNumberError as error:
        raise RollbackRefused(str(error)) from error
    except tuf_errors.ExpiredMetadataError as error:
        raise FreezeRefused(f"{error}; sign it anew with `lethe fleet refresh`") from error
    except (tuf_errors.LengthOrHashMismatchError, tuf_errors.DownloadLengthMismatchError) as error:
        raise AlterationRefused(str(error)) from error
    except tuf_errors.DownloadHTTPError as error:
        raise MissingAtBroker(str(error)) from error
    except tuf_errors.DownloadError as error:
        raise (
            error.__cause__ if isinstance(error.__cause__, LetheError) else FormatError(str(error))
        ) from error
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise FormatError(f"not signed metadata: {error}") from error
    except (tuf_errors.StorageError, OSError) as error:
        raise StorageUnavailable(f"signed metadata cannot be kept: {error}") from error


def _target(version: int, role: str, info: TargetFile, result: VerificationResult) -> Target:
    sha256 = info.hashes.get("sha256")
    if sha256 is None:
        raise FormatError(f"{info.path}: signed without a SHA-256")
    return Target(
        path=info.path,
        role=role,
        version=version,
        length=info.length,
        sha256=sha256,
        custom=info.custom if isinstance(info.custom, dict) else {},
        signers=tuple(sorted(result.signed)),
        threshold=result.threshold,
    )
