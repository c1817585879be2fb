"""The owner's folder: the list with the names that never leave it, and the keys that are here.

list.json     authorisation, entries with labels, templates, version, the list's key, who signs
signers/      those of the signers' keys that are on this machine (`fleet.keys`)
last.release  what was published last (`fleet.release`)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edge import limits
from edge.errors import ConfigError, StorageUnavailable
from edge.files import private_folder, read_small, write_atomically
from edge.protocol import list_key
from edge.protocol.party import Party
from edge.protocol.watchlist import Authorisation, Entry, Watchlist, quantise
from fleet.folder import locked

LIST, SIGNERS = "list.json", "signers"


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
        key: that the list is encrypted with.
        signers: who signs it.
        threshold: how many of them must.
        fleet: the fleet's folder, if it is on this machine.
    """

    id: str
    version: int
    embedder: str
    dimension: int
    authorisation: Authorisation
    entries: list[OwnedEntry]
    key: Annotated[bytes, Meta(min_length=list_key.KEY_BYTES, max_length=list_key.KEY_BYTES)]
    signers: list[Party]
    threshold: Annotated[int, Meta(ge=1)]
    fleet: str | None = None


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
            self._content = read_small(path, limits.MAX_OWNER_FILE_BYTES)
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
        signers: Sequence[Party],
        threshold: int,
        fleet: Path | None = None,
    ) -> Owner:
        """Make a folder with an empty list.

        Args:
            folder: made with mode 0700; must hold no list yet.
            list_id: name of the list.
            authorisation: on what ground it will be used.
            signers: who signs it.
            threshold: how many of them must.
            fleet: the fleet's folder, if it is on this machine.

        Raises:
            ConfigError: there is a list already, or a value is out of range.
            StorageUnavailable: the folder cannot be written.
        """
        if (folder / LIST).exists():
            raise ConfigError(f"{folder}: holds {LIST} already; nothing was changed")
        if not 1 <= threshold <= len({signer.name for signer in signers}):
            raise ConfigError(f"threshold {threshold} of {len(signers)} signers is impossible")
        owned = OwnedList(
            id=list_id,
            version=0,
            embedder="",
            dimension=0,
            authorisation=authorisation,
            entries=[],
            key=list_key.new_key(),
            signers=list(signers),
            threshold=threshold,
            fleet=str(fleet.absolute()) if fleet else None,
        )
        validate(owned.id, authorisation)
        private_folder(folder)
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

    def authorise(self, authorisation: Authorisation, *, new_key: bool = False) -> None:
        """Put the list on another ground: signed, and in force, when it is published.

        Args:
            authorisation: instead of the one so far.
            new_key: encrypt the list anew, so that who had the key so far cannot open it.

        Raises:
            ConfigError: a value is out of range, or the list was changed by another command.
        """
        validate(self._owned.id, authorisation)
        key = list_key.new_key() if new_key else self._owned.key
        self._save(msgspec.structs.replace(self._owned, authorisation=authorisation, key=key))

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
            raise ConfigError(
                f"{self.folder}: the authorisation of this list is over; "
                "`lethe watchlist authorise` puts it on a new ground"
            )
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
        if len(content) > limits.MAX_OWNER_FILE_BYTES:
            raise StorageUnavailable(f"{self.folder / LIST}: would grow beyond the limit")
        with self._unchanged():
            write_atomically(self.folder / LIST, content)
        self._content, self._owned = content, owned

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Keep other commands out while the list is replaced, if none has changed it already."""
        path = self.folder / LIST
        with locked(self.folder):
            try:
                content = read_small(path, limits.MAX_OWNER_FILE_BYTES)
            except OSError as error:
                raise StorageUnavailable(f"{path}: cannot be read: {error.strerror}") from error
            if content != self._content:
                raise ConfigError(
                    f"{path}: changed by another command meanwhile; run this one again"
                )
            yield


def validate(list_id: str, authorisation: Authorisation) -> None:
    """Apply the ranges of the signed form to a list about to be made.

    Raises:
        ConfigError: a value is out of range.
    """
    example = Watchlist(
        id=list_id,
        version=1,
        issued=0,
        expires=authorisation.not_after,
        embedder="example",
        dimension=limits.MIN_DIMENSION,
        authorisation=authorisation,
        entries=[],
    )
    try:
        msgspec.convert(msgspec.to_builtins(example), Watchlist)
    except msgspec.ValidationError as error:
        raise ConfigError(f"list refused: {error}") from error
