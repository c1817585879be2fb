"""The owner's folder: the signing key, and the list with the names that never leave it.

owner.key   Ed25519 private key, PKCS#8 PEM, mode 0600
owner.pub   its public key; devices are given this
list.json   authorisation, entries with labels, templates, version
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from edge import limits
from edge.errors import ConfigError, StorageUnavailable
from edge.files import private_folder, read_secret, read_small, write_atomically
from edge.identity import write_public_key
from edge.protocol.watchlist import Authorisation, Entry, Watchlist, quantise

KEY, PUBLIC, LIST = "owner.key", "owner.pub", "list.json"


class OwnedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry with what only the owner knows.

    Attributes:
        label: whatever the owner calls the person.
        entry: what is published.
    """

    label: str
    entry: Entry


class OwnedList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The owner's list.

    Attributes:
        id: of the list.
        version: last one published; 0 before the first.
        embedder: id of the embedder of all templates; empty while there are none.
        dimension: length of the templates; 0 while there are none.
        authorisation: on what ground it is used.
        entries: the people.
    """

    id: str
    version: int
    embedder: str
    dimension: int
    authorisation: Authorisation
    entries: list[OwnedEntry]


class Owner:
    """An owner's folder. What another command changed since it was opened is never overwritten."""

    def __init__(self, folder: Path) -> None:
        """Open a folder made by `Owner.init`.

        Raises:
            ConfigError: it is not one, or the list in it is damaged.
        """
        self.folder = folder
        path = folder / LIST
        try:
            self._content = read_small(path, limits.MAX_SNAPSHOT_BYTES)
            self._owned = msgspec.json.decode(self._content, type=OwnedList)
        except FileNotFoundError as error:
            raise ConfigError(
                f"{folder}: no list here; make one with `lethe watchlist init {folder}`"
            ) from error
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error

    @classmethod
    def init(
        cls,
        folder: Path,
        list_id: str,
        authorisation: Authorisation,
        *,
        passphrase: bytes | None = None,
    ) -> Owner:
        """Make a folder with a new key and an empty list.

        Args:
            folder: made with mode 0700; must hold no list and no key yet.
            list_id: name of the list.
            authorisation: on what ground it will be used.
            passphrase: encrypts the key, if given.

        Raises:
            ConfigError: there is a list or key already, or a value is out of range.
            StorageUnavailable: the folder cannot be written.
        """
        for name in (LIST, KEY):
            if (folder / name).exists():
                raise ConfigError(f"{folder}: holds {name} already; nothing was changed")
        owned = OwnedList(
            id=list_id, version=0, embedder="", dimension=0, authorisation=authorisation, entries=[]
        )
        _validate(owned)
        private_folder(folder)
        key = Ed25519PrivateKey.generate()
        encryption = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        write_atomically(folder / KEY, key.private_bytes(pem, pkcs8, encryption))
        write_public_key(folder / PUBLIC, key.public_key())
        write_atomically(folder / LIST, msgspec.json.format(msgspec.json.encode(owned)))
        return cls(folder)

    @property
    def owned(self) -> OwnedList:
        """The list as it stands."""
        return self._owned

    @property
    def labels(self) -> dict[str, str]:
        """Entry id to label."""
        return {owned.entry.id: owned.label for owned in self._owned.entries}

    def key(self, passphrase: bytes | None = None) -> Ed25519PrivateKey:
        """Return the signing key.

        Raises:
            ConfigError: missing, open to others, encrypted with another passphrase, or no key.
        """
        path = self.folder / KEY
        try:
            key = serialization.load_pem_private_key(read_secret(path), passphrase)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{path}: cannot be opened ({error}); is the passphrase file right?"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path}: not an Ed25519 key")
        return key

    def add(
        self,
        label: str,
        embeddings: list[NDArray[np.float32]],
        *,
        embedder: str,
        not_before: int,
        not_after: int,
    ) -> str:
        """Add a person and return the id of the entry, 32 random hex digits.

        Args:
            label: stays here.
            embeddings: (dimension,) float32 of length 1 each.
            embedder: id of the embedder they come from.
            not_before: first moment, seconds since 1970.
            not_after: last moment.

        Raises:
            ConfigError: the label is taken, the list is full, of another embedder, or was changed
                by another command.
        """
        owned = self._owned
        if label in self.labels.values():
            raise ConfigError(f"{label!r} is enrolled already; revoke it first, or use --label")
        if len(owned.entries) >= owned.authorisation.max_entries:
            raise ConfigError(
                f"the list holds {len(owned.entries)} entries, the most it is authorised for"
            )
        if owned.embedder and owned.embedder != embedder:
            raise ConfigError(f"templates here are of {owned.embedder!r}, not {embedder!r}")
        entry = Entry(
            id=secrets.token_hex(16),
            not_before=not_before,
            not_after=not_after,
            templates=[quantise(embedding) for embedding in embeddings],
        )
        self._save(
            msgspec.structs.replace(
                owned,
                embedder=embedder,
                dimension=len(embeddings[0]),
                entries=[*owned.entries, OwnedEntry(label=label, entry=entry)],
            )
        )
        return entry.id

    def find(self, name: str) -> OwnedEntry:
        """Return an entry by label, id, or the beginning of its id.

        Raises:
            ConfigError: none, or several.
        """
        found = [o for o in self._owned.entries if name == o.label or name == o.entry.id]
        if not found and len(name) >= 4:
            found = [o for o in self._owned.entries if o.entry.id.startswith(name)]
        if len(found) != 1:
            count = "no entry is" if not found else f"{len(found)} entries are"
            raise ConfigError(f"{count} called {name!r}; see `lethe watchlist list {self.folder}`")
        return found[0]

    def revoke(self, name: str) -> OwnedEntry:
        """Remove an entry; devices forget it when the next version is published."""
        gone = self.find(name)
        kept = [o for o in self._owned.entries if o is not gone]
        owned = msgspec.structs.replace(self._owned, entries=kept)
        if not kept:  # whoever comes next may be enrolled with another embedder
            owned = msgspec.structs.replace(owned, embedder="", dimension=0)
        self._save(owned)
        return gone

    def issue(self, *, now: float, embedder: str, dimension: int) -> Watchlist:
        """Return the next version, and remember its number before anyone sees it.

        Arguments and errors are those of `draft`.
        """
        watchlist = self.draft(now=now, embedder=embedder, dimension=dimension)
        self._save(msgspec.structs.replace(self._owned, version=watchlist.version))
        return watchlist

    def draft(self, *, now: float, embedder: str, dimension: int) -> Watchlist:
        """Return what the next version would be; nothing is changed.

        Args:
            now: seconds since 1970.
            embedder: id used where nobody is enrolled yet.
            dimension: the same.

        Raises:
            ConfigError: the authorisation is over; devices would refuse the list.
        """
        if now >= self._owned.authorisation.not_after:
            raise ConfigError(f"{self.folder}: the authorisation of this list is over")
        owned = self._owned
        return Watchlist(
            id=owned.id,
            version=owned.version + 1,
            issued=int(now),
            expires=owned.authorisation.not_after,
            embedder=owned.embedder or embedder,
            dimension=owned.dimension or dimension,
            authorisation=owned.authorisation,
            entries=[o.entry for o in owned.entries],
        )

    def _save(self, owned: OwnedList) -> None:
        content = msgspec.json.format(msgspec.json.encode(owned))
        if len(content) > limits.MAX_SNAPSHOT_BYTES:
            raise StorageUnavailable(f"{self.folder / LIST}: would grow beyond the limit")
        with self._unchanged():
            write_atomically(self.folder / LIST, content)
        self._content, self._owned = content, owned

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Keep other commands out while the list is replaced, if none has changed it already."""
        path = self.folder / LIST
        try:
            lock = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if read_small(path, limits.MAX_SNAPSHOT_BYTES) != self._content:
                    raise ConfigError(
                        f"{path}: changed by another command meanwhile; run this one again"
                    )
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise StorageUnavailable(f"{path}: cannot be changed: {error.strerror}") from error


def read_passphrase(file: Path | None) -> bytes | None:
    """Return the passphrase that a file (or LETHE_OWNER_PASSPHRASE_FILE) holds, or None.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    name = file or os.environ.get("LETHE_OWNER_PASSPHRASE_FILE")
    if not name:
        return None
    try:
        passphrase = read_secret(Path(name)).strip()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if not passphrase:
        raise ConfigError(f"{name}: is empty; put the passphrase in its first line")
    return passphrase


def _validate(owned: OwnedList) -> None:
    """Apply the ranges of the signed form to a list about to be made."""
    example = Watchlist(
        id=owned.id,
        version=1,
        issued=0,
        expires=owned.authorisation.not_after,
        embedder="example",
        dimension=limits.MIN_DIMENSION,
        authorisation=owned.authorisation,
        entries=[],
    )
    try:
        msgspec.convert(msgspec.to_builtins(example), Watchlist)
    except msgspec.ValidationError as error:
        raise ConfigError(f"list refused: {error}") from error
