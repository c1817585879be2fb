"""Keys in files: the device's own, made on first use, and the public keys of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge import limits
from edge.errors import ConfigError, StorageUnavailable
from edge.files import read_secret, read_small, write_atomically
from edge.protocol.party import Party, encode, party

KEY, PUBLIC = "device.key", "device.pub"
OPENING_KEY, REGISTRATION = "device-open.key", "device.json"
_PEM = serialization.Encoding.PEM


def device_key(state_dir: Path) -> Ed25519PrivateKey:
    """Return the device's signing key; make it, and `device.pub` beside it, on first use.

    Raises:
        ConfigError: the key file is open to others, or holds no Ed25519 key.
        StorageUnavailable: it cannot be written.
    """
    path = state_dir / KEY
    key = _own_key(path, Ed25519PrivateKey.generate)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    write_public_key(state_dir / PUBLIC, key.public_key())
    return key


def opening_key(state_dir: Path) -> X25519PrivateKey:
    """Return the key that opens what is sealed for this device; made on first use.

    Raises:
        ConfigError: the key file is open to others, or holds no X25519 key.
        StorageUnavailable: it cannot be written.
    """
    path = state_dir / OPENING_KEY
    key = _own_key(path, X25519PrivateKey.generate)
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path}: not an X25519 key")
    return key


def registration(state_dir: Path, device_id: str) -> Party:
    """Return the device's public keys, and write them to `device.json` for the fleet to register.

    Raises:
        ConfigError, StorageUnavailable: as for the keys.
    """
    described = party(
        device_id, device_key(state_dir).public_key(), opening_key(state_dir).public_key()
    )
    content, path = encode(described), state_dir / REGISTRATION
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content, mode=0o644)
    return described


def _own_key(
    path: Path, make: Callable[[], Ed25519PrivateKey | X25519PrivateKey]
) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(read_secret(path), None)
    except FileNotFoundError:
        key = make()
        private = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(path, private)
        return key
    except OSError as error:
        raise StorageUnavailable(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no private key in it: {error}") from error


def write_public_key(path: Path, key: Ed25519PublicKey) -> None:
    """Write a public key as PEM, readable by all, unless it is there already."""
    content = key.public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content, mode=0o644)


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Return the Ed25519 public key in a PEM file.

    Raises:
        ConfigError: it cannot be read, or holds no such key.
    """
    try:
        key = serialization.load_pem_public_key(read_small(path, limits.MAX_KEY_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no public key in it: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: not an Ed25519 public key")
    return key
