"""The fleet's authority for client certificates: a folder with a key, and a book of what it signed.

    ca.pem        its certificate; brokers and devices are given it
    ca.key        its private key, PKCS#8 PEM, mode 0600, encrypted where a passphrase is given
    book.json     devices and their keys, certificates, what is revoked, invitations; mode 0600
    crl.pem       what is revoked and not yet over, for the broker
    enrol.passwd  one-time passwords of the devices that are expected, hashed, for the broker

It signs nothing but access to a broker. What devices obey is signed by the fleet's keys, and is
none of this one's business: who has stolen it can connect, listen to ciphertext and hold up.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge import limits
from edge.errors import ConfigError, KeyRefused
from edge.files import private_folder, read_secret, read_small, write_atomically
from edge.protocol import certificate, enrolment
from edge.protocol.enrolment import Asked, common_name
from edge.protocol.party import Party

CA, CA_KEY, BOOK = "ca.pem", "ca.key", "book.json"
CRL, PASSWORDS = "crl.pem", "enrol.passwd"
ROLES = ("fleet", "operator", "reader", "reviewer", "authority", "homeassistant")
"""Names that the broker's access list gives rights to: never a device's."""
SERVER = "broker"
_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


class Issued(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate.

    Attributes:
        serial: its number, hex.
        request: digest of the request it answers; empty where there was none.
        ends: seconds since 1970.
        pem: the certificate.
        revoked: when, seconds since 1970; 0: not.
    """

    serial: str
    request: str
    ends: int
    pem: str
    revoked: int = 0


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whoever has certificates.

    Attributes:
        keys: of a device, as it was approved; None for a role or a broker.
        issued: its certificates that are not over.
    """

    keys: Party | None
    issued: tuple[Issued, ...]

    @property
    def out(self) -> bool:
        """Whether it was revoked, and not approved anew."""
        return bool(self.issued) and bool(self.issued[-1].revoked)


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device that is expected: the one-time token it was given, and until when."""

    token: str
    ends: int


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an authority remembers."""

    members: dict[str, Member] = {}
    invitations: dict[str, Invitation] = {}


def create(
    folder: Path, name: str, passphrase: bytes | None, now: Callable[[], float]
) -> x509.Certificate:
    """Make an authority and return its certificate.

    Raises:
        ConfigError: the folder is not empty.
        StorageUnavailable: it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: not empty; nothing was changed")
    private_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = common_name(name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        _builder(subject, subject, key.public_key(), now(), limits.AUTHORITY_LIFETIME_S)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    write_atomically(folder / CA_KEY, key.private_bytes(_PEM, _PKCS8, encryption))
    write_atomically(folder / CA, made.public_bytes(_PEM), mode=0o644)
    authority = Authority(folder, passphrase, now)
    authority.write_crl()
    authority.write_passwords()
    return made


class Authority:
    """An authority's folder. Whoever changes it holds `fleet.folder.locked`."""

    def __init__(self, folder: Path, passphrase: bytes | None, now: Callable[[], float]) -> None:
        """Open it.

        Args:
            folder: from `create`.
            passphrase: of its key, if it has one.
            now: wall clock, seconds since 1970.

        Raises:
            ConfigError: there is none, its key is open to others, or the passphrase is wrong.
        """
        self.folder, self._now = folder, now
        try:
            self.certificate = certificate.read(
                read_small(folder / CA, limits.MAX_AUTHORITIES_BYTES)
            )
            key = serialization.load_pem_private_key(read_secret(folder / CA_KEY), passphrase)
            book = read_small(folder / BOOK, limits.MAX_OWNER_FILE_BYTES)
        except FileNotFoundError as error:
            if error.filename != str(folder / BOOK):
                raise ConfigError(
                    f"{folder}: no authority there; make one: ./lethe authority init {folder}"
                ) from error
            book = b"{}"
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{folder / CA_KEY}: cannot be opened ({error}); is the passphrase file right?"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{folder / CA_KEY}: not a key of an authority")
        self._key = key
        try:
            self.book = msgspec.json.decode(book, type=Book)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{folder / BOOK}: damaged: {error}; restore a copy") from error

    def invite(self, device: str) -> str:
        """Expect a device, and return its new one-time token.

        Raises:
            ConfigError: the name is not a device's to have.
        """
        _check_name(device)
        token = secrets.token_urlsafe(24)
        ends = int(self._now()) + limits.INVITATION_LIFETIME_S
        invitation = Invitation(token=token, ends=ends)
        self._save(invitations={**self.book.invitations, device: invitation})
        self.write_passwords()
        return token

    def invitation(self, device: str) -> str | None:
        """Return the token that a device was given, while it is good."""
        found = self.book.invitations.get(device)
        return found.token if found is not None and self._now() < found.ends else None

    def sign_device(self, asked: Asked) -> str:
        """Sign a device's certificate, and register its keys; the same again for the same request.

        Whether it is to be signed at all is for the caller to know (`fleet.approval`).

        Returns:
            The certificate, PEM.

        Raises:
            ConfigError: the name is not a device's to have.
        """
        _check_name(asked.name)
        member = self.book.members.get(asked.name, Member(keys=None, issued=()))
        for each in member.issued:
            if each.request == asked.digest and not each.revoked and each.ends > self._now():
                return each.pem
        made = self._client(asked.name, asked.csr.public_key())
        self._note(asked.name, asked.request.device, made, asked.digest)
        return made.public_bytes(_PEM).decode("ascii")

    def issue_role(self, role: str) -> bytes:
        """Return a certificate with its new key, PEM, for a machine of the fleet's side.

        Raises:
            ConfigError: there is no such role.
        """
        if role not in ROLES:
            raise ConfigError(f"{role!r}: no role; one of {', '.join(ROLES)}")
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._client(role, key.public_key())
        self._note(role, None, made, "")
        return made.public_bytes(_PEM) + _plain(key)

    def issue_server(self, hosts: list[str]) -> tuple[bytes, bytes]:
        """Return a certificate for a broker, and its new key, both PEM.

        Args:
            hosts: names and addresses by which devices know it.

        Raises:
            ConfigError: none is given, or one is neither.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        except ValueError as error:
            raise ConfigError(f"not a host's name or address: {error}") from error
        if not hosts:
            raise ConfigError("a broker's certificate names at least one host")
        made = self._leaf(
            SERVER, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH,
            limits.SERVER_CERTIFICATE_LIFETIME_S, names,
        )  # fmt: skip
        self._note(SERVER, None, made, "")
        return made.public_bytes(_PEM), _plain(key)

    def revoke(self, name: str) -> int:
        """Revoke every certificate of a device or role, and return how many there were.

        Raises:
            ConfigError: there is none.
        """
        member = self.book.members.get(name)
        if member is None or not any(not each.revoked for each in member.issued):
            raise ConfigError(f"{name!r} has no certificate; see: ./lethe authority list")
        now, count = int(self._now()), sum(not each.revoked for each in member.issued)
        over = tuple(
            each if each.revoked else msgspec.structs.replace(each, revoked=now)
            for each in member.issued
        )
        changed = msgspec.structs.replace(member, issued=over)
        invitations = {k: v for k, v in self.book.invitations.items() if k != name}
        self._save(members={**self.book.members, name: changed}, invitations=invitations)
        self.write_crl()
        self.write_passwords()
        return count

    def write_crl(self) -> Path:
        """Write what is revoked for the broker, and return the file.

        It is valid for as long as the authority: a broker with an old one refuses nobody new, one
        whose list has expired would refuse everybody.
        """
        now = self._now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_time(now))
            .next_update(self.certificate.not_valid_after_utc)
        )
        for member in self.book.members.values():
            for each in member.issued:
                if each.revoked and each.ends > now:
                    builder = builder.add_revoked_certificate(
                        x509.RevokedCertificateBuilder()
                        .serial_number(int(each.serial, 16))
                        .revocation_date(_time(each.revoked))
                        .build()
                    )
        file = self.folder / CRL
        signed = builder.sign(self._key, hashes.SHA256())
        write_atomically(file, signed.public_bytes(_PEM), mode=0o644)
        return file

    def write_passwords(self) -> Path:
        """Write the one-time passwords of who is expected for the broker, and return the file."""
        now, lines = self._now(), []
        for device, each in sorted(self.book.invitations.items()):
            if now < each.ends:
                lines.append(f"{device}:{_hashed(enrolment.password(each.token))}\n")
        file = self.folder / PASSWORDS
        write_atomically(file, "".join(lines).encode("ascii"))
        return file

    def _client(self, name: str, key: CertificatePublicKeyTypes) -> x509.Certificate:
        return self._leaf(
            name, key, ExtendedKeyUsageOID.CLIENT_AUTH, limits.CERTIFICATE_LIFETIME_S, None
        )

    def _leaf(
        self,
        name: str,
        key: CertificatePublicKeyTypes,
        purpose: x509.ObjectIdentifier,
        lifetime: int,
        names: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        ca = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(common_name(name), self.certificate.subject, key, self._now(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca), critical=False
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _note(self, name: str, keys: Party | None, made: x509.Certificate, request: str) -> None:
        """Write down what was signed, before it leaves; what is over is forgotten."""
        now = self._now()
        issued = Issued(
            serial=f"{made.serial_number:x}",
            request=request,
            ends=int(made.not_valid_after_utc.timestamp()),
            pem=made.public_bytes(_PEM).decode("ascii"),
        )
        member = self.book.members.get(name, Member(keys=None, issued=()))
        kept = (*(each for each in member.issued if each.ends > now), issued)
        invitations = {k: v for k, v in self.book.invitations.items() if k != name}
        changed = Member(keys=keys, issued=kept)
        expected = name in self.book.invitations
        self._save(members={**self.book.members, name: changed}, invitations=invitations)
        if expected:
            self.write_passwords()

    def _save(
        self,
        members: dict[str, Member] | None = None,
        invitations: dict[str, Invitation] | None = None,
    ) -> None:
        self.book = Book(
            members=self.book.members if members is None else members,
            invitations=self.book.invitations if invitations is None else invitations,
        )
        content = msgspec.json.format(msgspec.json.encode(self.book))
        write_atomically(self.folder / BOOK, content)


def check_renewal(book: Book, asked: Asked) -> None:
    """Check that a request comes from a device that is registered, with the keys it has.

    Raises:
        KeyRefused: unknown, revoked, or with other keys; says which.
    """
    member = book.members.get(asked.name)
    if member is None or member.keys is None:
        raise KeyRefused(f"{asked.name}: not known here")
    if member.out:
        raise KeyRefused(f"{asked.name}: was revoked")
    if member.keys != asked.request.device:
        raise KeyRefused(f"{asked.name}: registered with other keys; was it set up anew?")


def _check_name(device: str) -> None:
    if device in (*ROLES, SERVER):
        raise ConfigError(f"{device!r} is the name of a role at the broker, never a device's")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, now: float, lifetime: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - limits.CERTIFICATE_BACKDATE_S))
        .not_valid_after(_time(now) + timedelta(seconds=lifetime))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _time(moment: float) -> datetime:
    return datetime.fromtimestamp(int(moment), UTC)


def _hashed(password: str) -> str:
    """Return a password as mosquitto_passwd writes it: PBKDF2-HMAC-SHA512, 101 rounds.

    They are few, for a password of 256 random bits needs none.
    """
    salt, rounds = secrets.token_bytes(12), 101
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}"


def _plain(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, _PKCS8, serialization.NoEncryption())
