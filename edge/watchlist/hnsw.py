"""HNSW through hnswlib: a graph for candidates, exact scores for the answer. Optional.

A graph may miss the nearest template, and a missed neighbour is a missed person. So it never
serves because it was asked for: `build` tries it on the list itself, against the exact scan, and
takes it only if it both misses nobody and costs less (docs/adr/0016).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.watchlist.index import ExactIndex, Index, Probe, exact_cosines
from edge.watchlist.packed import exact_index

log = logging.getLogger(__name__)

Kind = Literal["auto", "exact", "hnsw"]


class HnswIndex:
    """Graph search for candidates, exact scores for the answer."""

    kind = "hnsw, scored exactly"

    def __init__(self, rows: NDArray[np.int8], exact: ExactIndex) -> None:
        """Build the graph in memory, on one core; it is never written to disk.

        Args:
            rows: (n, dimension) int8, none of them zero.
            exact: of the same rows; gives them for scoring, and serves where the graph fails.

        Raises:
            ModuleNotFoundError: hnswlib is not installed.
        """
        hnswlib: Any = importlib.import_module("hnswlib")
        self._exact = exact
        self._graph = hnswlib.Index(space="cosine", dim=rows.shape[1])
        self._graph.init_index(
            max_elements=max(1, len(rows)), M=limits.HNSW_M, ef_construction=limits.HNSW_EF_BUILD
        )
        for start in range(0, len(rows), limits.INDEX_BLOCK_ROWS):
            part = rows[start : start + limits.INDEX_BLOCK_ROWS].astype(np.float32)
            self._graph.add_items(part, np.arange(start, start + len(part)), num_threads=1)
        self.set_ef(limits.HNSW_EF_SEARCH)

    def set_ef(self, ef: int) -> None:
        """Set how widely the graph is searched: more finds more, and costs more."""
        self._graph.set_ef(ef)

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self._exact)

    def search(self, probe: Probe, k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest rows of those that the graph reaches; see `Index.search`."""
        if not len(self):
            return []
        wanted = min(max(k, limits.HNSW_CANDIDATES), len(self))
        try:
            labels = self._graph.knn_query(probe.single, k=wanted, num_threads=1)[0][0]
        except RuntimeError:  # the graph does not reach so many, as where many templates are alike
            return self._exact.search(probe, k)
        rows = labels.astype(np.int64).tolist()
        cosines = exact_cosines(self._exact.take(rows), probe)
        found = sorted(zip(rows, cosines, strict=True), key=lambda hit: (-hit[1], hit[0]))
        return found[:k]

    def destroy(self) -> None:
        """Overwrite the rows and release the graph (its own copy is freed, not overwritten)."""
        self._exact.destroy()
        self._graph = None


class Trial(msgspec.Struct, frozen=True):
    """How a graph did on its own list, against the exact scan.

    Attributes:
        recall: share of probes whose nearest template it found (recall at 1).
        graph_us: median processor time of a search, microseconds.
        exact_us: that of the exact scan.
    """

    recall: float
    graph_us: float
    exact_us: float

    def objection(self) -> str:
        """Return why the graph may not serve; empty if it may."""
        if self.recall < limits.HNSW_MIN_RECALL:
            return f"it finds {self.recall:.2%} of the nearest, not {limits.HNSW_MIN_RECALL:.1%}"
        if self.graph_us >= self.exact_us:
            return f"it takes {self.graph_us:.0f} µs a search, the exact scan {self.exact_us:.0f}"
        return ""


def installed() -> bool:
    """Whether hnswlib can be imported."""
    return importlib.util.find_spec("hnswlib") is not None


def build(rows: NDArray[np.int8], kind: Kind = "auto") -> tuple[Index, str]:
    """Return the index for a list, and why it is this one.

    Args:
        rows: (n, dimension) int8, none of them zero; copied.
        kind: "exact"; "hnsw": a graph is tried whatever the list's size; "auto": from
            `limits.HNSW_FROM_TEMPLATES` on. It serves only if its trial says so.
    """
    exact = exact_index(rows)
    if kind == "exact":
        return exact, "as configured"
    if kind == "auto" and len(rows) < limits.HNSW_FROM_TEMPLATES:
        return exact, f"no graph pays below {limits.HNSW_FROM_TEMPLATES:,} templates"
    if not installed():
        return exact, "hnswlib is not installed"
    if not len(rows):
        return exact, "the list is empty"
    graph = HnswIndex(rows, exact)
    trial = run_trial(graph, exact, trial_probes(rows))
    objection = trial.objection()
    if objection:
        return exact, f"a graph was tried: {objection}"
    return (
        graph,
        f"tried: finds {trial.recall:.2%}, {trial.graph_us:.0f} of {trial.exact_us:.0f} µs",
    )


def trial_probes(rows: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return probes to try an index of these rows with, (m, dimension) float32 of length 1.

    One half are people of the list on a bad day: `limits.HNSW_TRIAL_COSINE` from their template,
    in a random direction. The other half are strangers, spread as the list's own people are; their
    nearest neighbours are the hardest to find.
    """
    random = np.random.default_rng(0)
    half, cosine = limits.HNSW_TRIAL_PROBES // 2, np.float32(limits.HNSW_TRIAL_COSINE)
    people = _unit(rows[random.integers(0, len(rows), half)])
    aside = _unit(random.normal(size=people.shape))
    aside = _unit(aside - np.einsum("ij,ij->i", aside, people)[:, None] * people)
    sample = _unit(rows[:: max(1, len(rows) // limits.INDEX_BLOCK_ROWS)])
    strangers = random.multivariate_normal(
        sample.mean(axis=0), np.cov(sample.T), half, check_valid="ignore", method="eigh"
    )
    return np.concatenate([cosine * people + np.sqrt(1 - cosine**2) * aside, _unit(strangers)])


def run_trial(graph: Index, exact: Index, probes: NDArray[np.float32]) -> Trial:
    """Search with both. A template as near as the nearest counts as found."""
    found, times = 0, np.empty((2, len(probes)))
    for number, probe in enumerate(probes):
        forms = Probe.of(probe, len(probe))
        begin = time.thread_time_ns()
        answer = graph.search(forms, 1)
        between = time.thread_time_ns()
        truth = exact.search(forms, 1)
        times[:, number] = between - begin, time.thread_time_ns() - between
        found += bool(answer) and answer[0][1] >= truth[0][1]
    graph_us, exact_us = np.median(times, axis=1) / 1000
    return Trial(found / len(probes), float(graph_us), float(exact_us))


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True), 1e-6)
    return np.asarray(vectors / lengths, np.float32)
