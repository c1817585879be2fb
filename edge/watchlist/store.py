"""The list at rest: kept sealed, verified before use, destroyed for good.

    life.json      what this device knows of its list: the newest version used, which one is kept,
                   whether it was ordered to stop, and which destructions are not finished
    record-<d>     key and origin of the list whose sealed head has the hash <d>, encrypted
                   (AES-256-GCM) under the device's storage key
    parts/<hash>   head and pieces as they came: ciphertext, each named by its SHA-256

`life.json` is replaced as a whole, and decides: what it does not name does not exist, and is
removed at the next start. A list is therefore kept whole or not at all, and one that has ended
stays ended whenever the power is cut. Destruction begins with the record, which holds the key: it
is overwritten, flushed and removed before anything else.

What overwriting is worth on flash memory, docs/forgetting.md says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import threading
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from edge import limits
from edge.errors import FormatError, StorageUnavailable
from edge.files import flush_entries, private_folder, read_small, write_atomically
from edge.protocol.event import Ending
from edge.protocol.watchlist import Seconds
from edge.watchlist.authorisation import Floor, lifted
from edge.watchlist.delivery import Provenance, SealedList

log = logging.getLogger(__name__)

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
LIFE = "life.json"
_NONCE = 12


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A list that has ended and whose receipt has not been given yet.

    Attributes:
        version: of the list.
        digest: SHA-256 of its sealed head, hex.
        reason: why.
        ended: when, seconds since 1970.
        key_lives: the key of the list was not replaced with the version: it is still in use.
        urgent_since: of the floor that it leaves.
        occasion: tells ends by order apart: a version may return after each, and end again.
    """

    version: int
    digest: Digest
    reason: Ending
    ended: float
    key_lives: bool = False
    urgent_since: Seconds = 0
    occasion: str = ""


class Life(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device knows of its list.

    Attributes:
        floor: the newest version used.
        kept: hash of the sealed head of the list at rest; empty if there is none.
        stopped: why this device was ordered to stop; empty if it was not.
        ended: destructions that are not finished.
    """

    floor: Floor = Floor()
    kept: str = ""
    stopped: str = ""
    ended: tuple[Ended, ...] = ()


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to be secret, or cannot be told from the parts."""

    version: int
    key: bytes
    provenance: Provenance
    pieces: tuple[Digest, ...]


class ListStore:
    """What one device keeps of one list. Safe for several threads.

    Attributes:
        list_id: name of the list.
    """

    def __init__(self, folder: Path, list_id: str, key: bytes) -> None:
        """Open or make the folder.

        Args:
            folder: of this list alone.
            list_id: name of the list.
            key: the device's storage key, 32 bytes.

        Raises:
            StorageUnavailable: it cannot be made or read.
        """
        self._folder = private_folder(folder)
        self._parts = private_folder(folder / "parts")
        self.list_id = list_id
        self._aead = AESGCM(key)
        self._lock = threading.Lock()
        self._life = _read_life(folder / LIFE)

    @property
    def life(self) -> Life:
        """What is known of the list."""
        return self._life

    def ended(self, reason: Ending, now: float) -> Ended | None:
        """Return the end of the list at rest, read or not, to be noted; None if there is none."""
        life = self._life
        if not life.kept:
            return None
        return Ended(
            version=life.floor.version,
            digest=life.kept,
            reason=reason,
            ended=now,
            urgent_since=life.floor.urgent_since,
        )

    def load(self) -> SealedList | None:
        """Return the list that is kept, every hash of it checked; None if there is none.

        Raises:
            FormatError: it is damaged, or was kept under another storage key: discard it.
            StorageUnavailable: it cannot be read at the moment.
        """
        digest = self._life.kept
        if not digest:
            return None
        record = self._read_record(digest)
        head = self._read_part(digest, limits.MAX_HEAD_BYTES)
        pieces = {name: self._read_part(name, limits.MAX_PIECE_BYTES) for name in record.pieces}
        return SealedList(
            list_id=self.list_id,
            version=record.version,
            digest=digest,
            head=head,
            segments=pieces,
            key=record.key,
            provenance=record.provenance,
        )

    def save(self, sealed: SealedList, replaced: Ended | None, *, urgent_since: int) -> None:
        """Keep a list in place of the one before; both happen or neither.

        Args:
            sealed: the new list, which is in force from now on.
            replaced: the one before it, to be destroyed by `destroy`.
            urgent_since: of the floor that the new list makes.

        Raises:
            StorageUnavailable: the disk is full or not writable; what was kept still is.
        """
        with self._lock:
            try:
                for name, content in ((sealed.digest, sealed.head), *sealed.segments.items()):
                    self._write_part(name, content)
                flush_entries(self._parts)
                write_atomically(self._record_file(sealed.digest), self._seal(sealed))
                self._write_life(
                    floor=Floor(sealed.version, sealed.digest, urgent_since=urgent_since),
                    kept=sealed.digest,
                    ended=(*self._life.ended, *([replaced] if replaced else ())),
                )
            except (OSError, StorageUnavailable) as error:
                with contextlib.suppress(StorageUnavailable):
                    self._sweep()  # what was written of it takes room in vain
                raise StorageUnavailable(f"the list cannot be kept: {error}") from error

    def end(self, ended: Ended) -> None:
        """Note that a list has ended: from now on it does not return. `destroy` does the rest.

        Noting the same again changes nothing.

        A disk that is too full for the note does not hold up the destruction: then that comes
        first, and makes room.

        Raises:
            StorageUnavailable: neither can be done.
        """
        with self._lock:
            life = self._life
            floor = life.floor
            if ended.version >= floor.version:
                floor = Floor(
                    ended.version,
                    ended.digest,
                    ended=True,
                    by_order=ended.reason is Ending.STOPPED,
                    urgent_since=ended.urgent_since,
                )
            changes = {
                "floor": floor,
                "kept": "" if life.kept == ended.digest else life.kept,
                "ended": life.ended if ended in life.ended else (*life.ended, ended),
            }
            try:
                self._write_life(**changes)
            except StorageUnavailable:
                _shred(self._record_file(ended.digest))
                self._write_life(**changes)

    def destroy(self) -> tuple[Ended, ...]:
        """Destroy what has ended, keys first, and whatever else has no business here.

        Returns:
            Those of whom nothing is left; give their receipts, then call `settle`.

        Raises:
            StorageUnavailable: something cannot be removed: try again later.
        """
        with self._lock:
            for ended in self._life.ended:
                _shred(self._record_file(ended.digest))
            self._sweep()
            return self._life.ended

    def settle(self, ended: Ended) -> None:
        """Forget a destruction whose receipt was given.

        Raises:
            StorageUnavailable: it cannot be noted.
        """
        with self._lock:
            self._write_life(ended=tuple(e for e in self._life.ended if e != ended))

    def discard(self) -> None:
        """Remove a list that is damaged. It has not ended: it may be fetched again.

        Raises:
            StorageUnavailable: it cannot be removed.
        """
        with self._lock:
            self._write_life(kept="")
            self._sweep()

    def order(self, stopped: str) -> None:
        """Remember an order to stop, by its reason, or that it was lifted, by none.

        A version that ended by the order may return when it is lifted.

        Raises:
            StorageUnavailable: it cannot be written down.
        """
        with self._lock:
            floor = self._life.floor
            self._write_life(stopped=stopped, floor=floor if stopped else lifted(floor))

    def bar(self) -> None:
        """Note that the version an order to stop ended does not return: it was withdrawn as well.

        Raises:
            StorageUnavailable: it cannot be written down.
        """
        with self._lock:
            self._write_life(floor=msgspec.structs.replace(self._life.floor, by_order=False))

    def _write_life(self, **changes: object) -> None:
        life = msgspec.structs.replace(self._life, **changes)
        if life != self._life:
            write_atomically(self._folder / LIFE, msgspec.json.encode(life))
            self._life = life

    # --- The record: secret ----------------------------------------------------------------------

    def _record_file(self, digest: str) -> Path:
        return self._folder / f"record-{digest}"

    def _seal(self, sealed: SealedList) -> bytes:
        record = _Record(
            version=sealed.version,
            key=sealed.key,
            provenance=sealed.provenance,
            pieces=tuple(sealed.segments),
        )
        nonce = secrets.token_bytes(_NONCE)
        content = msgspec.msgpack.encode(record)
        return nonce + self._aead.encrypt(nonce, content, self._associated(sealed.digest))

    def _read_record(self, digest: str) -> _Record:
        content = _read(self._record_file(digest), limits.MAX_RECORD_BYTES)
        try:
            opened = self._aead.decrypt(
                content[:_NONCE], content[_NONCE:], self._associated(digest)
            )
            return msgspec.msgpack.decode(opened, type=_Record)
        except (InvalidTag, ValueError, msgspec.DecodeError) as error:
            raise FormatError("its record is damaged, or of another storage key") from error

    def _associated(self, digest: str) -> bytes:
        return f"lethe list record/1\0{self.list_id}\0{digest}".encode()

    # --- The parts: ciphertext named by its hash -------------------------------------------------

    def _read_part(self, name: str, most: int) -> bytes:
        content = _read(self._parts / name, most)
        if hashlib.sha256(content).hexdigest() != name:
            raise FormatError(f"part {name[:16]} is damaged")
        return content

    def _write_part(self, name: str, content: bytes) -> None:
        """Write a part, unless it is there; a torn one is found by its hash when it is read."""
        path = self._parts / name
        try:
            if hashlib.sha256(read_small(path, len(content))).hexdigest() == name:
                return
        except OSError:
            pass  # not there, or not as long: it is written
        path.touch(mode=0o600)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())

    # --- Destruction -----------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Remove what the list that is kept does not need: ended lists, torn writes. Keys first."""
        kept = self._life.kept
        needed = {LIFE}
        if kept:
            needed |= {kept, self._record_file(kept).name}
            try:
                needed |= set(self._read_record(kept).pieces)
            except FormatError as error:
                log.warning("list %s at rest: %s", self.list_id, error)  # `load` refuses it
        for folder in (self._folder, self._parts):
            _shred(*(path for path in _files(folder) if path.name not in needed))


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError as error:
        raise StorageUnavailable(f"{folder}: cannot be read: {error.strerror}") from error


def _shred(*paths: Path) -> None:
    """Overwrite files of one folder, flush, remove them, and flush that; missing ones are gone."""
    for path in paths:
        try:
            with path.open("r+b") as file:
                file.write(bytes(os.fstat(file.fileno()).st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageUnavailable(
                f"{path.name} cannot be destroyed: {error.strerror}"
            ) from error
    if paths:
        try:
            flush_entries(paths[0].parent)
        except OSError as error:
            raise StorageUnavailable(f"{paths[0].parent}: {error.strerror}") from error


def _read(path: Path, most: int) -> bytes:
    try:
        return read_small(path, most)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EFBIG, errno.EIO, errno.EISDIR):
            raise FormatError(f"{path.name[:23]}: {error.strerror}") from error
        raise StorageUnavailable(f"{path}: cannot be read: {error.strerror}") from error


def _read_life(path: Path) -> Life:
    """Return what is known of a list.

    Where that is damaged, this device may have been ordered to stop, and cannot know which
    versions were destroyed: it stays stopped until it is told to resume.
    """
    try:
        return msgspec.json.decode(read_small(path, limits.MAX_LIFE_BYTES), type=Life)
    except FileNotFoundError:
        return Life()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.error("%s cannot be read: %s", path, error)  # noqa: TRY400 -- no traceback needed
        return Life(
            stopped=f"{path.name} is damaged: whether this device was ordered to stop is not "
            "known; resume it knowing that"
        )
