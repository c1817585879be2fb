"""A list as it travels: a head and pieces, encrypted, each named by the hash of its ciphertext.

    head           which list and version, and the names of its pieces; signed (TUF) by its hash
    authorisation  one piece: the `Authorisation` in JSON; can be large, for it names every device
    segments       the other pieces: the templates as rows of `row_dtype`

Rows are sorted by entry id and cut where the id's prefix changes: a segment that would grow beyond
`limits.SEGMENT_BYTES` is split in two by the next bit of the id. Where the cuts lie follows from
the rows alone, so adding or removing an entry changes one segment, or one and its half. A segment
that did not change keeps its ciphertext, its name, and is not sent again.

Everything is sealed with AES-256-GCM under the list's key with a random nonce in front. The
associated data name the kind of part and the list, so that no part passes for another or for
another list's. The head is authenticated by the signature over its hash, the pieces by the head.

Nothing here reads a file or a clock; nonces are random.
"""

from __future__ import annotations

import hashlib
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta
from numpy.typing import NDArray

from edge import limits
from edge.errors import AlterationRefused, FormatError
from edge.protocol.watchlist import (
    Authorisation,
    Entry,
    Name,
    Seconds,
    Template,
    Watchlist,
    row_dtype,
    rows,
)

_NONCE, _TAG, _HASH = 12, 16, 32
OVERHEAD = _NONCE + _TAG
"""Bytes that sealing adds to a part."""
_ID_BITS = 128


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed of a list. The fields of the same name are `Watchlist`'s.

    Attributes:
        authorisation: SHA-256 of the authorisation's ciphertext.
        segments: SHA-256 of each segment's ciphertext, one after the other, in the order of ids.
    """

    schema: Literal[1] = 1
    id: Name
    version: Annotated[int, Meta(ge=1, le=2**53)]
    issued: Seconds
    expires: Seconds
    embedder: Annotated[str, Meta(min_length=1, max_length=64)]
    dimension: Annotated[int, Meta(ge=limits.MIN_DIMENSION, le=limits.MAX_DIMENSION)]
    authorisation: Annotated[bytes, Meta(min_length=_HASH, max_length=_HASH)]
    segments: bytes

    @property
    def segment_names(self) -> list[str]:
        """Names of the segments, hex, in the order of ids."""
        text = self.segments.hex()
        return [text[at : at + 2 * _HASH] for at in range(0, len(text), 2 * _HASH)]

    @property
    def pieces(self) -> list[str]:
        """Names of everything that is needed beside the head: SHA-256 of ciphertexts, hex."""
        return [self.authorisation.hex(), *self.segment_names]


class SealedParts(NamedTuple):
    """A list ready to be signed and sent.

    Attributes:
        head: its ciphertext.
        pieces: name to ciphertext; also those that were kept from the version before.
    """

    head: bytes
    pieces: dict[str, bytes]


def seal_list(watchlist: Watchlist, key: bytes, *, kept: Iterable[bytes] = ()) -> SealedParts:
    """Encrypt a list.

    Args:
        watchlist: one version of it.
        key: of the list, 32 bytes.
        kept: pieces of the version before, under the same key or another. Those whose content is
            still needed are used again.

    Raises:
        FormatError: an entry twice, with too many templates, or valid beyond the year 2106; a list
            larger than devices read.
    """
    known = _plaintexts(kept, key, watchlist.id)

    def piece(kind: bytes, content: bytes) -> tuple[str, bytes]:
        sealed = known.get((kind, content)) or _seal(kind, content, key, watchlist.id)
        return hashlib.sha256(sealed).hexdigest(), sealed

    authorisation = piece(b"authorisation", msgspec.json.encode(watchlist.authorisation))
    segments = [piece(b"segment", part.tobytes()) for part in _cut(_sorted_rows(watchlist))]
    head = Head(
        id=watchlist.id,
        version=watchlist.version,
        issued=watchlist.issued,
        expires=watchlist.expires,
        embedder=watchlist.embedder,
        dimension=watchlist.dimension,
        authorisation=bytes.fromhex(authorisation[0]),
        segments=b"".join(bytes.fromhex(name) for name, _ in segments),
    )
    sealed_head = _seal(b"head", msgspec.msgpack.encode(head), key, watchlist.id)
    if len(sealed_head) > limits.MAX_HEAD_BYTES:
        raise FormatError(
            f"list of {len(segments)} segments: a head of {len(sealed_head)} bytes, devices read "
            f"{limits.MAX_HEAD_BYTES}"
        )
    return SealedParts(sealed_head, dict([authorisation, *segments]))


def open_head(head: bytes, key: bytes, list_id: str) -> Head:
    """Read a head whose hash is signed.

    Raises:
        AlterationRefused: not sealed with this key as the head of this list.
        FormatError: too large, or not in the documented form.
    """
    if len(head) > limits.MAX_HEAD_BYTES:
        raise FormatError(f"head of {len(head)} bytes, at most {limits.MAX_HEAD_BYTES} are read")
    try:
        read = msgspec.msgpack.decode(_open(b"head", head, key, list_id, "head"), type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(
            f"head of list {list_id!r} not in the documented form: {error}"
        ) from error
    if read.id != list_id:
        raise FormatError(f"head of list {read.id!r} under the key of list {list_id!r}")
    if len(read.segments) % _HASH:
        raise FormatError(f"table of segments of {len(read.segments)} bytes: not whole hashes")
    if len(set(read.pieces)) != len(read.pieces):
        raise FormatError("a piece is named twice in the head")
    return read


def check_piece(name: str, piece: bytes) -> None:
    """Check that a piece is the one that a head names, before it is used or kept.

    Raises:
        FormatError: larger than any piece.
        AlterationRefused: another hash.
    """
    if len(piece) > limits.MAX_PIECE_BYTES:
        raise FormatError(
            f"piece {name[:16]}: {len(piece)} bytes, at most {limits.MAX_PIECE_BYTES} are read"
        )
    if hashlib.sha256(piece).hexdigest() != name:
        raise AlterationRefused(f"piece {name[:16]}: its SHA-256 is another")


def open_list(
    head: bytes,
    segments: Mapping[str, bytes],
    key: bytes,
    list_id: str,
    *,
    between: Callable[[], None] = lambda: None,
) -> Watchlist:
    """Return the list that a head and its pieces make up.

    Args:
        head: ciphertext; the caller knows it to be signed.
        segments: name to ciphertext of all pieces, the authorisation included; others are ignored.
        key: of the list.
        list_id: name of the list.
        between: called whenever another `limits.INDEX_STEP_ENTRIES` entries have been read, so that
            a device can let other threads have their turn.

    Returns:
        The list, its entries in the order of ids.

    Raises:
        AlterationRefused: a piece is missing, altered, or from another list.
        FormatError: a part is too large, of the wrong length, or holds rows out of order, an entry
            twice, or a template that is none.
    """
    read = open_head(head, key, list_id)
    for name in read.pieces:
        if name not in segments:
            raise AlterationRefused(f"piece {name[:16]} of list {list_id!r} is missing")
        check_piece(name, segments[name])
    name = read.authorisation.hex()
    content = _open(b"authorisation", segments[name], key, list_id, "authorisation")
    try:
        authorisation = msgspec.json.decode(content, type=Authorisation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(
            f"authorisation of list {list_id!r} not in the documented form: {error}"
        ) from error
    names = read.segment_names
    kind = row_dtype(read.dimension)
    parts = [_rows(segments[name], key, read, name, kind.itemsize) for name in names]
    table = np.frombuffer(b"".join(parts), kind)
    begins = np.cumsum([0, *(len(part) // kind.itemsize for part in parts)])

    def where(row: int) -> str:
        return f"segment {names[int(np.searchsorted(begins, row, 'right')) - 1][:16]}"

    _check_templates(table, where)
    entries = _entries(table, where, between)
    return Watchlist(
        id=read.id,
        version=read.version,
        issued=read.issued,
        expires=read.expires,
        embedder=read.embedder,
        dimension=read.dimension,
        authorisation=authorisation,
        entries=entries,
    )


# --- Cutting rows into segments ------------------------------------------------------------------


def _sorted_rows(watchlist: Watchlist) -> NDArray[np.void]:
    ids = {entry.id for entry in watchlist.entries}
    if len(ids) != len(watchlist.entries):
        raise FormatError("an entry id occurs twice")
    for entry in watchlist.entries:
        if not 1 <= len(entry.templates) <= limits.MAX_TEMPLATES_PER_ENTRY:
            raise FormatError(f"entry {entry.id}: {len(entry.templates)} templates")
        if max(entry.not_before, entry.not_after) >= 2**32:
            raise FormatError(f"entry {entry.id}: valid beyond the year 2106")
    ordered = sorted(watchlist.entries, key=lambda entry: entry.id)
    return rows(msgspec.structs.replace(watchlist, entries=ordered))


def rows_a_segment(dimension: int) -> int:
    """Return the most rows that a segment holds; an entry's templates always fit into one."""
    return max(
        limits.MAX_TEMPLATES_PER_ENTRY, limits.SEGMENT_BYTES // row_dtype(dimension).itemsize
    )


def _cut(table: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Yield sorted rows in segments, none of them empty."""
    most = rows_a_segment(table["vector"].shape[1])
    ids = [int.from_bytes(row, "big") for row in table["id"]]

    def halve(low: int, high: int, start: int, stop: int) -> Iterator[NDArray[np.void]]:
        if stop - start > most:
            middle = (low + high) // 2
            cut = bisect_left(ids, middle, start, stop)
            yield from halve(low, middle, start, cut)
            yield from halve(middle, high, cut, stop)
        elif stop > start:
            yield table[start:stop]

    return halve(0, 2**_ID_BITS, 0, len(ids))


# --- Reading segments ----------------------------------------------------------------------------


def _rows(segment: bytes, key: bytes, head: Head, name: str, size: int) -> bytes:
    """Return the rows of a segment, each of `size` bytes, their values not yet looked at."""
    content = _open(b"segment", segment, key, head.id, f"segment {name[:16]}")
    if not content or len(content) % size:
        raise FormatError(f"segment {name[:16]}: {len(content)} bytes are not whole rows of {size}")
    if len(content) > rows_a_segment(head.dimension) * size:
        raise FormatError(
            f"segment {name[:16]}: {len(content)} bytes are more than a segment holds"
        )
    return content


def _check_templates(table: NDArray[np.void], where: Callable[[int], str]) -> None:
    """Refuse a template whose scale or length no owner makes."""
    scale = table["scale"]
    good = np.isfinite(scale) & (scale > 0) & (scale <= 1)
    if not good.all():
        raise FormatError(f"{where(int(np.argmin(good)))}: a scale is not in (0, 1]")
    for start in range(0, len(table), limits.INDEX_BLOCK_ROWS):
        block = table[start : start + limits.INDEX_BLOCK_ROWS]
        vectors = block["vector"].astype(np.float32)
        length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) * block["scale"]
        good = (length >= 0.9) & (length <= 1.1)
        if not good.all():
            raise FormatError(
                f"{where(start + int(np.argmin(good)))}: a template is not of length 1"
            )


def _entries(
    table: NDArray[np.void], where: Callable[[int], str], between: Callable[[], None]
) -> list[Entry]:
    """Return the entries of all rows; rows with one id are one entry."""
    count = len(table)
    high, low = np.ascontiguousarray(table["id"]).view(">u8").reshape(count, 2).T
    same = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    rises = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    two = same & (
        (table["not_before"][1:] != table["not_before"][:-1])
        | (table["not_after"][1:] != table["not_after"][:-1])
    )
    for wrong, says in ((~(same | rises), "is out of order"), (two, "has two validities")):
        if wrong.any():
            row = int(np.argmax(wrong)) + 1
            raise FormatError(f"{where(row)}: entry {table['id'][row].tobytes().hex()} {says}")
    starts = np.flatnonzero(np.concatenate(([True], ~same))[:count])
    stops = np.append(starts, count)[1:]
    if count and int((stops - starts).max()) > limits.MAX_TEMPLATES_PER_ENTRY:
        row = int(starts[np.argmax(stops - starts)])
        raise FormatError(
            f"{where(row)}: entry {table['id'][row].tobytes().hex()} has too many templates"
        )
    entries: list[Entry] = []
    for at in range(0, len(starts), limits.INDEX_STEP_ENTRIES):
        if at:
            between()
        step = slice(at, at + limits.INDEX_STEP_ENTRIES)
        entries += _made(table, starts[step], stops[step])
    return entries


def _made(
    table: NDArray[np.void], starts: NDArray[np.intp], stops: NDArray[np.intp]
) -> list[Entry]:
    """Return the entries whose rows begin and end there; one after the other."""
    first, size = int(starts[0]), table["vector"].shape[1]
    table = table[first : int(stops[-1])]
    ids, vectors = table["id"].tobytes().hex(), table["vector"].tobytes()
    begins, ends = table["not_before"].tolist(), table["not_after"].tolist()
    templates = [
        Template(scale=scale, vector=vectors[size * row : size * (row + 1)])
        for row, scale in enumerate(table["scale"].tolist())
    ]
    return [
        Entry(
            id=ids[32 * start : 32 * start + 32],
            not_before=begins[start],
            not_after=ends[start],
            templates=templates[start:stop],
        )
        for start, stop in zip((starts - first).tolist(), (stops - first).tolist(), strict=True)
    ]


# --- Sealing -------------------------------------------------------------------------------------


def _associated(kind: bytes, list_id: str) -> bytes:
    return b"lethe sealed list/1\0" + kind + b"\0" + list_id.encode()


def _seal(kind: bytes, content: bytes, key: bytes, list_id: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, content, _associated(kind, list_id))


def _open(kind: bytes, sealed: bytes, key: bytes, list_id: str, name: str) -> bytes:
    if len(sealed) < OVERHEAD:
        raise FormatError(f"{name}: {len(sealed)} bytes are no sealed part")
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _associated(kind, list_id))
    except InvalidTag as error:
        raise AlterationRefused(
            f"{name}: not sealed as this part of list {list_id!r} with its key"
        ) from error


def _plaintexts(
    kept: Iterable[bytes], key: bytes, list_id: str
) -> dict[tuple[bytes, bytes], bytes]:
    """Return kind and content of each piece that opens, to its ciphertext."""
    known: dict[tuple[bytes, bytes], bytes] = {}
    for sealed in kept:
        for kind in (b"segment", b"authorisation"):
            try:
                known[kind, _open(kind, sealed, key, list_id, "piece")] = sealed
            except (AlterationRefused, FormatError):
                continue  # of the other kind, or under a key that was replaced
    return known
