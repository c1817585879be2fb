import base64
import contextlib
import json

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import BadInput, FormatError, IndexRefused
from edge.protocol import signing
from edge.protocol.watchlist import (
    SNAPSHOT_TYP,
    Area,
    Authorisation,
    Entry,
    Purpose,
    Template,
    Watchlist,
    decode,
    dequantise,
    encode,
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
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
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


def as_base64(text):
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


def example(**changes):
    fields = {
        "schema": 1, "id": "gate", "version": 1, "issued": 0, "expires": 9, "embedder": "e",
        "dimension": DIMENSION,
        "authorisation": {
            "reference": "r", "purpose": "court-order", "not_before": 0, "not_after": 9,
            "area": None, "devices": ["d"], "profile": "fixed", "max_entries": 5,
            "fpir_target": 0.001, "review": "human-before-action",
        },
        "entries": [],
    }  # fmt: skip
    return fields | changes


def entry(**changes):
    template = msgspec.to_builtins(quantise(unit(range(1, DIMENSION + 1))))
    fields = {"id": "a" * 32, "not_before": 0, "not_after": 9, "templates": [template]}
    return fields | changes


@given(watchlists)
def test_what_is_written_is_read(watchlist):
    assert decode(encode(watchlist)) == watchlist


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(payload):
    with pytest.raises(FormatError):
        decode(payload)


@given(
    st.sampled_from([*example(), *example()["authorisation"]]),
    st.none() | st.integers() | st.text() | st.lists(st.none()),
)
def test_any_value_in_any_field_is_read_or_refused(field, value):
    document = example()
    (document if field in document else document["authorisation"])[field] = value
    with contextlib.suppress(FormatError):
        assert decode(msgspec.json.encode(document)).schema == 1


KEY = Ed25519PrivateKey.generate()
PAYLOAD = msgspec.json.encode(example(entries=[entry()]))
SEALED = signing.seal(PAYLOAD, typ=SNAPSHOT_TYP, key=KEY)


def opened(message):
    trusted = [KEY.public_key()]
    return signing.open_sealed(message, typ=SNAPSHOT_TYP, trusted=trusted, max_bytes=10**6)[0]


def overwritten(message, at, bytes_):
    at %= len(message)
    return message[:at] + bytes_ + message[at + len(bytes_) :]


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_an_altered_list_is_read_or_refused(at, bytes_):
    with contextlib.suppress(FormatError):
        assert decode(overwritten(PAYLOAD, at, bytes_)).schema == 1


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_an_altered_message_is_refused_or_says_what_was_signed(at, bytes_):
    with contextlib.suppress(BadInput):
        assert opened(overwritten(SEALED, at, bytes_)) == PAYLOAD


@given(st.lists(st.binary(max_size=80) | st.text(max_size=40).map(as_base64), max_size=4))
def test_any_message_is_refused(parts):
    with pytest.raises(BadInput):
        opened(b".".join(parts))


RIGHT = {"alg": "Ed25519", "typ": SNAPSHOT_TYP, "kid": signing.key_id(KEY)}
anything = st.none() | st.booleans() | st.integers() | st.text(max_size=9)


@given(
    st.dictionaries(
        st.sampled_from([*RIGHT, "crit", "b64", "jwk", "jku", "x5c", "zip", "x"]),
        anything | st.lists(anything) | st.dictionaries(st.text(max_size=3), anything),
        min_size=1,
    )
)
def test_no_header_but_the_one_that_was_signed_is_taken(changes):
    _, payload, signature = SEALED.split(b".")
    with pytest.raises(BadInput):
        opened(b".".join([as_base64(json.dumps(RIGHT | changes)), payload, signature]))
    with pytest.raises(BadInput):
        opened(b".".join([as_base64(json.dumps(changes)), payload, signature]))


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unknown": 1}, "unknown field"),
        ({"version": 0}, ">= 1"),
        ({"dimension": 10**6}, "dimension"),
        ({"entries": [entry(), entry()]}, "twice"),
        ({"entries": [entry(id="A" * 32)]}, "regex"),
        ({"entries": [entry(templates=[])]}, "length >= 1"),
        ({"entries": [entry(templates=[{"scale": 0.01, "vector": "AAAA"}])]}, "template of 3"),
        ({"dimension": DIMENSION + 1, "entries": [entry()]}, f"template of {DIMENSION}"),
    ],
)
def test_a_list_of_the_wrong_form_is_refused_with_the_reason(changes, reason):
    with pytest.raises(FormatError, match=reason):
        decode(msgspec.json.encode(example(**changes)))


@pytest.mark.parametrize("scale", [0.0, -0.01, 2.0, 1e-9])
def test_a_template_with_an_impossible_scale_is_refused(scale):
    template = msgspec.to_builtins(Template(scale=scale, vector=bytes(range(1, DIMENSION + 1))))
    with pytest.raises(FormatError, match=r"scale|length"):
        decode(msgspec.json.encode(example(entries=[entry(templates=[template])])))


def test_a_scale_that_is_no_number_is_refused():
    text = msgspec.json.encode(example(entries=[entry()])).decode()
    scale = str(entry()["templates"][0]["scale"])
    for value in ("NaN", "Infinity", "1e999", "null"):
        with pytest.raises(FormatError):
            decode(text.replace(scale, value).encode())


@pytest.mark.parametrize("purpose", ["public-order", "", "Court-Order"])
def test_no_other_purpose_can_be_named(purpose):
    document = example()
    document["authorisation"]["purpose"] = purpose
    with pytest.raises(FormatError, match="purpose"):
        decode(msgspec.json.encode(document))


@pytest.mark.parametrize("field", [*example()["authorisation"]])
def test_an_authorisation_lacking_anything_is_refused(field):
    document = example()
    del document["authorisation"][field]
    if field == "review":  # has one value only, which may be left out
        assert decode(msgspec.json.encode(document)).authorisation.review == "human-before-action"
        return
    with pytest.raises(FormatError, match=field):
        decode(msgspec.json.encode(document))


def test_an_oversize_list_is_not_parsed(monkeypatch):
    monkeypatch.setattr(limits, "MAX_SNAPSHOT_BYTES", 10)
    with pytest.raises(FormatError, match="at most 10"):
        decode(msgspec.json.encode(example()))


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
