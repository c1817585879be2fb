"""JWS (RFC 7515) with Ed25519 (RFC 8037, RFC 9864) and canonical JSON (RFC 8785), by libraries.

A JSON object stays readable and carries its detached signature in one member, `signature`, made
over the canonical form of the rest.

The protected header carries `typ`, so that a signature made for one kind of message never passes
for another, and `kid`, the RFC 7638 thumbprint of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from edge.errors import FormatError, SignatureRefused, SignerRefused

ALGORITHM = "Ed25519"
SIGNATURE_MEMBER = "signature"
_MAX_HEADER_BYTES = 1024


class _Registry(jws.JWSRegistry):
    """The library's registry with its size limits lifted: callers check sizes first."""

    max_payload_length = 2**31


_REGISTRY = _Registry(algorithms=[ALGORITHM])


def key_id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a key, 43 base64url characters."""
    return str(OKPKey.import_key(key).thumbprint())


def sign_document(
    document: Mapping[str, Any], *, typ: str, key: Ed25519PrivateKey
) -> dict[str, Any]:
    """Return `document` with a member `signature`: a detached JWS over its canonical form."""
    body = {k: v for k, v in document.items() if k != SIGNATURE_MEMBER}
    jwk, kid = _signing(key)
    header = {"alg": ALGORITHM, "typ": typ, "kid": kid}
    sealed = jws.serialize_compact(header, canonical(body), jwk, registry=_REGISTRY)
    return {**body, SIGNATURE_MEMBER: jws.detach_content(sealed)}


def verify_document(
    document: Mapping[str, Any], *, typ: str, trusted: Iterable[Ed25519PublicKey]
) -> str:
    """Check the `signature` member of a document made by `sign_document`.

    Returns:
        The signer's key id.

    Raises:
        FormatError: the document has no canonical form (RFC 8785).
        SignatureRefused: unsigned, altered, of another kind, or by a key that is not trusted.
    """
    signature = document.get(SIGNATURE_MEMBER)
    parts = signature.split(".") if isinstance(signature, str) and signature.isascii() else []
    # The library would check a payload found here instead of the document.
    if len(parts) != 3 or parts[1]:
        raise SignatureRefused("unsigned: no member 'signature' with a detached JWS")
    body = {k: v for k, v in document.items() if k != SIGNATURE_MEMBER}
    return _verify(".".join(parts).encode("ascii"), canonical(body), typ, trusted)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON (RFC 8785) of a document.

    Raises:
        FormatError: it holds a value that JSON or I-JSON cannot carry (NaN, integers over 2^53).
    """
    try:
        return rfc8785.dumps(dict(document))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise FormatError(f"no canonical JSON form: {error}") from error


@lru_cache(maxsize=8)
def _signing(key: Ed25519PrivateKey) -> tuple[OKPKey, str]:
    """Return a key as the library wants it, and its id: else half the cost of a signature."""
    return OKPKey.import_key(key), key_id(key)


def _verify(sealed: bytes, payload: bytes, typ: str, trusted: Iterable[Ed25519PublicKey]) -> str:
    keys = {key_id(key): OKPKey.import_key(key) for key in trusted}
    if len(sealed.partition(b".")[0]) > _MAX_HEADER_BYTES:
        raise FormatError(f"JWS header longer than {_MAX_HEADER_BYTES} bytes")
    try:
        header = jws.extract_compact(sealed, payload, _REGISTRY).headers()
        kid = header.get("kid")
        if header.get("typ") != typ:
            raise SignatureRefused(f"signed as {header.get('typ')!r}, expected {typ!r}")
        if header.get("alg") != ALGORITHM:
            raise SignatureRefused(f"algorithm {header.get('alg')!r}, only {ALGORITHM} is taken")
        if "crit" in header:
            raise SignatureRefused("header with 'crit': no extension is understood")
        if not isinstance(kid, str) or kid not in keys:
            raise SignerRefused(f"signed by key {kid!r}, which is not trusted for this")
        jws.deserialize_compact(sealed, keys[kid], registry=_REGISTRY, payload=payload)
    except JoseError as error:
        raise SignatureRefused(f"signature does not hold: {error}") from error
    except (ValueError, TypeError, UnicodeError, RecursionError) as error:
        raise FormatError(f"not a JWS: {error}") from error
    return kid
