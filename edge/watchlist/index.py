"""Finding the nearest templates. The exact scan is the default: see docs/adr/0003."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import IndexRefused


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found, and the cosine of its best template, -1 to 1."""

    entry: str
    score: float


class Index(Protocol):
    """Templates to be searched. Searched by one thread at a time, never changed."""

    def __len__(self) -> int:
        """Return the number of templates."""

    def search(self, probe: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest templates as (row, cosine), nearest first.

        Args:
            probe: (dimension,) float32 of length 1, already checked by `check_probe`.
            k: at least 1.
        """

    def destroy(self) -> None:
        """Overwrite the templates. The index finds nothing afterwards."""


class ExactIndex:
    """Compares with every template: int8 rows, turned into float32 a block at a time."""

    def __init__(self, vectors: NDArray[np.int8]) -> None:
        """Take templates.

        Args:
            vectors: (n, dimension) int8; rows are compared by direction, so scale is no matter.
        """
        self._vectors = vectors
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        self._inverse = (1.0 / np.maximum(norms, 1e-6)).astype(np.float32)
        rows = min(limits.INDEX_BLOCK_ROWS, len(vectors))
        self._block = np.empty((rows, vectors.shape[1]), np.float32)
        self._scores = np.empty(len(vectors), np.float32)

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._vectors)

    def search(self, probe: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest rows; see `Index.search`."""
        scores = self._scores
        for start in range(0, len(scores), len(self._block) or 1):
            part = self._vectors[start : start + len(self._block)]
            block = self._block[: len(part)]
            np.copyto(block, part)
            np.dot(block, probe, out=scores[start : start + len(part)])
        scores *= self._inverse
        k = min(k, len(scores))
        if k == 0:
            return []
        nearest = np.argpartition(-scores, k - 1)[:k]
        nearest = nearest[np.argsort(-scores[nearest], kind="stable")]
        return [(int(row), float(scores[row])) for row in nearest]

    def destroy(self) -> None:
        """Overwrite the templates."""
        self._vectors[:] = 0
        self._block[:] = 0
        self._inverse[:] = 0
        self._vectors = self._vectors[:0]
        self._scores = self._scores[:0]
        self._inverse = self._inverse[:0]


def check_probe(probe: NDArray[np.floating], dimension: int) -> NDArray[np.float32]:
    """Return a probe as contiguous float32 of length 1.

    Raises:
        IndexRefused: wrong shape, not finite, or without a direction.
    """
    if probe.shape != (dimension,):
        raise IndexRefused(f"probe of shape {probe.shape}, the list has ({dimension},)")
    # A float64 query against float32 rows would be an order of magnitude slower, silently.
    probe = np.ascontiguousarray(probe, np.float32)
    length = float(np.linalg.norm(probe))
    if not np.isfinite(length) or length < 1e-6:
        raise IndexRefused("probe is not finite or has no direction")
    return np.asarray(probe / np.float32(length), np.float32)


def stack(vectors: Sequence[bytes], dimension: int) -> NDArray[np.int8]:
    """Return templates as (n, dimension) int8, in memory of its own that can be overwritten.

    Raises:
        IndexRefused: a template of another length, or one without a direction.
    """
    if any(len(v) != dimension for v in vectors):
        raise IndexRefused(f"a template is not of length {dimension}")
    rows = np.frombuffer(b"".join(vectors), np.int8).reshape(-1, dimension).copy()
    if len(rows) and not rows.any(axis=1).all():
        raise IndexRefused("a template has no direction")
    return rows
