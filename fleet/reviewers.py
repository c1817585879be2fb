"""The reviewers' key: pictures of candidates are sealed to it, and open nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.errors import ConfigError
from edge.files import read_secret, write_atomically

KEY = "reviewers.key"


def make(folder: Path) -> str:
    """Make a key and return its public part as a list names it: 32 bytes in base64.

    Raises:
        ConfigError: there is one already.
        StorageUnavailable: it cannot be written.
    """
    path = folder / KEY
    if path.exists():
        raise ConfigError(f"{path}: there is a key already; nothing was changed")
    key = X25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(path, pem)
    return base64.b64encode(key.public_key().public_bytes_raw()).decode("ascii")


def load(path: Path) -> X25519PrivateKey:
    """Return a reviewers' key.

    Raises:
        ConfigError: it cannot be read, is open to others, or is no X25519 key.
    """
    try:
        key = serialization.load_pem_private_key(read_secret(path), None)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no private key in it: {error}") from error
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path}: not an X25519 key")
    return key
