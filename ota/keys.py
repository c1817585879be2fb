"""The keys that sign updates: an authority that devices trust, and signers that expire.

The authority's key is needed only to make signers: keep it offline. A device's image holds the
authority's certificate as RAUC's keyring, and accepts bundles of any signer that it has certified
for code signing (`check-purpose=codesign`). RFC 5280, section 4.2.1.12.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.errors import BadInput
from edge.files import private_folder, read_small, write_atomically
from ota.limits import AUTHORITY_YEARS, MAX_PEM_BYTES, SIGNER_DAYS

AUTHORITY_CERT, AUTHORITY_KEY = "authority.cert.pem", "authority.key.pem"
SIGNER_CERT, SIGNER_KEY = "signer.cert.pem", "signer.key.pem"


class KeysExist(BadInput):
    """Keys would be overwritten."""


def make_authority(
    folder: Path, name: str, *, now: datetime.datetime, passphrase: bytes | None = None
) -> None:
    """Make the authority: `authority.cert.pem`, and `authority.key.pem` with mode 0600.

    Args:
        folder: made if missing, mode 0700.
        name: of the organisation, in the certificate.
        now: start of validity.
        passphrase: encrypts the key.

    Raises:
        KeysExist: the folder holds an authority: devices in the field trust it.
        StorageUnavailable: the folder cannot be written.
    """
    private_folder(folder)
    if (folder / AUTHORITY_KEY).exists() or (folder / AUTHORITY_CERT).exists():
        raise KeysExist(f"{folder}: holds an authority already; choose another folder")
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} update authority"),
        ]
    )
    until = now + datetime.timedelta(days=365 * AUTHORITY_YEARS)
    certificate = (
        _builder(subject, subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    _write(folder, AUTHORITY_KEY, key, AUTHORITY_CERT, certificate, passphrase)


def make_signer(
    folder: Path,
    name: str,
    *,
    now: datetime.datetime,
    days: int = SIGNER_DAYS,
    passphrase: bytes | None = None,
) -> None:
    """Make a signer certified by the folder's authority; replaces the one before.

    Args:
        folder: with the authority.
        name: of the signer, in the certificate.
        now: start of validity.
        days: validity; negative for a signer that has expired (for tests of refusal).
        passphrase: of the authority's key.

    Raises:
        BadInput: the authority is missing, damaged, or the passphrase is wrong.
        StorageUnavailable: the folder cannot be written.
    """
    try:
        authority_key = serialization.load_pem_private_key(
            read_small(folder / AUTHORITY_KEY, MAX_PEM_BYTES), passphrase
        )
        authority = x509.load_pem_x509_certificate(
            read_small(folder / AUTHORITY_CERT, MAX_PEM_BYTES)
        )
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{folder}: the authority cannot be used: {error}") from error
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise BadInput(f"{folder / AUTHORITY_KEY}: not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ends = [now, now + datetime.timedelta(days=days)]
    certificate = (
        _builder(subject, authority.subject, key.public_key(), min(ends), max(ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA384())
    )
    _write(folder, SIGNER_KEY, key, SIGNER_CERT, certificate, None)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """Return the key's usage: to sign certificates, or to sign everything else."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    folder: Path,
    key_name: str,
    key: ec.EllipticCurvePrivateKey,
    cert_name: str,
    certificate: x509.Certificate,
    passphrase: bytes | None,
) -> None:
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    write_atomically(folder / key_name, pem)
    cert_pem = certificate.public_bytes(serialization.Encoding.PEM)
    write_atomically(folder / cert_name, cert_pem, mode=0o644)
