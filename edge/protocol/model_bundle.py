"""Models as they travel: files by name, in one target of the role `models`. Pure.

MessagePack, not an archive format: there are no folders, links, modes or compressed sizes in it
that a device would have to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import FormatError

ROLE = "models"
MANIFEST = "manifest.json"

FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$(?!\n)")]
"""No slash, and no dot at the beginning: always a file of the folder itself."""


class ModelBundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the target.

    Attributes:
        files: name to content: manifest.json, and what it names.
    """

    schema: Literal[1] = 1
    files: Annotated[
        dict[FileName, Annotated[bytes, Meta(max_length=limits.MAX_MODEL_BYTES)]],
        Meta(min_length=2, max_length=limits.MAX_MODEL_FILES),
    ]


def target_path(channel: str) -> str:
    """Return the target that devices of a channel look for."""
    return f"{ROLE}/{channel}"


def encode(files: Mapping[str, bytes]) -> bytes:
    """Return the content of the target."""
    return msgspec.msgpack.encode(ModelBundle(files=dict(sorted(files.items()))))


def decode(content: bytes) -> dict[str, bytes]:
    """Return the files by name.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    if len(content) > limits.MAX_TARGET_BYTES:
        raise FormatError(f"models of {len(content)} bytes, at most {limits.MAX_TARGET_BYTES}")
    try:
        files = msgspec.msgpack.decode(content, type=ModelBundle).files
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"no models in the documented form: {error}") from error
    if MANIFEST not in files:
        raise FormatError(f"models without {MANIFEST}")
    return files
