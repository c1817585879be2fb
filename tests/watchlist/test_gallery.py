"""The list in force: who is found, who is not any more."""

import tracemalloc

import msgspec
import numpy as np
import pytest

from edge import limits
from edge.errors import IndexRefused
from edge.protocol.watchlist import Entry, Template, Watchlist, quantise
from edge.watchlist import gallery as gallery_module
from edge.watchlist.gallery import Gallery
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


def gallery(*entries, kind="exact", dimension=DIMENSION):
    watchlist: Watchlist = replace(LIST, dimension=dimension, entries=list(entries))
    return Gallery(watchlist, kind)


def memory_of(gallery):
    """Every array in which a gallery holds something of people."""
    rows = [block.rows for block in gallery._index._blocks]
    return [*rows, gallery._ids, gallery._until]


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
    memory = memory_of(g)
    assert all(part.any() for part in memory)
    g.destroy()
    assert not any(part.any() for part in memory)
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vector": bytes(DIMENSION)}, "no direction"),
        ({"vector": bytes(3)}, "template of 3, not 16"),
        ({"vector": b"\x01"}, "template of 1, not 16"),
        ({"scale": float("nan")}, "the scale"),
        ({"scale": float("inf")}, "the scale"),
        ({"scale": 0.0}, "the scale"),
        ({"scale": -1.0}, "the scale"),
    ],
)
def test_a_template_that_cannot_be_compared_is_refused_by_name(change, says):
    good = entry(1, *directions(2))
    bad = entry(0xBAD, *directions(2, 5))
    broken = replace(bad, templates=[bad.templates[0], replace(bad.templates[1], **change)])
    with pytest.raises(IndexRefused, match=f"entry {0xBAD:032x}: .*{says}"):
        gallery(good, broken)


@pytest.mark.parametrize("order", [(1, 2, 1), (1, 1, 2), (2, 1, 1)])
def test_an_entry_that_occurs_twice_is_refused_by_name(order):
    vectors = directions(3)
    with pytest.raises(IndexRefused, match=f"entry {1:032x} occurs twice"):
        gallery(*(entry(i, v) for i, v in zip(order, vectors, strict=True)))


def test_of_the_list_nothing_is_kept_but_the_index(monkeypatch):
    """What it is built from, in steps, is overwritten; also where it is refused."""
    tables = []

    def recorded(whole):
        def record(*arguments):
            tables.append(whole(*arguments))
            return tables[-1]

        return record

    monkeypatch.setattr(limits, "INDEX_STEP_ENTRIES", 7)
    for name in ("rows", "_rows"):
        monkeypatch.setattr(gallery_module, name, recorded(getattr(gallery_module, name)))
    people = [entry(i, v) for i, v in enumerate(directions(20))]
    g = gallery(*people)
    for i, vector in enumerate(directions(20)):
        assert int(g.search(vector, NOW, 1)[0].entry, 16) == i
    assert [len(table) for table in tables] == [7, 7, 6, 20]
    zero = replace(entry(99, *directions(1)), templates=[Template(scale=0.1, vector=bytes(16))])
    with pytest.raises(IndexRefused):
        gallery(*people, zero)
    assert len(tables) == 8
    assert not any(table.view(np.uint8).any() for table in tables)


def test_a_person_takes_no_more_than_180_bytes():
    random = np.random.default_rng(1).normal(size=(10_000, 128)).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    watchlist = replace(
        LIST, dimension=128, entries=[entry(i, vector) for i, vector in enumerate(random)]
    )
    Gallery(watchlist, "exact").search(random[0], NOW, 1)  # Python's own caches fill up once
    tracemalloc.start()
    g = Gallery(watchlist, "exact")
    g.search(random[0], NOW, 1)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 150 <= held / g.templates <= 180, g.index_kind


def test_which_index_serves_and_why_can_be_read():
    g = gallery(entry(1, directions(1)[0]), kind="auto")
    assert g.index_kind.startswith("exact int8")
    assert "no graph pays below 200,000" in g.index_why
