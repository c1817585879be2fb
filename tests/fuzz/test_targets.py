"""The targets of the fuzzer, with mutations of messages that are taken: see `python -m fuzz`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_taken(name):
    target, seeds = TARGETS[name]
    for seed in seeds:
        target(seed)


@st.composite
def mutated(draw, seeds):
    """A message that is taken, with pieces replaced, left out or doubled."""
    message = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(message)))
        length = draw(st.integers(0, 20))
        piece = draw(
            st.binary(max_size=8)
            | st.sampled_from([b'"', b"{", b"[" * 50, b"1e999", b"NaN", b"-1", b"\\u0000", b"\xff"])
            | st.just(message[at : at + length] * 2)
        )
        message = message[:at] + piece + message[at + length :]
    return message


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_or_refused_in_words(name, data):
    target, seeds = TARGETS[name]
    target(data.draw(mutated(seeds) | st.binary(max_size=200)))
