"""Announcements: their form, the order of versions, who goes first; and what devices answer."""

from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.errors import FormatError, SignatureRefused
from edge.protocol import announcement, update
from edge.protocol.announcement import Rollout, Window, percentile, precedence
from tests.update.kit import announced

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
VERSIONS = st.from_regex(
    r"[0-9]{1,4}(\.[0-9]{1,4}){0,2}(-[0-9a-z]{1,3}(\.[0-9a-z]{1,3})?)?", fullmatch=True
)


def test_what_is_written_is_read():
    made = announced(rollout=Rollout(percent=10, steps=(50, 100), stop_after_failures=3))
    assert announcement.decode(announcement.encode(made)) == made


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1.2.3.4"}, {"version": "new"}, {"version": "1.2.3\n"}, {"size": 0},
        {"size": limits.MAX_BUNDLE_BYTES + 1}, {"sha256": "0" * 63}, {"urls": []},
        {"urls": ["http://example.org/b"]}, {"urls": ["https://example.org/a b"]},
        {"compatible": "../x"}, {"compatible": ""}, {"attempt": 0}, {"unknown": 1},
        {"rollout": {"percent": 101}}, {"rollout": {"percent": 50, "steps": [10]}},
        {"rollout": {"percent": 10, "steps": [10]}},
        {"window": {"begin": "24:00", "end": "01:00"}},
        {"window": {"begin": "2:00", "end": "3:00"}},
        {"conditions": ["whenever"]}, {"schema": 2},
    ],
)  # fmt: skip
def test_another_form_is_refused_whole(changes):
    document = msgspec.to_builtins(announced()) | changes
    with pytest.raises(FormatError):
        announcement.decode(msgspec.json.encode(document))


def test_size_is_looked_at_first():
    with pytest.raises(FormatError, match="bytes"):
        announcement.decode(b"[" * (limits.MAX_ANNOUNCEMENT_BYTES + 1))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_anything_else_is_refused_in_words(content):
    with pytest.raises(FormatError):
        announcement.decode(content)


def test_versions_are_ordered_as_the_standard_says():
    rising = [
        "0", "0.0.1", "0.2", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
        "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-1", "1.0.1",
    ]  # fmt: skip
    keys = [precedence(version) for version in rising]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert precedence("1") == precedence("1.0") == precedence("1.0.0")


@given(VERSIONS, VERSIONS)
def test_any_two_versions_compare(one, other):
    assert (precedence(one) < precedence(other)) + (precedence(other) < precedence(one)) <= 1


@given(st.text(min_size=1, max_size=20), st.text(alphabet="0123456789abcdef", min_size=64))
def test_a_device_has_one_place_in_a_rollout(device, sha256):
    place = percentile(device, sha256)
    assert 0 <= place < 100
    assert place == percentile(device, sha256)


def test_a_tenth_of_the_devices_goes_first_and_another_tenth_next_time():
    devices = [f"camera-{i}" for i in range(4000)]
    first, second = ({d for d in devices if percentile(d, h * 64) < 10} for h in "ab")
    assert 300 < len(first) < 500
    assert len(first & second) < len(first) / 2


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_and_what_is_left_of_the_day(begin, end, minute):
    def written(moment):
        return f"{moment // 60:02d}:{moment % 60:02d}"

    one = Window(begin=written(begin), end=written(end))
    rest = Window(begin=written(end), end=written(begin))
    assert one.holds(minute) != rest.holds(minute) or begin == end
    if begin == end:
        assert one.holds(minute)


def said(**changes):
    software = update.Software(state="waiting", version="1.0.0", target="1.1.0", reason="a list")
    fields = {"device": "gate-3", "time": datetime(2026, 5, 4, tzinfo=UTC), "software": software}
    return update.Update(**(fields | changes))


def test_what_a_device_says_is_signed_by_it():
    message = update.encode(said(), KEY)
    read = update.decode(message, "gate-3", [KEY.public_key()])
    assert msgspec.structs.replace(read, signature="") == said()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (update.encode(said(), OTHER), SignatureRefused),
        (update.encode(said(device="gate-4"), KEY), SignatureRefused),
        (update.encode(said(), KEY).replace(b"waiting", b"current"), SignatureRefused),
        (msgspec.json.encode(said()), SignatureRefused),
        (b"{}", FormatError),
        (b"\xff", FormatError),
        (b" " * (limits.MAX_STATUS_BYTES + 1), FormatError),
    ],
    ids=["another key", "another device", "altered", "unsigned", "empty", "no JSON", "too large"],
)
def test_what_others_say_for_it_is_refused(message, error):
    with pytest.raises(error):
        update.decode(message, "gate-3", [KEY.public_key()])
