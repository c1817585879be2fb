"""What is fuzzed of a list, of provisioning, and of first boot: see `fuzz.targets`.

A part of a list is fuzzed behind its encryption: what somebody may send who holds its key.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.errors import BadInput
from edge.protocol import certificate, enrolment, list_key, sealed_list
from edge.protocol.party import Party, SigningKey
from edge.protocol.watchlist import Authorisation, Purpose, row_dtype
from edge.provision import document

_KEY = bytes(range(32))
_OPENS = X25519PrivateKey.from_private_bytes(_KEY)
_COMMITTED = list_key.commitment(_KEY)
_DIMENSION = 128


def read_head(message: bytes) -> None:
    """Read the head of a list."""
    with contextlib.suppress(BadInput):
        sealed_list.open_head(_sealed(b"head", message), _KEY, "gate")


def read_authorisation(message: bytes) -> None:
    """Read the authorisation of a list that is whole otherwise."""
    _read_list(_sealed(b"authorisation", message), _sealed(b"segment", _ROWS))


def read_rows(message: bytes) -> None:
    """Read a segment of a list that is whole otherwise."""
    _read_list(_sealed(b"authorisation", _AUTHORISATION), _sealed(b"segment", message))


def read_key(message: bytes) -> None:
    """Open a list's key."""
    with contextlib.suppress(BadInput):
        list_key.unwrap(
            message, committed=_COMMITTED, list_id="gate", device="camera-1", private=_OPENS
        )


def read_request(message: bytes) -> None:
    """Read what a device sends to be given a certificate."""
    with contextlib.suppress(BadInput):
        enrolment.read_request(message).proven_by("a token")


def read_answer(message: bytes) -> None:
    """Read the answer to it, and the certificate in it."""
    with contextlib.suppress(BadInput):
        for each in certificate.read_all(enrolment.read_answer(message).certificate.encode()):
            certificate.validity(each, 1_800_000_000.0)


def read_first_boot(message: bytes) -> None:
    """Read the one file of an appliance."""
    with contextlib.suppress(BadInput):
        document.parse(message)


def _sealed(kind: bytes, content: bytes) -> bytes:
    return sealed_list._seal(kind, content, _KEY, "gate")


def _head(authorisation: bytes, segment: bytes) -> bytes:
    return msgspec.msgpack.encode(
        sealed_list.Head(
            id="gate", version=7, issued=1, expires=2, embedder="x", dimension=_DIMENSION,
            authorisation=hashlib.sha256(authorisation).digest(),
            segments=hashlib.sha256(segment).digest(),
        )
    )  # fmt: skip


def _read_list(authorisation: bytes, segment: bytes) -> None:
    pieces = {hashlib.sha256(piece).hexdigest(): piece for piece in (authorisation, segment)}
    with contextlib.suppress(BadInput):
        sealed_list.open_list(_sealed(b"head", _head(authorisation, segment)), pieces, _KEY, "gate")


def _rows() -> bytes:
    table = np.zeros(2, row_dtype(_DIMENSION))
    table["id"][1, 15] = 1
    table["not_after"] = 9
    table["vector"][:, 0] = 100
    table["scale"] = 0.01
    return table.tobytes()


def _party(signs: Ed25519PrivateKey) -> Party:
    public = {"public": signs.public_key().public_bytes_raw().hex()}
    return Party(
        name="camera-1",
        sign=SigningKey(keytype="ed25519", scheme="ed25519", keyval=public),
        open=_OPENS.public_key().public_bytes_raw().hex(),
    )


_ROWS = _rows()
_AUTHORISATION = msgspec.json.encode(
    Authorisation(
        reference="x", purpose=Purpose("court-order"), not_before=1, not_after=2, area=None,
        devices=["camera-1"], profile="fixed", max_entries=5, fpir_target=0.001,
    )
)  # fmt: skip
_SIGNS = Ed25519PrivateKey.from_private_bytes(_KEY)
_REQUEST = enrolment.make_request(
    _party(_SIGNS), _SIGNS, ec.derive_private_key(7, ec.SECP256R1()), "a token"
)

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "list-head": (read_head, [_head(b"a", b"b")]),
    "list-authorisation": (read_authorisation, [_AUTHORISATION]),
    "list-rows": (read_rows, [_ROWS]),
    "list-key": (
        read_key,
        [list_key.wrap(_KEY, list_id="gate", device="camera-1", public=_OPENS.public_key())],
    ),
    "request": (read_request, [_REQUEST]),
    "certificate": (
        read_answer,
        [enrolment.encode_answer(enrolment.Answer(device="camera-1", request="0" * 64))],
    ),
    "first-boot": (
        read_first_boot,
        [b'[device]\nid = "gate-3"\n[camera]\nsource = "/dev/video0"\n[fleet]\nroot_json = "{}"\n'],
    ),
}
