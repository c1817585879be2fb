"""A version of a list on its way: drafted, signed by several people, handed to the fleet.

    draft     the owner encrypts the list and writes the metadata that is to be signed
    request   a file for the other signers: all of it, sealed to each of them
    signature a file back: one signature, over exactly this draft
    release   draft and enough signatures: what the fleet's folder takes

A signer sees what the request holds, opened with the very key that the metadata commits to, and
not what somebody says of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Targets

from edge import limits
from edge.errors import ConfigError, FormatError, SignatureRefused
from edge.files import read_small, write_atomically
from edge.protocol import list_key, topics
from edge.protocol.party import Party
from edge.protocol.sealed_list import open_list, seal_list
from edge.protocol.watchlist import Name, Watchlist, list_role, list_target
from edge.trust.view import ROLE_FIELD, is_signed_as
from fleet.keys import public_key
from fleet.repository import COMPACT, Repository, target_info

LAST, PENDING = "last.release", "pending.release"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a file: keyword only, nothing unknown."""


class Wrapped(_File, frozen=True, kw_only=True):
    """A list's key for one device, and the public key it was wrapped for."""

    public: str
    sealed: bytes


class Release(_File, frozen=True, kw_only=True):
    """A version of a list, signed or about to be.

    Attributes:
        list_id: name of the list.
        version: of it.
        urgent: whether it is for the role that may sign alone.
        metadata: TUF metadata of the role, with the signatures so far.
        head: ciphertext; empty where the list is withdrawn.
        pieces: name to ciphertext.
        keys: path below `<root>/trust` to the list's key for a device.
    """

    list_id: Name
    version: int
    urgent: bool
    metadata: bytes
    head: bytes
    pieces: dict[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], bytes]
    keys: dict[str, Wrapped]

    @property
    def role(self) -> str:
        """The role that signs it."""
        return list_role(self.list_id, urgent=self.urgent)

    def retained(self) -> dict[str, bytes]:
        """Return path to content of what the broker is to hold beside targets and metadata."""
        pieces = {topics.piece(self.list_id, name): data for name, data in self.pieces.items()}
        return pieces | {path: wrapped.sealed for path, wrapped in self.keys.items()}


class Kept(_File, frozen=True, kw_only=True):
    """A release in its owner's folder, with the key that opens it: it may be replaced meanwhile."""

    release: Release
    key: bytes


class Request(_File, frozen=True, kw_only=True):
    """What is asked to be signed, as each signer can open it.

    Attributes:
        list_id: name of the list.
        version: of it.
        boxes: name of a signer to the key of `sealed`, wrapped for them.
        sealed: a `RequestBody`, encrypted.
    """

    list_id: Name
    version: int
    boxes: dict[str, bytes]
    sealed: bytes


class RequestBody(_File, frozen=True, kw_only=True):
    """What a signer is shown and signs.

    Attributes:
        release: the draft.
        key: of the list.
        labels: entry id to what the owner calls the person.
        threshold: how many must sign.
        signers: who may.
    """

    release: Release
    key: bytes
    labels: dict[str, str]
    threshold: int
    signers: list[Party]


class SignatureFile(_File, frozen=True, kw_only=True):
    """One signature.

    Attributes:
        list_id: name of the list.
        version: of it.
        draft: SHA-256 of what was signed, hex.
        signer: name.
        keyid: of the key.
        signature: hex.
    """

    list_id: Name
    version: int
    draft: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    signer: Name
    keyid: str
    signature: str


class Standing(NamedTuple):
    """How far a release is signed: names of who has, of who has not, and how many must."""

    signed: list[str]
    missing: list[str]
    threshold: int

    @property
    def complete(self) -> bool:
        """Whether it may be published."""
        return len(self.signed) >= self.threshold


def draft(
    watchlist: Watchlist,
    key: bytes,
    devices: Mapping[str, Party],
    *,
    urgent: bool = False,
    last: Release | None = None,
) -> Release:
    """Encrypt a version of a list and write the metadata that is to be signed.

    Args:
        watchlist: the version.
        key: of the list.
        devices: the fleet's, by id.
        urgent: for the role that may sign alone.
        last: the version before, whose pieces and wrapped keys are used again.

    Raises:
        ConfigError: the authorisation names a device that is not registered.
        FormatError: devices would refuse the list.
    """
    unknown = [name for name in watchlist.authorisation.devices if name not in devices]
    if unknown:
        raise ConfigError(
            f"not registered with the fleet: {', '.join(unknown)}; `lethe fleet device add` them, "
            "or take them off the list with `lethe watchlist device`"
        )
    parts = seal_list(watchlist, key, kept=last.pieces.values() if last else ())
    committed = list_key.commitment(key)
    targets = _targets(watchlist, urgent=urgent)
    path = list_target(watchlist.id, urgent=urgent)
    targets.targets[path] = target_info(path, parts.head, {"key": committed})
    return Release(
        list_id=watchlist.id,
        version=watchlist.version,
        urgent=urgent,
        metadata=Metadata(targets).to_bytes(COMPACT),
        head=parts.head,
        pieces=parts.pieces,
        keys={
            topics.list_key(watchlist.id, committed, name): _wrapped(
                key, watchlist.id, devices[name], last
            )
            for name in watchlist.authorisation.devices
        },
    )


def draft_withdrawal(watchlist: Watchlist) -> Release:
    """Return a version that says that there is no list any more.

    Args:
        watchlist: the version that would be published otherwise; its number and end are used.
    """
    return Release(
        list_id=watchlist.id,
        version=watchlist.version,
        urgent=False,
        metadata=Metadata(_targets(watchlist)).to_bytes(COMPACT),
        head=b"",
        pieces={},
        keys={},
    )


def sign(release: Release, signers: Iterable[Signer]) -> Release:
    """Return a release with more signatures."""
    md = _metadata(release)
    for signer in signers:
        md.sign(signer, append=True)
    return msgspec.structs.replace(release, metadata=md.to_bytes(COMPACT))


def standing(release: Release, signers: Iterable[Party], threshold: int) -> Standing:
    """Return who has signed a release; signatures that do not hold are none."""
    md = _metadata(release)
    signed: list[str] = []
    missing: list[str] = []
    for party in signers:
        key = public_key(party.sign)
        (signed if _holds(md, key) else missing).append(party.name)
    return Standing(signed, missing, 1 if release.urgent else threshold)


def opened(release: Release, key: bytes) -> Watchlist | None:
    """Return the list that a release's metadata stands for, or None if it withdraws the list.

    Raises:
        BadInput: the parts do not belong together: signing it would sign something else.
    """
    targets = _metadata(release).signed
    is_signed_as(release.role, targets)
    path = list_target(release.list_id, urgent=release.urgent)
    if targets.version != release.version or not set(targets.targets) <= {path}:
        raise FormatError(f"list {release.list_id!r}: the metadata is of something else")
    info = targets.targets.get(path)
    if info is None:
        return None
    if info.hashes.get("sha256") != hashlib.sha256(release.head).hexdigest():
        raise FormatError(f"list {release.list_id!r}: the metadata is of another head")
    if (info.custom or {}).get("key") != list_key.commitment(key):
        raise FormatError(f"list {release.list_id!r}: the metadata commits to another key")
    watchlist = open_list(release.head, release.pieces, key, release.list_id)
    if watchlist.version != release.version or watchlist.expires != targets.expires.timestamp():
        raise FormatError(f"list {release.list_id!r}: metadata and list differ in version or end")
    return watchlist


def hand_over(release: Release, repository: Repository) -> None:
    """Have a fleet's folder take a release; the caller seals and saves the state.

    Raises:
        SignatureRefused: not signed by enough of those who may.
        ConfigError: not newer than what is there, or newer than it can be.
        FormatError: it holds what no release holds.
    """
    roles = (list_role(release.list_id), list_role(release.list_id, urgent=True))
    known = max(
        (repository.roles[role].signed.version for role in roles if role in repository.roles),
        default=0,
    )
    version = _metadata(release).signed.version
    if version > known + limits.MAX_VERSION_STEP:
        raise ConfigError(
            f"list {release.list_id!r}: version {version} is far beyond {known}; devices would "
            "refuse all that follow with lower numbers: ask its owner"
        )
    heads = [release.head] if release.head else []
    repository.accept(release.role, release.metadata, release.retained(), heads)


# --- Files ---------------------------------------------------------------------------------------


def make_request(release: Release, body_key: bytes, labels: dict[str, str], *,
                 signers: list[Party], threshold: int) -> Request:  # fmt: skip
    """Return a request that each signer can open, and nobody else.

    Args:
        release: the draft.
        body_key: the list's key.
        labels: entry id to what the owner calls the person.
        signers: who may sign.
        threshold: how many must.
    """
    body = RequestBody(
        release=release, key=body_key, labels=labels, threshold=threshold, signers=signers
    )
    once, nonce = list_key.new_key(), secrets.token_bytes(12)
    sealed = nonce + AESGCM(once).encrypt(nonce, msgspec.msgpack.encode(body), b"lethe request/1")
    boxes = {
        signer.name: list_key.wrap(
            once, list_id=release.list_id, device=signer.name, public=signer.opening_key
        )
        + bytes.fromhex(list_key.commitment(once))
        for signer in signers
    }
    return Request(list_id=release.list_id, version=release.version, boxes=boxes, sealed=sealed)


def open_request(request: Request, name: str, private: X25519PrivateKey) -> RequestBody:
    """Return what a request holds.

    Raises:
        KeyRefused: it is not for this signer.
        FormatError: altered, or not in the documented form.
    """
    box = request.boxes.get(name)
    if box is None:
        raise ConfigError(f"the request is for {', '.join(request.boxes)}, not for {name}")
    wrapped, committed = box[: list_key.WRAPPED_BYTES], box[list_key.WRAPPED_BYTES :].hex()
    once = list_key.unwrap(
        wrapped, committed=committed, list_id=request.list_id, device=name, private=private
    )
    try:
        content = AESGCM(once).decrypt(request.sealed[:12], request.sealed[12:], b"lethe request/1")
        body = msgspec.msgpack.decode(content, type=RequestBody)
    except (InvalidTag, ValueError, msgspec.DecodeError) as error:
        raise FormatError(f"the request for list {request.list_id!r} was altered") from error
    asked = body.release
    if (asked.list_id, asked.version) != (request.list_id, request.version):
        raise FormatError(
            f"a request for version {request.version} of {request.list_id!r} that asks to sign "
            f"version {asked.version} of {asked.list_id!r}"
        )
    return body


def signature_file(release: Release, signer: Signer, name: str) -> SignatureFile:
    """Sign a draft, and return the signature by itself."""
    md = _metadata(release)
    made = md.sign(signer, append=True)
    return SignatureFile(
        list_id=release.list_id,
        version=release.version,
        draft=hashlib.sha256(md.signed_bytes).hexdigest(),
        signer=name,
        keyid=made.keyid,
        signature=made.signature,
    )


def attach(release: Release, file: SignatureFile, signers: Iterable[Party]) -> Release:
    """Return a release with a signature that came in a file.

    Raises:
        SignatureRefused: of another draft, of nobody who may sign, or it does not hold.
    """
    md = _metadata(release)
    if file.draft != hashlib.sha256(md.signed_bytes).hexdigest():
        raise SignatureRefused(
            f"{file.signer} signed version {file.version} of list {file.list_id!r}, and not this "
            f"draft of version {release.version}"
        )
    keys = {key.keyid: key for key in (public_key(party.sign) for party in signers)}
    if file.keyid not in keys:
        raise SignatureRefused(f"{file.signer} may not sign list {release.list_id!r}")
    md.signatures[file.keyid] = Signature(file.keyid, file.signature)
    if not _holds(md, keys[file.keyid]):
        raise SignatureRefused(f"the signature of {file.signer} does not hold")
    return msgspec.structs.replace(release, metadata=md.to_bytes(COMPACT))


F = TypeVar("F", Release, Kept, Request, SignatureFile)


def write(path: Path, content: F) -> None:
    """Write one of these files, mode 0600.

    Raises:
        StorageUnavailable: the disk is full.
    """
    write_atomically(path, msgspec.msgpack.encode(content))


def read_release(path: Path) -> Release:
    """Read a release.

    Raises:
        ConfigError: it cannot be read.
        FormatError: it holds none.
    """
    return _decode(path, Release)


def read_request(path: Path) -> Request:
    """Read a request; errors as `read_release`."""
    return _decode(path, Request)


def read_signature(path: Path) -> SignatureFile:
    """Read a signature; errors as `read_release`."""
    return _decode(path, SignatureFile)


def read_kept(folder: Path, name: str) -> Kept | None:
    """Return what is kept in an owner's folder as `LAST` or `PENDING`; None if nothing is."""
    path = folder / name
    return _decode(path, Kept) if path.exists() else None


# --- Within --------------------------------------------------------------------------------------


def _wrapped(key: bytes, list_id: str, device: Party, last: Release | None) -> Wrapped:
    path = topics.list_key(list_id, list_key.commitment(key), device.name)
    before = last and last.keys.get(path)
    if before and before.public == device.open:
        return before
    sealed = list_key.wrap(key, list_id=list_id, device=device.name, public=device.opening_key)
    return Wrapped(public=device.open, sealed=sealed)


def _targets(watchlist: Watchlist, *, urgent: bool = False) -> Targets:
    """Return metadata without any target, of the role that it names and of no other."""
    return Targets(
        version=watchlist.version,
        expires=datetime.fromtimestamp(watchlist.expires, UTC),
        unrecognized_fields={ROLE_FIELD: list_role(watchlist.id, urgent=urgent)},
    )


def _metadata(release: Release) -> Metadata[Targets]:
    try:
        md: Metadata[Targets] = Metadata.from_bytes(release.metadata)
    except RepositoryError as error:
        raise FormatError(f"list {release.list_id!r}: no metadata: {error}") from error
    if not isinstance(md.signed, Targets):
        raise FormatError(f"list {release.list_id!r}: metadata of another kind")
    return md


def _holds(md: Metadata[Targets], key: SSlibKey) -> bool:
    signature = md.signatures.get(key.keyid)
    if signature is None:
        return False
    try:
        key.verify_signature(signature, md.signed_bytes)
    except UnverifiedSignatureError:
        return False
    return True


def _decode(path: Path, kind: type[F]) -> F:
    try:
        return msgspec.msgpack.decode(read_small(path, limits.MAX_OWNER_FILE_BYTES), type=kind)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: not in the documented form: {error}") from error
