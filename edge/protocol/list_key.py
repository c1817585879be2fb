"""The key of a list: what commits to it, and how it reaches one device and nobody else.

A list is encrypted under one random AES-256 key that stays the same over versions, so that what
did not change need not be sent again. It is replaced when a device is removed. The signed
metadata of a list holds `commitment(key)`; a device takes no other key. Each device gets the key
in an HPKE message (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) that only it can open and that is
bound to the list, the key and the device.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TypeGuard

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edge.errors import KeyRefused

KEY_BYTES = 32
WRAPPED_BYTES = 32 + KEY_BYTES + 16
"""Encapsulated key, key, tag."""

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_key() -> bytes:
    """Return a random key of 32 bytes."""
    return secrets.token_bytes(KEY_BYTES)


def commitment(key: bytes) -> str:
    """Return what stands for a key in public: a SHA-256, hex. A key is random: it tells nothing."""
    return hashlib.sha256(b"lethe list key commitment/1\0" + key).hexdigest()


def is_commitment(value: object) -> TypeGuard[str]:
    """Whether something that was signed has the form of a `commitment`: it is part of a topic."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def wrap(key: bytes, *, list_id: str, device: str, public: X25519PublicKey) -> bytes:
    """Return the key of a list as only `device` can open it, `WRAPPED_BYTES` long."""
    return bytes(_SUITE.encrypt(key, public, info=_info(list_id, commitment(key), device)))


def unwrap(
    wrapped: bytes, *, committed: str, list_id: str, device: str, private: X25519PrivateKey
) -> bytes:
    """Return the key of a list.

    Args:
        wrapped: from `wrap`, as the broker delivered it.
        committed: the commitment that is signed for this list.
        list_id: name of the list.
        device: id of this device.
        private: its key.

    Raises:
        KeyRefused: not made for this list, key and device, or another key than the signed one.
    """
    if len(wrapped) != WRAPPED_BYTES:
        raise KeyRefused(f"wrapped key of {len(wrapped)} bytes, {WRAPPED_BYTES} are expected")
    try:
        key = _SUITE.decrypt(wrapped, private, info=_info(list_id, committed, device))
    except (InvalidTag, ValueError) as error:
        raise KeyRefused(
            f"the key of list {list_id!r} was not wrapped for device {device!r} and this version"
        ) from error
    if not secrets.compare_digest(commitment(bytes(key)), committed):
        raise KeyRefused(f"the key of list {list_id!r} is another one than the signed one")
    return bytes(key)


def _info(list_id: str, committed: str, device: str) -> bytes:
    return "\0".join(("lethe list key/1", list_id, committed, device)).encode()
