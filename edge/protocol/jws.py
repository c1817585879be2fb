"""JWS (RFC 7515) with Ed25519 (RFC 8037, RFC 9864), by joserfc; for `edge.protocol.signing`.

The library and what it imports take a twentieth of the time in which a device starts, before
anything is signed: so this module is imported at the first signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from edge.errors import FormatError, SignatureRefused, SignerRefused

ALGORITHM = "Ed25519"
_MAX_HEADER_BYTES = 1024


class _Registry(jws.JWSRegistry):
    """The library's registry with its size limits lifted: callers check sizes first."""

    max_payload_length = 2**31


_REGISTRY = _Registry(algorithms=[ALGORITHM])


def key_id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the RFC 7638 SHA-256 thumbprint of a key, 43 base64url characters."""
    return str(OKPKey.import_key(key).thumbprint())


def sign(payload: bytes, typ: str, key: Ed25519PrivateKey) -> str:
    """Return a detached JWS over a payload."""
    jwk, kid = _signing(key)
    header = {"alg": ALGORITHM, "typ": typ, "kid": kid}
    return jws.detach_content(jws.serialize_compact(header, payload, jwk, registry=_REGISTRY))


@lru_cache(maxsize=8)
def _signing(key: Ed25519PrivateKey) -> tuple[OKPKey, str]:
    """Return a key as the library wants it, and its id: else half the cost of a signature."""
    return OKPKey.import_key(key), key_id(key)


def verify(sealed: bytes, payload: bytes, typ: str, trusted: Iterable[Ed25519PublicKey]) -> str:
    """Check a detached JWS over a payload; return the signer's key id.

    Raises:
        FormatError: it is none.
        SignatureRefused: altered, of another kind, or by a key that is not trusted.
    """
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
