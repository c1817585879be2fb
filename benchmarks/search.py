"""Searching a list: processor time beside numpy's, recall, memory; on real embeddings, enlarged.

    python -m benchmarks.search --data ../shared/data
    python -m benchmarks.search --data ../shared/data --graphs     # what HNSW would do (minutes)

Times are medians of one thread's processor time, both searches taking turns in one run; `numpy` is
one float32 product and argmax. Everything but numpy is `Gallery.search` as the device calls it.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: one thread on both sides

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.enlarged import Faces, Vectors, listing
from edge import limits
from edge.protocol.watchlist import Watchlist, rows
from edge.watchlist import packed
from edge.watchlist.gallery import Gallery
from edge.watchlist.hnsw import HnswIndex, installed
from edge.watchlist.index import ExactIndex, Probe

PROBES = 2000
"""Of people listed, and as many of strangers."""
GRAPHS = ((8, 400), (16, 200), (16, 800), (32, 400))
"""M, and ef when searching."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--graphs", action="store_true", help="measure HNSW at several settings")
    parser.add_argument("--cache", type=Path, help="keep the embeddings here (.npz)")
    options = parser.parse_args()
    console = Console(highlight=False)
    faces = Faces.embed(options.data, options.cache)
    random = np.random.default_rng(1)
    console.print(_likeness(faces, random))
    table = Table(
        "templates", "index", "numpy", "this", "ratio", "recall: listed", "strangers", "bytes each",
        box=box.SIMPLE,
    )  # fmt: skip
    for size in options.sizes:
        for row in _measure(faces, size, random, graphs=options.graphs):
            table.add_row(*row)
    console.print(table)


def _likeness(faces: Faces, random: np.random.Generator) -> Table:
    table = Table(
        f"scores of {len(faces.people)} strangers", "mean", "deviation",
        "1 in 100", "1 in 1,000", "1 in 10,000", "1 in 100,000", box=box.SIMPLE,
    )  # fmt: skip
    for name, scores in faces.likeness(faces.strangers(len(faces.people), random)).items():
        table.add_row(name, *(f"{score:.3f}" for score in scores))
    return table


def _measure(
    faces: Faces, size: int, random: np.random.Generator, *, graphs: bool
) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each index."""
    people = faces.enlarge(size, random)
    listed = faces.probes(people[random.integers(0, size, PROBES)], random)
    strangers = faces.strangers(PROBES, random)
    watchlist = listing(people)
    table = rows(watchlist)["vector"].astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    best = [_best(table, probes) for probes in (listed, strangers)]

    def judge(name: str, search: Callable[[Vectors], float], memory: float) -> tuple[str, ...]:
        recalls = [
            np.mean([search(p) >= truth - 1e-6 for p, truth in zip(probes, known, strict=True)])
            for probes, known in zip((listed, strangers), best, strict=True)
        ]
        plain, this = _times(table, search, np.concatenate([listed[:100], strangers[:100]]))
        return (
            f"{size:,}", name, f"{plain:.0f} µs", f"{this:.0f} µs", f"{this / plain:.2f}",
            *(f"{recall:.4f}" for recall in recalls), f"{memory:.0f}" if memory else "–",
        )  # fmt: skip

    for plain in (False, True):
        gallery, memory = _gallery(watchlist, plain=plain)
        yield judge(gallery.index_kind, _searching(gallery), memory)
        gallery.destroy()
    if graphs and installed():
        yield from _graphs(rows(watchlist)["vector"], judge)


def _searching(gallery: Gallery) -> Callable[[Vectors], float]:
    now = time.time()
    return lambda probe: gallery.search(probe, now, 1)[0].score


def _gallery(watchlist: Watchlist, *, plain: bool) -> tuple[Gallery, float]:
    """Return a list with its index, and what it holds in memory, bytes a template."""
    usable = packed.usable
    usable()  # what it loads is no part of a list
    if plain:
        packed.usable = lambda: False
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        gallery = Gallery(watchlist, "exact")
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        packed.usable = usable
    return gallery, held / gallery.templates


def _graphs(
    vectors: NDArray[np.int8],
    judge: Callable[[str, Callable[[Vectors], float], float], tuple[str, ...]],
) -> Iterator[tuple[str, ...]]:
    exact = ExactIndex(vectors, packed.PackedBlock if packed.usable() else packed.PlainBlock)
    built = 0
    for m, ef in GRAPHS:
        if m != built:  # settings of one M share a graph
            limits.HNSW_M = built = m
            graph = HnswIndex(vectors, exact)
            memory = graph._graph.index_file_size() / len(vectors)  # the rows come on top
        graph.set_ef(ef)
        yield judge(
            f"hnsw M {m}, ef {ef}",
            lambda p, g=graph: g.search(Probe.of(p, len(p)), 1)[0][1],
            memory,
        )


def _best(table: Vectors, probes: Vectors) -> NDArray[np.float32]:
    parts = [(part @ table.T).max(axis=1) for part in np.array_split(probes, 40)]
    return np.concatenate(parts)


def _times(
    table: Vectors, search: Callable[[Vectors], float], probes: Vectors
) -> tuple[float, float]:
    """Return the median processor time of numpy and of a search, microseconds."""
    scores = np.empty(len(table), np.float32)
    times = np.empty((2, len(probes)))
    for number, probe in enumerate(probes):
        begin = time.thread_time_ns()
        np.dot(table, probe, out=scores)
        scores.argmax()
        between = time.thread_time_ns()
        search(probe)
        times[:, number] = between - begin, time.thread_time_ns() - between
    plain, this = np.median(times, axis=1) / 1000
    return float(plain), float(this)


if __name__ == "__main__":
    main()
