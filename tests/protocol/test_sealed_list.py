"""A list as it travels: opens to what was sealed, in small changes, and not at all if altered."""

import contextlib
import hashlib
import json
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import AlterationRefused, BadInput, FormatError
from edge.protocol import sealed_list
from edge.protocol.list_key import new_key
from edge.protocol.sealed_list import (
    OVERHEAD,
    Head,
    check_piece,
    open_head,
    open_list,
    rows_a_segment,
    seal_list,
)
from edge.protocol.watchlist import Entry, Template, quantise, row_dtype
from tests.watchlist.test_authorisation import LIST

KEY = new_key()
DIMENSION = 16
replace = msgspec.structs.replace


def entry(number, count=1, **changes):
    rng = np.random.default_rng([number % 2**32, count])
    vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
    templates = [quantise(v / np.linalg.norm(v)) for v in vectors]
    fields = {
        "id": f"{number:032x}",
        "not_before": 5,
        "not_after": 2**32 - 1,
        # the wire has float32 scales
        "templates": [replace(t, scale=float(np.float32(t.scale))) for t in templates],
    }
    return Entry(**(fields | changes))


def listing(*entries, **changes):
    return replace(LIST, entries=sorted(entries, key=lambda e: e.id), **changes)


def people(count, seed=1):
    """Entries with random ids, as an owner draws them."""
    draw = random.Random(seed)
    return [entry(draw.getrandbits(128)) for _ in range(count)]


def opened(parts, key=KEY, list_id="gate"):
    return open_list(parts.head, parts.pieces, key, list_id)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 2**128 - 1), max_size=300, unique=True),
    st.integers(1, limits.MAX_TEMPLATES_PER_ENTRY),
    st.integers(2, 20),
)
def test_what_is_opened_is_what_was_sealed_whatever_the_ids(numbers, templates, rows):
    original = limits.SEGMENT_BYTES
    limits.SEGMENT_BYTES = rows * row_dtype(DIMENSION).itemsize
    try:
        watchlist = listing(*(entry(n, templates) for n in numbers))
        assert opened(seal_list(watchlist, KEY)) == watchlist
    finally:
        limits.SEGMENT_BYTES = original


def test_others_have_their_turn_while_a_long_list_is_read(monkeypatch):
    monkeypatch.setattr(limits, "INDEX_STEP_ENTRIES", 100)
    monkeypatch.setattr(limits, "SEGMENT_BYTES", 10 * row_dtype(DIMENSION).itemsize)
    sealed, turns = seal_list(listing(*people(450)), KEY), []
    open_list(sealed.head, sealed.pieces, KEY, "gate", between=lambda: turns.append(1))
    assert len(turns) == 4


def test_entries_whose_ids_differ_in_the_last_bit_only_are_told_apart():
    count = 3 * rows_a_segment(DIMENSION)
    watchlist = listing(*(entry(i) for i in range(count)))
    assert opened(seal_list(watchlist, KEY)) == watchlist


def test_nothing_of_a_list_can_be_read_without_its_key():
    watchlist = listing(*people(100))
    parts = seal_list(watchlist, KEY)
    everything = parts.head + b"".join(parts.pieces.values())
    for secret in (b"court 12/2026", b"court-order", b"camera-1", b"gate"):
        assert secret not in everything
    for person in watchlist.entries:
        assert bytes.fromhex(person.id) not in everything
        assert person.templates[0].vector not in everything
    with pytest.raises(AlterationRefused, match="with its key"):
        opened(parts, new_key())


@pytest.mark.parametrize("count", [0, 1, 99, 1_000])
def test_one_entry_more_or_less_changes_one_segment_or_one_and_its_half(count):
    before = people(count + 1)
    first = seal_list(listing(*before[:-1]), KEY)
    for changed in (before, before[1:-1]):
        after = seal_list(listing(*changed, version=8), KEY, kept=first.pieces.values())
        new = [piece for name, piece in after.pieces.items() if name not in first.pieces]
        assert len(new) <= 2
        most = rows_a_segment(DIMENSION) * row_dtype(DIMENSION).itemsize
        assert sum(map(len, new)) <= most + row_dtype(DIMENSION).itemsize + 2 * OVERHEAD
        assert opened(after) == listing(*changed, version=8)


def test_the_same_list_again_keeps_every_piece_and_under_another_key_none():
    watchlist = listing(*people(400))
    first = seal_list(watchlist, KEY)
    assert seal_list(watchlist, KEY, kept=first.pieces.values()).pieces == first.pieces
    other = seal_list(watchlist, new_key(), kept=first.pieces.values())
    assert not set(other.pieces) & set(first.pieces)


@pytest.mark.parametrize("count", [100, 1_000, 10_000])
def test_a_segment_and_the_head_stay_small_enough_for_a_small_change(count):
    """128 dimensions: both together leave room for metadata within 24 KB."""
    template = Template(scale=1 / 127, vector=bytes([127]) + bytes(127))
    draw = random.Random(count)
    people = [
        Entry(id=f"{draw.getrandbits(128):032x}", not_before=0, not_after=9, templates=[template])
        for _ in range(count)
    ]
    parts = seal_list(replace(LIST, dimension=128, entries=people), KEY)
    largest = max(map(len, parts.pieces.values()))
    assert len(parts.head) + largest < 19_000
    assert len(parts.head) + sum(map(len, parts.pieces.values())) < 1.03 * 156 * count + 2_000


# --- What is refused -----------------------------------------------------------------------------

PARTS = seal_list(listing(*people(500)), KEY)
OTHER = seal_list(listing(*people(500, seed=2), id="other"), KEY)
SEGMENT = open_head(PARTS.head, KEY, "gate").segment_names[1]


@given(st.data())
def test_an_altered_or_shortened_piece_is_refused(data):
    name = data.draw(st.sampled_from(sorted(PARTS.pieces)))
    piece = bytearray(PARTS.pieces[name])
    at = data.draw(st.integers(0, len(piece) - 1))
    if data.draw(st.booleans()):
        piece[at] ^= data.draw(st.integers(1, 255))
    else:
        del piece[at:]
    with pytest.raises(AlterationRefused, match="SHA-256"):
        open_list(PARTS.head, PARTS.pieces | {name: bytes(piece)}, KEY, "gate")


@given(
    st.binary(max_size=400) | st.integers(0, len(PARTS.head)).map(lambda n: PARTS.head[:n] + b"x")
)
def test_garbage_for_a_head_is_refused(garbage):
    with pytest.raises(BadInput):
        open_head(garbage, KEY, "gate")


def test_a_missing_piece_is_named():
    pieces = {name: piece for name, piece in PARTS.pieces.items() if name != SEGMENT}
    with pytest.raises(AlterationRefused, match=f"{SEGMENT[:16]} .* is missing"):
        open_list(PARTS.head, pieces, KEY, "gate")


def test_oversize_parts_are_refused_before_they_are_hashed_or_opened():
    with pytest.raises(FormatError, match="at most 1048576"):
        check_piece(SEGMENT, bytes(limits.MAX_PIECE_BYTES + 1))
    with pytest.raises(FormatError, match="at most 262144"):
        open_head(bytes(limits.MAX_HEAD_BYTES + 1), KEY, "gate")


def test_one_list_does_not_pass_for_another_even_under_one_key():
    with pytest.raises(AlterationRefused, match="list 'gate'"):
        open_head(OTHER.head, KEY, "gate")


def forged(
    content, *, kind=b"segment", dimension=DIMENSION, segments=None, list_id="gate", basis=None
):
    """A list that was rightly sealed with nonsense in it, as only its owner could."""

    def sealed(kind, plain):
        piece = sealed_list._seal(kind, plain, KEY, list_id)
        return hashlib.sha256(piece).digest(), piece

    plain = msgspec.to_builtins(LIST.authorisation) if basis is None else basis
    authorisation = sealed(b"authorisation", msgspec.json.encode(plain))
    pieces = [sealed(kind, part) for part in content]
    head = Head(
        id="gate", version=1, issued=1, expires=2, embedder="e", dimension=dimension,
        authorisation=authorisation[0],
        segments=segments if segments is not None else b"".join(name for name, _ in pieces),
    )  # fmt: skip
    return sealed_list._seal(b"head", msgspec.msgpack.encode(head), KEY, "gate"), {
        name.hex(): piece for name, piece in [authorisation, *pieces]
    }


def table(*numbers, **changes):
    rows = np.zeros(len(numbers), row_dtype(DIMENSION))
    rows["vector"][:, 0], rows["scale"], rows["not_after"] = 100, 0.01, 9
    for row, number in zip(rows, numbers, strict=True):
        row["id"] = list(number.to_bytes(16, "big"))
    for field, value in changes.items():
        rows[field][-1] = value
    return rows.tobytes()


def test_the_forger_of_these_tests_can_make_a_good_list():
    found = open_list(*forged([table(1, 2, 2), table(5)]), KEY, "gate")
    assert [(int(e.id, 16), len(e.templates)) for e in found.entries] == [(1, 1), (2, 2), (5, 1)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([table(1, 2)[:-1]], "not whole rows"),
        ([b""], "not whole rows"),
        ([table(*range(rows_a_segment(DIMENSION) + 1))], "more than a segment holds"),
        ([table(1, scale=np.nan)], "scale is not in"),
        ([table(1, scale=np.inf)], "scale is not in"),
        ([table(1, scale=0)], "scale is not in"),
        ([table(1, scale=-0.01)], "scale is not in"),
        ([table(1, scale=0.5)], "not of length 1"),
        ([table(1, vector=np.zeros(DIMENSION, np.int8))], "not of length 1"),
        ([table(2, 1)], "out of order"),
        ([table(1, 2, 1)], "out of order"),
        ([table(1, 1, not_after=7)], "two validities"),
        ([table(*[1] * 9)], "too many templates"),
        ([table(1, 2), table(2, 3, not_after=7), table(5, 4)], "out of order"),
        ([table(4), table(1)], "out of order"),
    ],
)
def test_rows_that_no_owner_makes_are_refused_by_name(content, reason):
    with pytest.raises(FormatError, match=reason):
        open_list(*forged(content), KEY, "gate")


def test_what_no_owner_seals_is_refused_by_name():
    with pytest.raises(FormatError, match="not whole hashes"):
        open_list(*forged([], segments=b"x" * 33), KEY, "gate")
    with pytest.raises(FormatError, match="named twice"):
        open_list(*forged([], segments=b"x" * 64), KEY, "gate")
    with pytest.raises(AlterationRefused, match="not sealed as this part"):
        open_list(*forged([table(1)], kind=b"authorisation"), KEY, "gate")
    with pytest.raises(AlterationRefused, match="not sealed as this part of list 'gate'"):
        open_list(*forged([table(1)], list_id="other"), KEY, "gate")
    with pytest.raises(FormatError, match="not in the documented form"):
        open_list(*forged([], dimension=7), KEY, "gate")


BASIS = msgspec.to_builtins(LIST.authorisation)


@pytest.mark.parametrize("field", sorted(BASIS))
def test_an_authorisation_lacking_anything_is_refused(field):
    head, pieces = forged([], basis={k: v for k, v in BASIS.items() if k != field})
    if field in ("review", "reviewers"):  # one has one value only, the other may be left out
        assert open_list(head, pieces, KEY, "gate").authorisation == LIST.authorisation
        return
    with pytest.raises(FormatError, match=f"authorisation .*{field}"):
        open_list(head, pieces, KEY, "gate")


@given(
    st.sampled_from(sorted(BASIS)),
    st.none() | st.integers() | st.text() | st.lists(st.none()) | st.floats(),
)
def test_any_value_in_any_field_is_read_or_refused(field, value):
    with contextlib.suppress(FormatError):
        found = open_list(*forged([], basis=BASIS | {field: value}), KEY, "gate")
        assert getattr(found.authorisation, field) == json.loads(msgspec.json.encode(value))


@pytest.mark.parametrize("purpose", ["public-order", "", "Court-Order"])
def test_no_other_purpose_can_be_named(purpose):
    with pytest.raises(FormatError, match="purpose"):
        open_list(*forged([], basis=BASIS | {"purpose": purpose}), KEY, "gate")


def test_an_authorisation_says_nothing_that_is_not_documented():
    with pytest.raises(FormatError, match="unknown field"):
        open_list(*forged([], basis=BASIS | {"note": "x"}), KEY, "gate")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry(1), entry(1)], "occurs twice"),
        ([entry(1, templates=[])], "0 templates"),
        ([entry(1, 9)], "9 templates"),
        ([entry(1, not_after=2**32)], "2106"),
    ],
)
def test_what_devices_would_refuse_is_not_sealed(entries, reason):
    with pytest.raises(FormatError, match=reason):
        seal_list(listing(*entries), KEY)


def test_a_list_too_large_for_its_head_is_not_sealed(monkeypatch):
    monkeypatch.setattr(limits, "MAX_HEAD_BYTES", 200)
    with pytest.raises(FormatError, match="devices read 200"):
        seal_list(listing(*people(2_000)), KEY)
