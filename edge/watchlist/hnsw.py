"""HNSW through hnswlib, for lists longer than any allowed today; optional, see docs/adr/0003.

Every candidate is scored again exactly on the int8 rows, so an approximate score never decides.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.watchlist.index import ExactIndex, Index

log = logging.getLogger(__name__)

Kind = Literal["auto", "exact", "hnsw"]


class HnswIndex:
    """Graph search for candidates, exact scores for the answer."""

    def __init__(self, vectors: NDArray[np.int8]) -> None:
        """Build the graph in memory; it is never written to disk.

        Args:
            vectors: (n, dimension) int8 rows.

        Raises:
            ModuleNotFoundError: hnswlib is not installed.
        """
        hnswlib: Any = importlib.import_module("hnswlib")
        self._vectors = vectors
        self._exact = ExactIndex(vectors)
        self._graph = hnswlib.Index(space="cosine", dim=vectors.shape[1])
        self._graph.init_index(
            max_elements=max(1, len(vectors)), M=limits.HNSW_M, ef_construction=limits.HNSW_EF_BUILD
        )
        for start in range(0, len(vectors), limits.INDEX_BLOCK_ROWS):
            part = vectors[start : start + limits.INDEX_BLOCK_ROWS]
            self._graph.add_items(part.astype(np.float32), np.arange(start, start + len(part)))
        self._graph.set_ef(limits.HNSW_EF_SEARCH)

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._vectors)

    def search(self, probe: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest rows; see `Index.search`."""
        if not len(self._vectors):
            return []
        wanted = min(max(k, limits.HNSW_CANDIDATES), len(self._vectors))
        try:
            rows = self._graph.knn_query(probe, k=wanted)[0][0].astype(np.int64)
        except RuntimeError:  # the graph does not reach so many, as where many templates are alike
            return self._exact.search(probe, k)
        candidates = self._vectors[rows].astype(np.float32)
        scores = candidates @ probe / np.linalg.norm(candidates, axis=1)
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(rows[i]), float(scores[i])) for i in order]

    def destroy(self) -> None:
        """Overwrite the rows and release the graph (its own copy is freed, not overwritten)."""
        self._exact.destroy()
        self._vectors = self._vectors[:0]
        self._graph = None


def installed() -> bool:
    """Whether hnswlib can be imported."""
    return importlib.util.find_spec("hnswlib") is not None


def build(vectors: NDArray[np.int8], kind: Kind = "auto") -> Index:
    """Return the index for a list: HNSW where asked for or where it pays, if it is installed.

    Args:
        vectors: (n, dimension) int8 rows.
        kind: "exact", "hnsw", or "auto": HNSW from `limits.HNSW_FROM_TEMPLATES` on.
    """
    wanted = kind == "hnsw" or (kind == "auto" and len(vectors) >= limits.HNSW_FROM_TEMPLATES)
    if wanted and installed():
        return HnswIndex(vectors)
    if kind == "hnsw":
        log.warning("hnswlib is not installed: the exact index serves")
    return ExactIndex(vectors)
