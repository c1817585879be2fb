"""JWS (RFC 7515) with Ed25519 (RFC 8037, RFC 9864) and canonical JSON (RFC 8785), by libraries.

A JSON object stays readable and carries its detached signature in one member, `signature`, made
over the canonical form of the rest.

The protected header carries `typ`, so that a signature made for one kind of message never passes
for another, and `kid`, the RFC 7638 thumbprint of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.errors import FormatError, SignatureRefused

SIGNATURE_MEMBER = "signature"


def key_id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a key, 43 base64url characters."""
    from edge.protocol import jws

    return jws.key_id(key)


def sign_document(
    document: Mapping[str, Any], *, typ: str, key: Ed25519PrivateKey
) -> dict[str, Any]:
    """Return `document` with a member `signature`: a detached JWS over its canonical form."""
    from edge.protocol import jws

    body = {k: v for k, v in document.items() if k != SIGNATURE_MEMBER}
    return {**body, SIGNATURE_MEMBER: jws.sign(canonical(body), typ, key)}


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
    from edge.protocol import jws

    signature = document.get(SIGNATURE_MEMBER)
    parts = signature.split(".") if isinstance(signature, str) and signature.isascii() else []
    # The library would check a payload found here instead of the document.
    if len(parts) != 3 or parts[1]:
        raise SignatureRefused("unsigned: no member 'signature' with a detached JWS")
    body = {k: v for k, v in document.items() if k != SIGNATURE_MEMBER}
    return jws.verify(".".join(parts).encode("ascii"), canonical(body), typ, trusted)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON (RFC 8785) of a document.

    Raises:
        FormatError: it holds a value that JSON or I-JSON cannot carry (NaN, integers over 2^53).
    """
    try:
        return rfc8785.dumps(dict(document))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise FormatError(f"no canonical JSON form: {error}") from error
