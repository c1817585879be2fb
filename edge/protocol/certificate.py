"""Whether a client certificate is the right one, and how long still. Pure: the time is given."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge import limits
from edge.errors import FormatError, KeyRefused

_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def read(content: bytes) -> x509.Certificate:
    """Return the first certificate in PEM content.

    Raises:
        FormatError: too large, or there is none.
    """
    return read_all(content)[0]


def read_all(content: bytes) -> list[x509.Certificate]:
    """Return the certificates in PEM content, at least one.

    Raises:
        FormatError: too large, or there is none.
    """
    if len(content) > limits.MAX_AUTHORITIES_BYTES:
        raise FormatError(f"{len(content)} bytes are no certificates")
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"no certificate in it: {error}") from error


def check(
    certificate: x509.Certificate,
    *,
    name: str,
    key: CertificatePublicKeyTypes,
    authorities: list[x509.Certificate],
    now: float,
) -> None:
    """Check that a certificate is for this device's key and would be taken by its broker.

    Args:
        certificate: to be checked.
        name: the device's id.
        key: the public key that it must be for.
        authorities: whoever may have signed it.
        now: seconds since 1970.

    Raises:
        KeyRefused: it is not; the message says why, and what was expected.
    """
    if public_bytes(certificate.public_key()) != public_bytes(key):
        raise KeyRefused("the certificate is for another key than this device's")
    names = [(each.oid, each.value) for each in certificate.subject]
    if (x509.NameOID.COMMON_NAME, name) not in names:
        said = certificate.subject.rfc4514_string()
        raise KeyRefused(f"the certificate is for {said!r}, this device is {name!r}")
    check_issuer(certificate, authorities)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise KeyRefused("the certificate is not for clients (extended key usage)")
    except x509.ExtensionNotFound:
        pass  # not limited to any use
    except ValueError as error:
        raise KeyRefused(f"the certificate's extensions cannot be read: {error}") from error
    if trouble := validity(certificate, now):
        raise KeyRefused(trouble)


def check_issuer(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> None:
    """Check that one of the authorities has signed a certificate.

    Raises:
        KeyRefused: none has.
    """
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return
    issuer = certificate.issuer.rfc4514_string()
    known = ", ".join(repr(each.subject.rfc4514_string()) for each in authorities)
    raise KeyRefused(f"the certificate was signed by {issuer!r}, not by a key of {known}")


def validity(certificate: x509.Certificate, now: float) -> str:
    """Return why a certificate is not valid at a time; empty if it is."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins.timestamp():
        return f"the certificate is not valid before {day(begins.timestamp())}: is the clock right?"
    if now >= ends.timestamp():
        return f"the certificate ended {day(ends.timestamp())}"
    return ""


def is_due(certificate: x509.Certificate, now: float) -> bool:
    """Return whether it is time to renew: in the last third of its life, at most 30 days before."""
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return now >= ends - min((ends - begins) / 3, limits.CERTIFICATE_RENEW_S)


def public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    """Return a public key so that two can be compared."""
    return key.public_bytes(serialization.Encoding.DER, _SPKI)


def day(moment: float) -> str:
    """Return a time as people read it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
