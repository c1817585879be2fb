"""Keys that sign what the fleet publishes: encrypted files, or tokens through PKCS#11.

A key is one or two files with a name in common:

    NAME.pub   public key as in TUF metadata, JSON; may go anywhere
    NAME.key   private Ed25519 key, PKCS#8 PEM, mode 0600, encrypted where a passphrase is given
    NAME.hsm   instead of it: the address of a key on a token, as securesystemslib writes it
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from securesystemslib.exceptions import KeyMismatchError, UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, Signer, SSlibKey

from edge import limits
from edge.errors import ConfigError
from edge.files import private_folder, read_secret, read_small, write_atomically
from edge.protocol import party
from edge.protocol.party import Party, SigningKey

SIGNER_FILE = "signer.json"
PASSPHRASE_FILE, PIN_FILE = "LETHE_OWNER_PASSPHRASE_FILE", "LETHE_PIN_FILE"
"""Environment variables that name files."""
_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def make_key(path: Path, passphrase: bytes | None) -> SSlibKey:
    """Make an Ed25519 key in `path`.key and `path`.pub and return the public one.

    Raises:
        ConfigError: there is one already.
        StorageUnavailable: it cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    _write_private(path.with_name(f"{path.name}.key"), private, passphrase)
    public = SSlibKey.from_crypto(private.public_key())
    write_public(path, public)
    return public


def write_public(path: Path, key: SSlibKey) -> None:
    """Write a public key to `path`.pub."""
    content = msgspec.json.format(msgspec.json.encode(describe(key))) + b"\n"
    write_atomically(path.with_name(f"{path.name}.pub"), content, mode=0o644)


def describe(key: SSlibKey) -> SigningKey:
    """Return a key in the form that it has in files and metadata."""
    return SigningKey(keytype=key.keytype, scheme=key.scheme, keyval=dict(key.keyval))


def read_public(file: Path) -> SSlibKey:
    """Return the public key in a .pub file.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        content = read_small(file, limits.MAX_KEY_FILE_BYTES)
        return public_key(msgspec.json.decode(content, type=SigningKey))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{file}: no public key in it: {error}") from error


def public_key(described: SigningKey) -> SSlibKey:
    """Return a key with its id, which follows from its content.

    Raises:
        ConfigError: of a kind that is not used here, or no key.
    """
    try:
        value = described.keyval["public"]
        key = SSlibKey.from_crypto(
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(value))
            if described.keytype == "ed25519"
            else serialization.load_pem_public_key(value.encode())
        )
    except (KeyError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"no public key: {error}") from error
    if (key.keytype, key.scheme) != (described.keytype, described.scheme):
        raise ConfigError(f"key of kind {described.keytype}/{described.scheme} is not used here")
    return key


class Keyring:
    """The private keys in a folder, found by the ids of their public ones."""

    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        """Look which keys there are; none is opened yet.

        Raises:
            ConfigError: a public key is damaged.
        """
        self._folder = folder
        self._passphrase = passphrase
        self._signers: dict[str, Signer] = {}
        self._places: dict[str, tuple[Path, SSlibKey]] = {}
        for file in sorted(folder.glob("*.pub")) if folder.is_dir() else []:
            key = read_public(file)
            for private in (file.with_suffix(".key"), file.with_suffix(".hsm")):
                if private.exists():
                    self._places[key.keyid] = (private, key)

    def again(self) -> Keyring:
        """Return the keys that are in the folder now."""
        return Keyring(self._folder, self._passphrase)

    def signers(self, keyids: Iterable[str], most: int | None = None) -> list[Signer]:
        """Return who of `keyids` can sign here, at most so many.

        Raises:
            ConfigError: a key is open to others, damaged, or the passphrase is wrong.
        """
        here = [keyid for keyid in keyids if keyid in self._places][:most]
        return [self._signer(keyid) for keyid in here]

    def file(self, keyids: Iterable[str]) -> Path | None:
        """Return the file of the first of `keyids` that is here in one; None if none is."""
        files = (self._places[keyid][0] for keyid in keyids if keyid in self._places)
        return next((path for path in files if path.suffix == ".key"), None)

    def _signer(self, keyid: str) -> Signer:
        if keyid not in self._signers:
            path, public = self._places[keyid]
            self._signers[keyid] = (
                _token(path, public)
                if path.suffix == ".hsm"
                else _key_file(path, public, self._passphrase)
            )
        return self._signers[keyid]


def read_ed25519(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    """Return an Ed25519 key in a file.

    Raises:
        ConfigError: missing, open to others, damaged, no Ed25519 key, or the passphrase is wrong.
    """
    key = _read_private(path, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key")
    return key


def import_token(path: Path, hsm_keyid: int) -> SSlibKey:
    """Have a key on a PKCS#11 token sign as `path`; PYKCS11LIB names the token's module.

    Raises:
        ConfigError: no support for tokens is installed, or no such key is on the token.
    """
    try:
        uri, public = HSMSigner.import_(hsm_keyid)
    except UnsupportedLibraryError as error:
        raise ConfigError(
            "tokens need one package more: .venv/bin/python -m pip install python-pkcs11"
        ) from error
    except ValueError as error:
        raise ConfigError(f"token: {error}") from error
    write_atomically(path.with_name(f"{path.name}.hsm"), uri.encode())
    write_public(path, public)
    return public


def _key_file(path: Path, public: SSlibKey, passphrase: bytes | None) -> Signer:
    key = read_ed25519(path, passphrase)
    try:
        return CryptoSigner(key, public)
    except KeyMismatchError as error:
        raise ConfigError(f"{path}: not the private key of the .pub file beside it") from error


def _token(path: Path, public: SSlibKey) -> Signer:
    uri = read_secret(path).decode()

    def pin(_what: str) -> str:
        secret = _secret_file(os.environ.get(PIN_FILE))
        if secret is None:
            raise ConfigError(f"{path}: put the token's PIN into a file and name it in {PIN_FILE}")
        return secret.decode()

    try:
        return HSMSigner.from_priv_key_uri(uri, public, pin)
    except (UnsupportedLibraryError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


# --- People who sign lists -----------------------------------------------------------------------


def make_signer(folder: Path, name: str, passphrase: bytes | None) -> Party:
    """Make the keys of someone who signs: one to sign, one to open requests.

    Raises:
        ConfigError: the folder holds a signer already.
        StorageUnavailable: it cannot be written.
    """
    if (folder / SIGNER_FILE).exists():
        raise ConfigError(f"{folder}: holds a signer already; nothing was changed")
    private_folder(folder)
    signing = make_key(folder / "sign", passphrase)
    opening = X25519PrivateKey.generate()
    _write_private(folder / "open.key", opening, passphrase)
    made = Party(
        name=name, sign=describe(signing), open=opening.public_key().public_bytes_raw().hex()
    )
    write_atomically(folder / SIGNER_FILE, party.encode(made), mode=0o644)
    return made


def read_party(file: Path) -> Party:
    """Return the public keys in a device.json or signer.json.

    Raises:
        ConfigError: it cannot be read.
        FormatError: it holds none.
    """
    try:
        return party.decode(read_small(file, limits.MAX_KEY_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error


def read_opening_key(folder: Path, passphrase: bytes | None) -> X25519PrivateKey:
    """Return the key in a signer's folder that opens requests.

    Raises:
        ConfigError: missing, open to others, damaged, or the passphrase is wrong.
    """
    path = folder / "open.key"
    key = _read_private(path, passphrase)
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path}: not an X25519 key")
    return key


def read_passphrase(file: Path | None) -> bytes | None:
    """Return the passphrase that a file (or LETHE_OWNER_PASSPHRASE_FILE) holds, or None.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    return _secret_file(file or os.environ.get(PASSPHRASE_FILE))


def _secret_file(name: Path | str | None) -> bytes | None:
    if not name:
        return None
    try:
        passphrase = read_secret(Path(name)).strip()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if not passphrase:
        raise ConfigError(f"{name}: is empty; put the passphrase in its first line")
    return passphrase


def _write_private(
    path: Path, key: Ed25519PrivateKey | X25519PrivateKey, passphrase: bytes | None
) -> None:
    if path.exists():
        raise ConfigError(f"{path}: there already; nothing was changed")
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    write_atomically(path, key.private_bytes(_PEM, _PKCS8, encryption))


def _read_private(path: Path, passphrase: bytes | None) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(read_secret(path), passphrase)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: cannot be opened ({error}); is the passphrase file right?"
        ) from error
