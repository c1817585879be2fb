"""A list in one signed message, as it still comes: turned into what the rules take.

Goes when the transport of `edge.watchlist.transport` is wired in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge import limits
from edge.protocol import list_key, signing
from edge.protocol.sealed_list import open_list, seal_list
from edge.protocol.watchlist import SNAPSHOT_TYP, decode
from edge.watchlist.delivery import Delivery, Provenance, SealedList


def delivery(
    message: bytes, trusted: Sequence[Ed25519PublicKey], stored: SealedList | None
) -> Delivery:
    """Open a message.

    Args:
        message: a compact JWS around a list in JSON.
        trusted: keys of the list's owner.
        stored: what is kept; the same list again is the same delivery.

    Raises:
        BadInput: not signed by the owner, or not of the documented form.
    """
    payload, signer = signing.open_sealed(
        message, typ=SNAPSHOT_TYP, trusted=trusted, max_bytes=limits.MAX_SNAPSHOT_BYTES
    )
    watchlist = decode(payload)
    entries = sorted(watchlist.entries, key=lambda entry: entry.id)
    watchlist = msgspec.structs.replace(watchlist, entries=entries)
    if stored is not None and stored.version == watchlist.version:
        kept = open_list(stored.head, stored.segments, stored.key, stored.list_id)
        if msgspec.json.encode(kept) == msgspec.json.encode(watchlist):
            return Delivery(kept, stored)
    key = list_key.new_key()
    parts = seal_list(watchlist, key)
    sealed = SealedList(
        list_id=watchlist.id,
        version=watchlist.version,
        digest=hashlib.sha256(parts.head).hexdigest(),
        head=parts.head,
        segments=parts.pieces,
        key=key,
        provenance=Provenance(role="regular", signers=(signer,), threshold=1),
    )
    return Delivery(watchlist, sealed)
