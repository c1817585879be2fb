"""The picture of a candidate, sealed so that only the reviewers whom the list names can open it.

HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, AES-256-GCM), bound to the candidate's event.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edge.errors import FormatError, KeyRefused
from edge.protocol.event import Picture, picture_info

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def recipient(reviewers: bytes) -> str:
    """Return how a reviewers' public key is named: 16 hex digits of its SHA-256."""
    return hashlib.sha256(reviewers).hexdigest()[:16]


def seal(jpeg: bytes, *, reviewers: bytes, candidate: str, entry: str) -> Picture:
    """Seal a picture.

    Args:
        jpeg: at most `limits.PICTURE_MAX_BYTES`.
        reviewers: raw X25519 public key, 32 bytes.
        candidate: id of the candidate's event.
        entry: id of the entry.

    Raises:
        FormatError: the key is none that anything can be sealed to.
    """
    try:
        public = X25519PublicKey.from_public_bytes(reviewers)
        sealed = bytes(_SUITE.encrypt(jpeg, public, info=picture_info(candidate)))
    except ValueError as error:
        raise FormatError(f"the reviewers' key of the list cannot be used: {error}") from error
    return Picture(candidate=candidate, entry=entry, recipient=recipient(reviewers), sealed=sealed)


def unseal(picture: Picture, key: X25519PrivateKey) -> bytes:
    """Return the JPEG in a sealed picture.

    Raises:
        KeyRefused: it was sealed to another key, for another candidate, or altered.
    """
    try:
        return bytes(_SUITE.decrypt(picture.sealed, key, info=picture_info(picture.candidate)))
    except (InvalidTag, ValueError) as error:
        raise KeyRefused(
            f"the picture of {picture.candidate} does not open with this key"
        ) from error
