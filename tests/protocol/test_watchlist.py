import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import IndexRefused
from edge.protocol.watchlist import (
    Area,
    Authorisation,
    Entry,
    Purpose,
    Watchlist,
    dequantise,
    quantise,
    row_dtype,
    rows,
)

DIMENSION = 32
seconds = st.integers(0, 2**40)


def unit(values):
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


embeddings = (
    st.lists(st.floats(-1, 1, width=32), min_size=DIMENSION, max_size=DIMENSION)
    .filter(lambda v: np.linalg.norm(v) > 0.1)
    .map(unit)
)
entries = st.builds(
    Entry,
    id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    not_before=seconds,
    not_after=seconds,
    templates=st.lists(embeddings.map(quantise), min_size=1, max_size=3),
)
names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)
authorisations = st.builds(
    Authorisation,
    reference=st.text(min_size=1, max_size=128),
    purpose=st.sampled_from(Purpose),
    not_before=seconds,
    not_after=seconds,
    area=st.none()
    | st.builds(
        Area,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
        radius_m=st.floats(0.1, 500_000),
    ),
    devices=st.lists(names, min_size=1, max_size=4),
    profile=st.sampled_from(["fixed", "body-worn"]),
    max_entries=st.integers(1, limits.MAX_LIST_SIZE_FIXED),
    fpir_target=st.floats(1e-9, 0.5),
)
watchlists = st.builds(
    Watchlist,
    id=names,
    version=st.integers(1, 2**53),
    issued=seconds,
    expires=seconds,
    embedder=st.text(min_size=1, max_size=64),
    dimension=st.just(DIMENSION),
    authorisation=authorisations,
    entries=st.lists(entries, max_size=4, unique_by=lambda e: e.id),
)


@given(embeddings)
def test_eight_bits_lose_next_to_nothing(embedding):
    restored = dequantise(quantise(embedding))
    assert float(restored @ embedding) / np.linalg.norm(restored) > 0.999


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIMENSION, np.nan, np.float32),
        np.full(DIMENSION, np.inf, np.float32),
        np.zeros(DIMENSION, np.float32),
        np.ones(DIMENSION, np.float32),
        np.ones((2, 2), np.float32),
    ],
)
def test_what_has_no_direction_or_length_is_not_quantised(vector):
    with pytest.raises(IndexRefused):
        quantise(vector)


@given(watchlists)
def test_rows_hold_what_the_entries_hold(watchlist):
    table = rows(watchlist)
    assert table.dtype == row_dtype(DIMENSION)
    pairs = [(entry, template) for entry in watchlist.entries for template in entry.templates]
    for row, (entry, template) in zip(table, pairs, strict=True):
        assert row["id"].tobytes().hex() == entry.id
        assert row["not_before"] == min(entry.not_before, 2**32 - 1)
        assert row["not_after"] == min(entry.not_after, 2**32 - 1)
        assert row["scale"] == np.float32(template.scale)
        assert row["vector"].tobytes() == template.vector


def test_a_row_of_128_numbers_takes_156_bytes():
    assert row_dtype(128).itemsize == 156
