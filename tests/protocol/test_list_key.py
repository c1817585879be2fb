"""A list's key reaches one device, for one list, in one version, and nobody else."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import KeyRefused
from edge.protocol.list_key import WRAPPED_BYTES, commitment, new_key, unwrap, wrap

KEY, DEVICE = new_key(), X25519PrivateKey.generate()
WRAPPED = wrap(KEY, list_id="gate", device="camera-1", public=DEVICE.public_key())
RIGHT = {
    "committed": commitment(KEY),
    "list_id": "gate",
    "device": "camera-1",
    "private": DEVICE,
}


def test_the_device_opens_what_was_wrapped_for_it():
    assert unwrap(WRAPPED, **RIGHT) == KEY
    assert len(WRAPPED) == WRAPPED_BYTES
    assert KEY not in WRAPPED


@pytest.mark.parametrize(
    "wrong",
    [
        {"committed": commitment(new_key())},
        {"list_id": "other"},
        {"device": "camera-2"},
        {"private": X25519PrivateKey.generate()},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_nothing_else_opens_it(wrong):
    with pytest.raises(KeyRefused, match="was not wrapped for"):
        unwrap(WRAPPED, **(RIGHT | wrong))


def test_a_key_of_the_brokers_own_choice_is_refused():
    """Anyone may wrap for a device: it takes the key that is signed, and no other."""
    swapped = wrap(new_key(), list_id="gate", device="camera-1", public=DEVICE.public_key())
    with pytest.raises(KeyRefused):
        unwrap(swapped, **RIGHT)


@given(st.binary(max_size=200) | st.binary(min_size=WRAPPED_BYTES, max_size=WRAPPED_BYTES))
def test_garbage_is_refused(garbage):
    with pytest.raises(KeyRefused):
        unwrap(garbage, **RIGHT)


def test_zero_bytes_which_make_no_shared_secret_are_refused():
    with pytest.raises(KeyRefused):
        unwrap(bytes(WRAPPED_BYTES), **RIGHT)
