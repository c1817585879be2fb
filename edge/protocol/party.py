"""The public keys of a device or of a person who signs, as one file: what others register.

The signing key is in the form that TUF metadata holds keys in, so that a person's may lie on a
token that has no Ed25519.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol.watchlist import Name


class SigningKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key as in TUF metadata (specification 4.2)."""

    keytype: str
    scheme: str
    keyval: dict[str, str]


class Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whoever holds keys.

    Attributes:
        name: id of the device, or what a signer is called.
        sign: verifies what they sign.
        open: X25519, hex; seals what only they may open.
    """

    name: Name
    sign: SigningKey
    open: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

    @property
    def opening_key(self) -> X25519PublicKey:
        """The key that seals for them."""
        return X25519PublicKey.from_public_bytes(bytes.fromhex(self.open))

    @property
    def device_key(self) -> Ed25519PublicKey:
        """The key that verifies a device's events.

        Raises:
            FormatError: not an Ed25519 key.
        """
        try:
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.sign.keyval["public"]))
        except (KeyError, ValueError) as error:
            raise FormatError(f"{self.name}: no Ed25519 key: {error}") from error


def party(name: str, sign: Ed25519PublicKey, opening: X25519PublicKey) -> Party:
    """Return the public keys of someone who signs with Ed25519."""
    return Party(
        name=name,
        sign=SigningKey(
            keytype="ed25519",
            scheme="ed25519",
            keyval={"public": sign.public_bytes_raw().hex()},
        ),
        open=opening.public_bytes_raw().hex(),
    )


def encode(described: Party) -> bytes:
    """Return the content of the file."""
    return msgspec.json.format(msgspec.json.encode(described)) + b"\n"


def decode(content: bytes) -> Party:
    """Read such a file.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    if len(content) > limits.MAX_KEY_FILE_BYTES:
        raise FormatError(f"{len(content)} bytes are no public keys")
    try:
        return msgspec.json.decode(content, type=Party)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"no public keys in the documented form: {error}") from error
