"""The device's client certificate and the key of it: asked for, received, tried, taken over.

In the folder `tls` of the state, all of mode 0600:

    client.pem    the certificate in use and its key, in one file: both change in one rename
    next.key      key of the certificate that is asked for; made here, never leaves the device
    request.json  what is asked, as it was first sent: the same after a restart
    next.pem      what was received and verified, until the broker has taken it

A power cut between any two steps leaves what is in use as it was, and the rest to be done again.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge import limits
from edge.errors import BadInput, ConfigError, FormatError, KeyRefused, StorageUnavailable
from edge.files import flush_entries, private_folder, read_secret, read_small, write_atomically
from edge.identity import device_key, registration
from edge.protocol import certificate, enrolment

FOLDER, CLIENT = "tls", "client.pem"
_PEM = serialization.Encoding.PEM


class Credentials:
    """What a device shows the broker. For one thread of one process."""

    def __init__(self, state_dir: Path, device: str) -> None:
        """Look at what is there.

        Args:
            state_dir: private folder of the device.
            device: its id.

        Raises:
            StorageUnavailable: the folder cannot be made.
            ConfigError: a file is open to others, or damaged.
        """
        self._state, self._device = state_dir, device
        folder = private_folder(state_dir / FOLDER)
        self.client = folder / CLIENT
        self._key, self._request = folder / "next.key", folder / "request.json"
        self.next = folder / "next.pem"
        if self._key.exists() and self.client.exists():
            used = certificate.public_bytes(read(self.client).public_key())
            if used == certificate.public_bytes(_private(self._key).public_key()):
                self._tidy()  # taken over, and then the power went

    def asked(self) -> bytes | None:
        """Return the request that waits for an answer; None if there is none.

        Raises:
            StorageUnavailable: it cannot be read.
        """
        try:
            return read_small(self._request, limits.MAX_ENROLMENT_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnavailable(f"{self._request}: cannot be read: {error}") from error

    def ask(self, token: str = "") -> bytes:
        """Make a new key, and return a request for a certificate of it; that which waits, if any.

        Args:
            token: the one-time token, if there is one.

        Raises:
            ConfigError: a key is open to others, or damaged.
            StorageUnavailable: the disk takes it not.
        """
        waiting = self.asked()
        if waiting is not None:
            return waiting
        if self._key.exists():  # the power went before the request was written
            key = _private(self._key)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            write_atomically(self._key, _pem(key))
        described = registration(self._state, self._device)
        request = enrolment.make_request(described, device_key(self._state), key, token)
        write_atomically(self._request, request)
        return request

    def receive(self, answer: bytes, authorities: Path, now: float) -> x509.Certificate | None:
        """Verify an answer and keep its certificate as `next`, to be tried.

        Args:
            answer: as it came.
            authorities: PEM file; one of them must have signed it.
            now: seconds since 1970.

        Returns:
            The certificate; None if the answer is to no request that waits.

        Raises:
            BadInput: refused by the fleet's side, or not what was asked for.
            StorageUnavailable: the disk takes it not.
        """
        said, waiting = enrolment.read_answer(answer), self.asked()
        if waiting is None or said.request != enrolment.read_request(waiting).digest:
            return None
        if said.refused:
            raise KeyRefused(f"no certificate for {self._device!r}: {said.refused}")
        key = _private(self._key)
        found = certificate.read(said.certificate.encode())
        certificate.check(
            found,
            name=self._device,
            key=key.public_key(),
            authorities=read_authorities(authorities),
            now=now,
        )
        write_atomically(self.next, found.public_bytes(_PEM) + _pem(key))
        return found

    def take_over(self) -> None:
        """Use `next` from now on, and forget what it replaces.

        Raises:
            StorageUnavailable: the disk takes it not; the old one stays in use.
        """
        try:
            self.next.replace(self.client)
            flush_entries(self.client.parent)
        except OSError as error:
            raise StorageUnavailable(f"{self.client}: cannot be replaced: {error}") from error
        self._tidy()

    def drop(self) -> None:
        """Withdraw what waits: the next request is of another key.

        Raises:
            StorageUnavailable: the disk takes it not.
        """
        self._tidy()

    def _tidy(self) -> None:
        try:
            for file in (self.next, self._request, self._key):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"{file}: cannot be removed: {error.strerror}") from error


def read(file: Path) -> x509.Certificate:
    """Return the certificate in a file, which may hold its key as well.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        return certificate.read(read_small(file, limits.MAX_KEY_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    except FormatError as error:
        raise ConfigError(f"{file}: {error}") from error


def read_authorities(file: Path) -> list[x509.Certificate]:
    """Return the authorities in a file.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        return certificate.read_all(read_small(file, limits.MAX_AUTHORITIES_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error
    except BadInput as error:
        raise ConfigError(f"{file}: {error}") from error


def _private(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_secret(file), None)
    except OSError as error:
        raise StorageUnavailable(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{file}: no private key in it: {error}; remove it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{file}: not a P-256 key; remove it")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
