"""How a device gets its client certificate: one request, one answer. Pure.

A request holds everything that the fleet's side needs of a device, so that signing once gives it
all: a PKCS#10 request of the key for TLS, the key that verifies its events, the key that lists are
sealed to. It is signed twice: the inner request by the TLS key, the whole by the event key. So each
key is proven to be the device's, and none of it can be exchanged on the way.

Who sends it is proven by a person who compares the fingerprint, by a one-time token that both
sides know (the broker is told only what is derived from it), or, when a certificate is renewed, by
the event key that is registered already.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from edge import limits
from edge.errors import FormatError, KeyRefused
from edge.protocol.party import Party
from edge.protocol.signing import SIGNATURE_MEMBER, canonical, sign_document, verify_document
from edge.protocol.watchlist import Name

TYPE = "lethe-enrolment+jws"
Kind = TypeVar("Kind", bound=msgspec.Struct)
_PEM = serialization.Encoding.PEM
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Text = Annotated[str, Meta(max_length=limits.MAX_CERTIFICATE_BYTES)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device asks for.

    Attributes:
        schema: version of this form.
        device: its id, and the keys for events and lists.
        csr: PKCS#10 of its key for TLS, PEM; the common name is the id.
        proof: HMAC-SHA256 under the one-time token over the rest, hex; empty without a token.
        signature: by the device's event key, over everything else.
    """

    schema: Literal[1]
    device: Party
    csr: _Text
    proof: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""
    signature: Annotated[str, Meta(max_length=2048)]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the fleet's side says to a request.

    Attributes:
        schema: version of this form.
        device: whose request.
        request: which one: its digest.
        certificate: PEM; empty if refused.
        refused: why, in words; empty if not.
    """

    schema: Literal[1] = 1
    device: Name
    request: _Hash
    certificate: _Text = ""
    refused: Annotated[str, Meta(max_length=512)] = ""


class Asked(msgspec.Struct, frozen=True):
    """A request that is what it says: both signatures hold.

    Attributes:
        request: as it came.
        csr: its inner request.
        digest: SHA-256 of all but the signature, hex.
    """

    request: Request
    csr: x509.CertificateSigningRequest
    digest: str

    @property
    def name(self) -> str:
        """The device's id."""
        return self.request.device.name

    @property
    def fingerprint(self) -> str:
        """What two people compare: 128 bits in groups of four digits."""
        return fingerprint(self.digest)

    def proven_by(self, token: str) -> bool:
        """Return whether whoever asks knows the token."""
        body = msgspec.to_builtins(self.request)
        return hmac.compare_digest(self.request.proof, _proof(body, token))


def fingerprint(digest: str) -> str:
    """Return the beginning of a digest as people compare it."""
    return " ".join(digest[at : at + 4] for at in range(0, 32, 4))


def password(token: str) -> str:
    """Return the one-time password at the broker; the token cannot be found from it."""
    return _derived(token, "password").hex()


def make_request(
    device: Party, event_key: Ed25519PrivateKey, tls_key: ec.EllipticCurvePrivateKey, token: str
) -> bytes:
    """Return a request as it is sent.

    Args:
        device: id and public keys.
        event_key: signs the whole.
        tls_key: what the certificate is for.
        token: the one-time token; empty without one.
    """
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(common_name(device.name))
        .sign(tls_key, hashes.SHA256())
    )
    body: dict[str, Any] = {
        "schema": 1,
        "device": msgspec.to_builtins(device),
        "csr": csr.public_bytes(_PEM).decode("ascii"),
        "proof": "",
    }
    if token:
        body["proof"] = _proof(body, token)
    return msgspec.json.encode(sign_document(body, typ=TYPE, key=event_key))


def read_request(content: bytes) -> Asked:
    """Read a request and check that it is its device's own.

    Raises:
        FormatError: too large, or not in the documented form.
        SignatureRefused: altered, or not signed by the event key in it.
        KeyRefused: the inner request is of another name, another kind of key, or not signed by it.
    """
    document = _document(content)
    request = _converted(document, Request)
    verify_document(document, typ=TYPE, trusted=[request.device.device_key])
    try:
        csr = x509.load_pem_x509_csr(request.csr.encode())
        key, whole = csr.public_key(), csr.is_signature_valid
        names = [(each.oid, each.value) for each in csr.subject]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(f"no certificate request in it: {error}") from error
    if names != [(x509.NameOID.COMMON_NAME, request.device.name)]:
        raise KeyRefused(f"the certificate request is not for {request.device.name!r} alone")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyRefused("the certificate request is of no P-256 key")
    if not whole:
        raise KeyRefused("the certificate request is not signed by its own key")
    return Asked(request, csr, digest(document))


def digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a request's canonical form without its signature, hex."""
    body = {name: value for name, value in document.items() if name != SIGNATURE_MEMBER}
    return hashlib.sha256(canonical(body)).hexdigest()


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as it is sent."""
    return msgspec.json.encode(answer)


def read_answer(content: bytes) -> Answer:
    """Read an answer; whether it is true is the certificate's to show.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    return _converted(_document(content), Answer)


def common_name(name: str) -> x509.Name:
    """Return a subject that is a common name and nothing else."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _document(content: bytes) -> dict[str, Any]:
    if len(content) > limits.MAX_ENROLMENT_BYTES:
        raise FormatError(
            f"enrolment of {len(content)} bytes, at most {limits.MAX_ENROLMENT_BYTES} are read"
        )
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an enrolment in the documented form: {error}") from error


def _converted(document: dict[str, Any], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise FormatError(f"not an enrolment in the documented form: {error}") from error


def _proof(document: dict[str, Any], token: str) -> str:
    body = {name: document[name] for name in ("schema", "device", "csr")}
    return hmac.new(_derived(token, "proof"), canonical(body), "sha256").hexdigest()


def _derived(token: str, purpose: str) -> bytes:
    """Return 32 bytes for one purpose (RFC 5869)."""
    info = f"lethe enrolment/1\0{purpose}".encode()
    return HKDF(hashes.SHA256(), 32, None, info).derive(token.encode())
