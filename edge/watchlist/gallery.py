"""The list in force, ready to be searched."""

from __future__ import annotations

import logging
import threading
import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import IndexRefused
from edge.protocol.watchlist import Watchlist, row_dtype, rows
from edge.watchlist.hnsw import Kind, build
from edge.watchlist.index import Hit, Probe

log = logging.getLogger(__name__)


class Gallery:
    """An authorised list with its index. Never changed; destroyed when its time is over.

    Holds about 176 bytes a template of 128 numbers, and no Python object a person: ids are 16
    bytes, times uint32, vectors int8.

    Attributes:
        id: of the list.
        version: of the list.
        authorisation: on what ground it is used.
        expires: seconds since 1970 from which nothing is found any more.
        embedder: id of the embedder that probes must come from.
        dimension: length of a probe.
        entries: number of people.
        templates: number of their templates; each probe is compared with so many.
        index_kind: which index serves.
        index_why: why this one, with what was measured.
    """

    def __init__(self, watchlist: Watchlist, kind: Kind = "auto") -> None:
        """Build the index. May take a while, and leaves other threads their turn.

        Args:
            watchlist: an authorised list; nothing of it is kept but what this class holds.
            kind: of index; see `edge.watchlist.hnsw.build`.

        Raises:
            IndexRefused: a template without direction, of the wrong length or scale, or an entry
                that occurs twice; the message names the entry.
        """
        self.id = watchlist.id
        self.version = watchlist.version
        self.authorisation = watchlist.authorisation
        self.expires = min(watchlist.expires, watchlist.authorisation.not_after)
        self.embedder = watchlist.embedder
        self.dimension = watchlist.dimension
        self.entries = len(watchlist.entries)
        table = _rows(watchlist)
        self.templates = len(table)
        try:
            _check(watchlist, table)
            self._ids = table["id"].copy()
            self._from = table["not_before"].copy()
            self._until = table["not_after"].copy()
            self._index, self.index_why = build(table["vector"], kind)
        finally:
            table.view(np.uint8)[:] = 0
        self.index_kind = self._index.kind
        log.info("index: %s, %s", self.index_kind, self.index_why)
        self._lock = threading.Lock()

    def search(self, probe: NDArray[np.floating], now: float, k: int = 2) -> list[Hit]:
        """Return the `k` nearest entries that are valid now, nearest first, each once.

        Args:
            probe: (dimension,) float of any length but 0.
            now: seconds since 1970.
            k: at least 1.

        Raises:
            IndexRefused: the probe is no such vector.
        """
        forms = Probe.of(probe, self.dimension)
        if not self.authorisation.not_before <= now < self.expires:
            return []
        with self._lock:
            # Several rows may be one person's, or not be valid: look further until k are found.
            wanted = k
            while True:
                found = self._index.search(forms, wanted)
                hits = self._valid(found, now)
                if len(hits) >= k or len(found) < wanted:
                    return hits[:k]
                wanted *= 8

    def destroy(self) -> None:
        """Overwrite every template, id and time; waits for a search under way."""
        with self._lock:
            self._index.destroy()
            for part in (self._ids, self._from, self._until):
                part[:] = 0

    def _valid(self, found: list[tuple[int, float]], now: float) -> list[Hit]:
        best: dict[bytes, float] = {}
        for row, score in found:
            if self._from.item(row) <= now < self._until.item(row):
                best.setdefault(self._ids[row].tobytes(), score)
        return [Hit(entry.hex(), score) for entry, score in best.items()]


def _rows(watchlist: Watchlist) -> NDArray[np.void]:
    """Return a list's rows, made in steps between which the video has its turn."""
    entries, step = watchlist.entries, limits.INDEX_STEP_ENTRIES
    count = sum(len(entry.templates) for entry in entries)
    table, at = np.zeros(count, row_dtype(watchlist.dimension)), 0
    try:
        for start in range(0, len(entries), step):
            if start:
                time.sleep(limits.INDEX_BREATH_S)
            part = rows(msgspec.structs.replace(watchlist, entries=entries[start : start + step]))
            table[at : at + len(part)] = part
            part.view(np.uint8)[:] = 0
            at += len(part)
    except IndexRefused:
        table.view(np.uint8)[:] = 0
        raise
    return table


def _check(watchlist: Watchlist, table: NDArray[np.void]) -> None:
    """Refuse what cannot be compared or told apart, by the name of its entry."""
    seen: set[str] = set()
    for entry in watchlist.entries:
        if entry.id in seen:
            raise IndexRefused(f"entry {entry.id} occurs twice")
        seen.add(entry.id)
    scale = table["scale"]
    for bad, what in (
        (~((scale > 0) & (scale < np.inf)), "the scale of a template is no positive number"),
        (~table["vector"].any(axis=1), "a template has no direction"),
    ):
        if bad.any():
            row = table["id"][bad.argmax()]
            raise IndexRefused(f"entry {row.tobytes().hex()}: {what}")
