"""The watchlist as it is signed and sent: what a list says, and what it must say.

A list holds templates and an authorisation; no name, no photo, nothing else about a person. Names
stay with the owner. How it travels, and what is checked of its form: `edge.protocol.sealed_list`.
Whether it may be used here and now: `edge.watchlist.authorisation`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edge import limits
from edge.errors import IndexRefused

Seconds = Annotated[int, Meta(ge=0, le=2**40)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$(?!\n)")]
"""Of a list, a device, a person who signs; it may become the name of a folder, so not ".."."""
EntryId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class Purpose(StrEnum):
    """What a list may be for. Nothing else is, and none may be added by configuration.

    Consent (GDPR, Art. 9(2)(a)): access, and people who asked to be kept out. Otherwise what
    Regulation (EU) 2024/1689, Art. 5(1)(h) leaves: the missing and abducted (i), a specific and
    imminent threat to life (ii), a person sought by the order of a court (iii).
    """

    CONSENTED_ACCESS = "consented-access"
    SELF_EXCLUSION = "self-exclusion"
    MISSING_PERSON = "missing-person"
    COURT_ORDER = "court-order"
    IMMINENT_THREAT = "imminent-threat"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the message: keyword only, nothing unknown."""


class Area(_Part, frozen=True, kw_only=True):
    """A circle on the ground: WGS 84 degrees, radius in metres."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    radius_m: Annotated[float, Meta(gt=0, le=500_000)]


class Authorisation(_Part, frozen=True, kw_only=True):
    """On what ground, for what, where, when and by which devices a list may be used.

    Attributes:
        reference: the decision it rests on, as its issuer files it.
        purpose: what it is for.
        not_before: first moment of use, seconds since 1970.
        not_after: last moment of use.
        area: where; None if the devices alone say it.
        devices: ids of the devices that may use it.
        profile: kind of camera it was issued for.
        max_entries: most people it may hold.
        fpir_target: the laxest false positive identification rate it allows.
        review: what happens with a candidate; a human decides before anything is done (AI Act,
            Art. 14(5): confirmed by people before any action; GDPR, Art. 22). There is no other
            value.
        reviewers: X25519 public key of the people who review, 32 bytes; None: no picture of a
            candidate may leave the device, sealed or not.
    """

    reference: Annotated[str, Meta(min_length=1, max_length=128)]
    purpose: Purpose
    not_before: Seconds
    not_after: Seconds
    area: Area | None
    devices: Annotated[list[Name], Meta(min_length=1, max_length=10_000)]
    profile: Literal["fixed", "body-worn"]
    max_entries: Annotated[int, Meta(ge=1, le=limits.MAX_LIST_SIZE)]
    fpir_target: Annotated[float, Meta(gt=0, lt=1)]
    review: Literal["human-before-action"] = "human-before-action"
    reviewers: Annotated[bytes, Meta(min_length=32, max_length=32)] | None = None


class Template(_Part, frozen=True, kw_only=True, gc=False):
    """An embedding in bytes: element i is `scale` · vector[i], vector being int8."""

    scale: float
    vector: bytes


class Entry(_Part, frozen=True, kw_only=True):
    """A person to be looked for: a random id, a validity and templates."""

    id: EntryId
    not_before: Seconds
    not_after: Seconds
    templates: Annotated[
        list[Template], Meta(min_length=1, max_length=limits.MAX_TEMPLATES_PER_ENTRY)
    ]


class Watchlist(_Part, frozen=True, kw_only=True):
    """One version of a list.

    Attributes:
        id: name of the list.
        version: rises with every issue.
        issued: when it was signed, seconds since 1970.
        expires: when this version ends, whatever its authorisation says.
        embedder: id of the embedder that made the templates.
        dimension: their length.
        authorisation: on what ground it may be used.
        entries: the people; none is allowed and means nobody.
    """

    schema: Literal[1] = 1
    id: Name
    version: Annotated[int, Meta(ge=1, le=2**53)]
    issued: Seconds
    expires: Seconds
    embedder: Annotated[str, Meta(min_length=1, max_length=64)]
    dimension: Annotated[int, Meta(ge=limits.MIN_DIMENSION, le=limits.MAX_DIMENSION)]
    authorisation: Authorisation
    entries: Annotated[list[Entry], Meta(max_length=limits.MAX_LIST_SIZE)]


def list_role(list_id: str, *, urgent: bool = False) -> str:
    """Return the name of the role that signs a list, or of the one that signs in an emergency."""
    return f"watchlist/{list_id}/urgent" if urgent else f"watchlist/{list_id}"


def list_target(list_id: str, *, urgent: bool = False) -> str:
    """Return the name of the target that is a list's head, one for each of its two roles."""
    return f"watchlist/{list_id}/{'urgent' if urgent else 'list'}"


def row_dtype(dimension: int) -> np.dtype[np.void]:
    """Return the type of one row of a list: 28 bytes, and one byte a dimension.

    A row is one template: `id` the entry's 16 bytes, `not_before` and `not_after` seconds since
    1970 (uint32, to the year 2106), `scale` float32, `vector` int8. An entry with several templates
    is several rows with one id, one after the other.
    """
    return np.dtype(
        [
            ("id", "u1", (16,)),
            ("not_before", "<u4"),
            ("not_after", "<u4"),
            ("scale", "<f4"),
            ("vector", "i1", (dimension,)),
        ]
    )


def rows(watchlist: Watchlist) -> NDArray[np.void]:
    """Return a list's templates as rows of `row_dtype`, in the order of its entries.

    Raises:
        IndexRefused: a template of the wrong length; the message names its entry.
    """
    owners = [entry for entry in watchlist.entries for _ in entry.templates]
    templates = [template for entry in watchlist.entries for template in entry.templates]
    for entry, template in zip(owners, templates, strict=True):
        if len(template.vector) != watchlist.dimension:
            length = len(template.vector)
            raise IndexRefused(f"entry {entry.id}: template of {length}, not {watchlist.dimension}")
    table = np.zeros(len(owners), row_dtype(watchlist.dimension))
    ids = bytes.fromhex("".join([entry.id for entry in owners]))
    vectors = b"".join([template.vector for template in templates])
    table["id"] = np.frombuffer(ids, np.uint8).reshape(-1, 16)
    table["not_before"] = [min(entry.not_before, 2**32 - 1) for entry in owners]
    table["not_after"] = [min(entry.not_after, 2**32 - 1) for entry in owners]
    table["scale"] = [template.scale for template in templates]
    table["vector"] = np.frombuffer(vectors, np.int8).reshape(-1, watchlist.dimension)
    return table


def quantise(embedding: NDArray[np.float32]) -> Template:
    """Return the int8 form of an embedding.

    Args:
        embedding: (dimension,) float32 of length 1.

    Raises:
        IndexRefused: not finite, not a vector, or not of length 1.
    """
    if embedding.ndim != 1 or not np.isfinite(embedding).all():
        raise IndexRefused(f"not a finite vector: shape {embedding.shape}")
    if abs(float(np.linalg.norm(embedding)) - 1) > 0.01:
        raise IndexRefused(f"embedding of length {float(np.linalg.norm(embedding)):.3f}, not 1")
    scale = float(np.abs(embedding).max()) / 127
    return Template(scale=scale, vector=np.rint(embedding / scale).astype(np.int8).tobytes())


def dequantise(template: Template) -> NDArray[np.float32]:
    """Return the (dimension,) float32 embedding that a template stands for."""
    vector = np.frombuffer(template.vector, np.int8).astype(np.float32)
    return vector * np.float32(template.scale)
