"""The list in force, ready to be searched."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from edge.protocol.watchlist import Watchlist
from edge.watchlist.hnsw import Kind, build
from edge.watchlist.index import Hit, check_probe, stack


class Gallery:
    """An authorised list with its index. Never changed; destroyed when its time is over.

    Attributes:
        id: of the list.
        version: of the list.
        authorisation: on what ground it is used.
        expires: seconds since 1970 from which nothing is found any more.
        embedder: id of the embedder that probes must come from.
        dimension: length of a probe.
        entries: number of people.
        templates: number of their templates; each probe is compared with so many.
    """

    def __init__(self, watchlist: Watchlist, kind: Kind = "auto") -> None:
        """Build the index.

        Raises:
            IndexRefused: a template without direction or of the wrong length.
        """
        self.id = watchlist.id
        self.version = watchlist.version
        self.authorisation = watchlist.authorisation
        self.expires = min(watchlist.expires, watchlist.authorisation.not_after)
        self.embedder = watchlist.embedder
        self.dimension = watchlist.dimension
        self.entries = len(watchlist.entries)
        pairs = [(e, t) for e in watchlist.entries for t in e.templates]
        self.templates = len(pairs)
        self._ids = [entry.id for entry, _ in pairs]
        self._from = np.array([entry.not_before for entry, _ in pairs], np.int64)
        self._until = np.array([entry.not_after for entry, _ in pairs], np.int64)
        self._index = build(stack([t.vector for _, t in pairs], self.dimension), kind)
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
        probe = check_probe(probe, self.dimension)
        if not self.authorisation.not_before <= now < self.expires:
            return []
        with self._lock:
            # Several rows may be one person's, or not be valid: look further until k are found.
            wanted = 4 * k
            while True:
                rows = self._index.search(probe, wanted)
                hits = self._valid(rows, now)
                if len(hits) >= k or len(rows) < wanted:
                    return hits[:k]
                wanted *= 4

    def destroy(self) -> None:
        """Overwrite every template; waits for a search under way."""
        with self._lock:
            self._index.destroy()
            self._ids = []

    def _valid(self, rows: list[tuple[int, float]], now: float) -> list[Hit]:
        best: dict[str, float] = {}
        for row, score in rows:
            if self._from[row] <= now < self._until[row]:
                best.setdefault(self._ids[row], score)
        return [Hit(entry, score) for entry, score in best.items()]
