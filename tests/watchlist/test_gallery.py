"""The list in force: who is found, who is not any more."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import IndexRefused
from edge.protocol.watchlist import Entry, Template, Watchlist, dequantise, quantise
from edge.watchlist import hnsw
from edge.watchlist.gallery import Gallery
from edge.watchlist.index import ExactIndex
from tests.watchlist.test_authorisation import AUTHORISATION, LIST, NOW

DIMENSION = 16
replace = msgspec.structs.replace


def directions(count, seed=1, dimension=DIMENSION):
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def entry(number, *vectors, not_before=0, not_after=NOW + 10**6):
    return Entry(
        id=f"{number:032x}",
        not_before=not_before,
        not_after=not_after,
        templates=[quantise(v) for v in vectors],
    )


def gallery(*entries, kind="exact"):
    watchlist: Watchlist = replace(LIST, dimension=DIMENSION, entries=list(entries))
    return Gallery(watchlist, kind)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 20))
def test_the_scan_finds_what_brute_force_finds(seed, count, k):
    vectors = directions(count, seed)
    probe = directions(1, seed + 1)[0]
    found = gallery(*(entry(i, v) for i, v in enumerate(vectors))).search(probe, NOW, k)
    rows = np.stack([dequantise(quantise(v)).astype(np.float64) for v in vectors])
    cosines = rows @ probe / np.linalg.norm(rows, axis=1)
    expected = np.sort(cosines)[::-1][:k]
    assert [h.score for h in found] == pytest.approx(expected, abs=1e-5)
    assert [cosines[int(h.entry, 16)] for h in found] == pytest.approx(expected, abs=1e-5)


def test_more_rows_than_a_block_are_searched(monkeypatch):
    monkeypatch.setattr(limits, "INDEX_BLOCK_ROWS", 7)
    vectors = directions(50)
    g = gallery(*(entry(i, v) for i, v in enumerate(vectors)))
    for i, vector in enumerate(vectors):
        (hit,) = g.search(vector, NOW, 1)
        assert (int(hit.entry, 16), hit.score > 0.99) == (i, True)


def test_each_person_is_found_once_by_the_best_template():
    a, b, c = directions(3)
    g = gallery(entry(1, a, b, c), entry(2, -a))
    hits = g.search(b, NOW, 5)
    assert [int(h.entry, 16) for h in hits] == [1, 2]
    assert hits[0].score > 0.99
    assert (g.entries, g.templates) == (2, 4)


def test_whoever_is_not_valid_now_hides_nobody():
    a = directions(1)[0]
    over = [entry(i, a, not_after=NOW) for i in range(40)]
    later = [entry(100 + i, a, not_before=NOW + 1) for i in range(40)]
    valid = entry(999, directions(1, 5)[0])
    (hit,) = gallery(*over, *later, valid).search(a, NOW, 1)
    assert int(hit.entry, 16) == 999


def test_outside_its_time_a_list_finds_nobody():
    a = directions(1)[0]
    g = gallery(entry(1, a))
    assert g.search(a, NOW, 1)
    assert g.search(a, g.expires, 1) == []
    assert g.search(a, AUTHORISATION.not_before - 1, 1) == []


def test_what_is_destroyed_is_overwritten_and_finds_nobody():
    a = directions(1)[0]
    g = gallery(entry(1, a))
    memory = g._index._vectors
    g.destroy()
    assert not memory.any()
    assert g.search(a, NOW, 1) == []


def test_an_empty_list_finds_nobody():
    assert gallery().search(directions(1)[0], NOW, 3) == []


@pytest.mark.parametrize(
    "probe",
    [
        np.full(DIMENSION, np.nan, np.float32),
        np.full(DIMENSION, np.inf, np.float32),
        np.zeros(DIMENSION, np.float32),
        np.ones(DIMENSION + 1, np.float32),
        np.ones((1, DIMENSION), np.float32),
    ],
)
def test_a_probe_that_is_none_is_refused(probe):
    with pytest.raises(IndexRefused):
        gallery(entry(1, directions(1)[0])).search(probe, NOW, 1)


def test_a_probe_of_any_length_and_precision_is_compared_by_direction():
    a = directions(1)[0]
    for probe in (a, a * 7, a.astype(np.float64)):
        (hit,) = gallery(entry(1, a)).search(probe, NOW, 1)
        assert hit.score == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("vector", [bytes(DIMENSION), bytes(3)])
def test_a_template_without_direction_or_of_another_length_is_refused(vector):
    broken = replace(entry(1, directions(1)[0]), templates=[Template(scale=0.01, vector=vector)])
    with pytest.raises(IndexRefused):
        gallery(broken)


def test_without_hnswlib_the_exact_index_serves_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(hnsw, "installed", lambda: False)
    rows = np.ones((3, DIMENSION), np.int8)
    assert isinstance(hnsw.build(rows, "hnsw"), ExactIndex)
    assert "exact index serves" in caplog.text
    monkeypatch.setattr(limits, "HNSW_FROM_TEMPLATES", 2)
    assert isinstance(hnsw.build(rows, "auto"), ExactIndex)


needs_hnswlib = pytest.mark.skipif(
    not hnsw.installed(), reason="hnswlib is not installed (needs a compiler)"
)


@needs_hnswlib
def test_hnsw_finds_what_the_scan_finds():
    entries = [entry(i, v) for i, v in enumerate(directions(2000, 3))]
    exact, graph = gallery(*entries), gallery(*entries, kind="hnsw")
    found = [
        graph.search(p, NOW, 1)[0].entry == exact.search(p, NOW, 1)[0].entry
        for p in directions(200, 4)
    ]
    assert np.mean(found) >= 0.99


@needs_hnswlib
def test_every_score_of_hnsw_is_the_exact_one():
    entries = [entry(i, v) for i, v in enumerate(directions(500, 3))]
    exact, graph = gallery(*entries), gallery(*entries, kind="hnsw")
    for probe in directions(20, 4):
        scores = {hit.entry: hit.score for hit in exact.search(probe, NOW, len(entries))}
        for hit in graph.search(probe, NOW, 50):
            assert hit.score == pytest.approx(scores[hit.entry], abs=1e-6)


@needs_hnswlib
@pytest.mark.parametrize("_graph", range(5))  # no two are built alike: some do not reach all rows
def test_where_the_graph_does_not_reach_the_scan_serves(_graph):
    alike = [entry(i, directions(1)[0], not_after=NOW) for i in range(500)]
    others = [entry(1000 + i, v, not_after=NOW) for i, v in enumerate(directions(300, 3))]
    g = gallery(*alike, *others, entry(9999, -directions(1)[0]), kind="hnsw")
    for probe in directions(20, 5):
        (hit,) = g.search(probe, NOW, 1)
        assert int(hit.entry, 16) == 9999


@needs_hnswlib
def test_a_destroyed_graph_is_overwritten_and_finds_nobody():
    vectors = directions(100, 3)
    graph = gallery(*(entry(i, v) for i, v in enumerate(vectors)), kind="hnsw")
    memory = graph._index._vectors
    graph.destroy()
    assert not memory.any()
    assert graph.search(vectors[0], NOW, 1) == []
