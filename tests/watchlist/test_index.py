"""Every index against brute force in float64, on lists made to be awkward."""

import gc
import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge import limits
from edge.errors import IndexRefused
from edge.watchlist import hnsw, packed
from edge.watchlist.hnsw import HnswIndex, Trial, build, run_trial, trial_probes
from edge.watchlist.index import ExactIndex, PlainBlock, Probe, exact_cosines
from edge.watchlist.packed import LayoutUnknown, PackedBlock, exact_index

needs_numkong = pytest.mark.skipif(
    importlib.util.find_spec("numkong") is None, reason="numkong is not installed"
)
needs_hnswlib = pytest.mark.skipif(
    not hnsw.installed(), reason="hnswlib is not installed (needs a compiler)"
)
BLOCKS = [PlainBlock, pytest.param(PackedBlock, marks=needs_numkong)]


def int8(random, count, dimension):
    rows = random.integers(-127, 128, (count, dimension), dtype=np.int8)
    rows[:, 0] |= 1  # none is zero
    return rows


def unit(vector):
    return Probe.of(np.asarray(vector, np.float32), len(vector))


def agrees(index, rows, vector, k):
    """Search, and compare with brute force in float64."""
    vector = np.asarray(vector, np.float32)
    found = index.search(unit(vector), k)
    wide, probe = rows.astype(np.float64), vector.astype(np.float64)
    cosines = wide @ probe / np.linalg.norm(wide, axis=1) / np.linalg.norm(probe)
    order = np.argsort(-cosines, kind="stable")
    assert len(found) == min(k, len(rows))
    assert len({row for row, _ in found}) == len(found)
    for (row, score), true in zip(found, order, strict=False):
        assert score == pytest.approx(cosines[row], abs=1e-9)
        assert cosines[row] == pytest.approx(cosines[true], abs=1e-9)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(limits, "INDEX_BLOCK_ROWS", 7)


@pytest.mark.parametrize("block", BLOCKS)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    dimension=st.sampled_from([16, 17, 31, 64, 128, 512, 1024]),
    k=st.integers(1, 70),
)
def test_the_scan_finds_what_brute_force_finds(block, seed, count, dimension, k):
    random = np.random.default_rng(seed)
    rows, vector = int8(random, count, dimension), random.normal(size=dimension)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "INDEX_BLOCK_ROWS", 7)
        agrees(ExactIndex(rows, block), rows, vector, k)


@pytest.mark.parametrize("block", BLOCKS)
@settings(max_examples=60, deadline=None)
@given(
    rows=npst.arrays(
        np.int8, st.tuples(st.integers(1, 30), st.just(16)), elements=st.integers(-128, 127)
    ),
    probe=npst.arrays(np.float32, 16, elements=st.floats(-1, 1, width=32, allow_subnormal=False)),
    k=st.integers(1, 31),
)
def test_no_rows_and_no_probe_are_too_awkward(block, rows, probe, k):
    """Crowded, opposite, nearly equal and lopsided vectors; one element of all the weight."""
    rows = rows[rows.any(axis=1)]
    try:
        unit(probe)
    except IndexRefused:
        return
    agrees(ExactIndex(rows, block), rows, probe, k)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_nearest_of_very_near_ones_is_found(block, small_blocks):
    """They differ by less than the probe's rounding: only scoring exactly tells them apart."""
    random = np.random.default_rng(1)
    base = int8(random, 1, 128).astype(np.int16)
    rows = np.clip(base + random.integers(-1, 2, (300, 128)), -127, 127).astype(np.int8)
    index = ExactIndex(rows, block)
    for _ in range(50):
        vector = base[0] + random.normal(size=128)
        agrees(index, rows, vector, 1)
        agrees(index, rows, vector, 5)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("k", [1, 3, 7, 8, 50, 51])
def test_of_equal_templates_the_first_come_first(block, k, small_blocks):
    rows = np.tile(np.arange(1, 17, dtype=np.int8), (50, 1))
    found = ExactIndex(rows, block).search(unit(np.ones(16)), k)
    assert [row for row, _ in found] == list(range(min(k, 50)))
    assert len({score for _, score in found}) == 1


@pytest.mark.parametrize("block", BLOCKS)
@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.sampled_from([16, 128, 1024]),
    spread=st.floats(0.1, 40),
)
@settings(max_examples=60, deadline=None)
def test_no_approximate_cosine_errs_beyond_its_bound(block, seed, dimension, spread):
    """What the theorem in `edge.watchlist.index` rests on."""
    random = np.random.default_rng(seed)
    rows = int8(random, 40, dimension)
    probe = unit(random.normal(size=dimension) ** 3 + spread * random.normal(size=dimension))
    part = block(rows)
    errors = part.cosines(probe) - np.array(exact_cosines(rows, probe)) / probe.step
    assert np.abs(errors).max() <= part.error(probe)


@given(seed=st.integers(0, 2**32 - 1), dimension=st.sampled_from([16, 128, 1024]))
@settings(max_examples=30, deadline=None)
def test_exact_scores_do_not_depend_on_the_company(seed, dimension):
    random = np.random.default_rng(seed)
    rows, forms = int8(random, 33, dimension), unit(random.normal(size=dimension))
    together = exact_cosines(rows, forms)
    assert exact_cosines(rows[::-1].copy(), forms) == together[::-1]
    assert all(exact_cosines(rows[i : i + 1], forms) == together[i : i + 1] for i in range(33))


@needs_numkong
def test_what_is_packed_is_seen_and_overwritten():
    rows = int8(np.random.default_rng(1), 100, 128)
    index = ExactIndex(rows, PackedBlock)
    memory = index._blocks[0].rows
    assert np.array_equal(memory, rows)
    index.destroy()
    del index
    gc.collect()
    assert not memory.any(), "and the view keeps the memory alive"


@needs_numkong
def test_a_row_of_128_takes_no_more_than_148_bytes_on_any_processor():
    packed_matrix = PackedBlock(int8(np.random.default_rng(1), 1000, 128))._packed
    assert packed_matrix.nbytes <= 148 * 1000 + 64


@needs_numkong
def test_where_numkong_packs_in_an_unknown_way_numpy_serves(monkeypatch, caplog):
    def elsewhere(packed_matrix, count, dimension):
        return np.zeros((count, dimension), np.int8)

    rows = int8(np.random.default_rng(1), 30, 16)
    packed.usable.cache_clear()
    monkeypatch.setattr(packed, "_rows_of", elsewhere)
    with pytest.raises(LayoutUnknown):
        PackedBlock(rows)
    assert exact_index(rows).kind == "exact int8 (numpy)"
    assert "unknown way" in caplog.text
    packed.usable.cache_clear()


def test_where_numkong_is_not_installed_numpy_serves(monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named 'numkong'")

    packed.usable.cache_clear()
    monkeypatch.setattr(packed, "_load", missing)
    assert exact_index(int8(np.random.default_rng(1), 30, 16)).kind == "exact int8 (numpy)"
    packed.usable.cache_clear()


@pytest.mark.parametrize(
    ("trial", "objection"),
    [
        (Trial(recall=0.9989, graph_us=10, exact_us=100), "99.89% of the nearest"),
        (Trial(recall=0.999, graph_us=100, exact_us=100), "100 µs a search"),
        (Trial(recall=0.999, graph_us=99, exact_us=100), ""),
        (Trial(recall=1.0, graph_us=500, exact_us=100), "500 µs a search"),
        (Trial(recall=0.0, graph_us=1, exact_us=100), "0.00%"),
    ],
)
def test_a_graph_serves_only_if_it_misses_nobody_and_costs_less(trial, objection):
    assert (objection in trial.objection()) if objection else not trial.objection()


@needs_hnswlib
def test_the_trial_decides_and_says_so(monkeypatch):
    rows = int8(np.random.default_rng(1), 300, 16)
    monkeypatch.setattr(limits, "HNSW_TRIAL_PROBES", 50)
    monkeypatch.setattr(hnsw, "run_trial", lambda *_: Trial(1.0, 10, 20))
    index, why = build(rows, "hnsw")
    assert (index.kind, why) == ("hnsw, scored exactly", "tried: finds 100.00%, 10 of 20 µs")
    monkeypatch.setattr(hnsw, "run_trial", lambda *_: Trial(0.9, 10, 20))
    index, why = build(rows, "hnsw")
    assert index.kind.startswith("exact")
    assert "a graph was tried: it finds 90.00%" in why


@needs_hnswlib
def test_the_trial_counts_what_a_graph_misses():
    rows = int8(np.random.default_rng(1), 400, 16)

    class Forgetful:
        """Finds only every other row."""

        kind = "forgetful"

        def __init__(self):
            self.half = exact_index(rows[::2])

        def search(self, probe, k):
            return [(2 * row, score) for row, score in self.half.search(probe, k)]

    exact, probes = exact_index(rows), trial_probes(rows)[::10]
    assert 0.3 < run_trial(Forgetful(), exact, probes).recall < 0.7
    assert run_trial(exact, exact, probes).recall == 1
    assert run_trial(HnswIndex(rows, exact), exact, probes).recall > 0.95


def test_trial_probes_are_people_on_a_bad_day_and_strangers():
    rows = int8(np.random.default_rng(1), 400, 128)
    probes = trial_probes(rows)
    assert np.linalg.norm(probes, axis=1) == pytest.approx(1, abs=1e-5)
    index = exact_index(rows)
    people, strangers = np.split(probes, 2)
    best = [index.search(unit(p), 1)[0][1] for p in people[:50]]
    assert best == pytest.approx([limits.HNSW_TRIAL_COSINE] * 50, abs=1e-3)
    assert max(index.search(unit(p), 1)[0][1] for p in strangers[:50]) < limits.HNSW_TRIAL_COSINE


@pytest.mark.parametrize(
    ("kind", "count", "why"),
    [("exact", 5, "as configured"), ("auto", 5, "no graph pays below"), ("hnsw", 0, "empty")],
)
def test_where_no_graph_is_tried_the_exact_index_serves(kind, count, why):
    index, reason = build(np.ones((count, 16), np.int8), kind)
    assert index.kind.startswith("exact")
    assert why in reason or not hnsw.installed()


def test_without_hnswlib_the_exact_index_serves_and_says_so(monkeypatch):
    monkeypatch.setattr(hnsw, "installed", lambda: False)
    index, why = build(np.ones((3, 16), np.int8), "hnsw")
    assert (index.kind[:5], why) == ("exact", "hnswlib is not installed")
    monkeypatch.setattr(limits, "HNSW_FROM_TEMPLATES", 2)
    assert build(np.ones((3, 16), np.int8))[1] == "hnswlib is not installed"


@needs_hnswlib
def test_every_score_of_a_graph_is_the_exact_one():
    rows = int8(np.random.default_rng(3), 500, 128)
    exact = exact_index(rows)
    graph = HnswIndex(rows, exact)
    for probe in np.random.default_rng(4).normal(size=(20, 128)):
        scores = dict(exact.search(unit(probe), len(rows)))
        found = graph.search(unit(probe), 50)
        assert len(found) == 50
        assert all(score == scores[row] for row, score in found)
        assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)


@needs_hnswlib
@pytest.mark.parametrize("_graph", range(5))  # no two are built alike: some do not reach all rows
def test_where_the_graph_does_not_reach_the_scan_serves(_graph):
    random = np.random.default_rng(3)
    rows = np.concatenate([np.tile(int8(random, 1, 16), (500, 1)), int8(random, 300, 16)])
    graph = HnswIndex(rows, exact_index(rows))
    for probe in random.normal(size=(20, 16)):
        agrees(graph, rows, probe, 800)


@needs_hnswlib
def test_a_destroyed_graph_is_overwritten_and_finds_nobody():
    rows = int8(np.random.default_rng(3), 100, 16)
    exact = exact_index(rows)
    memory = [block.rows for block in exact._blocks]
    graph = HnswIndex(rows, exact)
    graph.destroy()
    assert not any(part.any() for part in memory)
    assert graph.search(unit(np.ones(16)), 1) == []
    assert len(graph) == 0
