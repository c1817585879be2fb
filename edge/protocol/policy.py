"""What the root of trust says beside the lists: the target `policy` of the top-level role."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol.watchlist import Name

TARGET = "policy"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exceptions, both ways.

    Attributes:
        ceilings: list id to the most entries it may hold, beyond the profile's limit.
        removed: devices that are no longer part of the fleet; they destroy what they hold.
    """

    schema: Literal[1] = 1
    ceilings: dict[Name, Annotated[int, Meta(ge=1, le=2**31)]] = {}
    removed: list[Name] = []


def encode(policy: Policy) -> bytes:
    """Return the content of the target."""
    return msgspec.json.encode(policy)


def decode(content: bytes) -> Policy:
    """Read the content of the target.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    if len(content) > limits.MAX_TARGETS_BYTES:
        raise FormatError(f"policy of {len(content)} bytes")
    try:
        return msgspec.json.decode(content, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not a policy in the documented form: {error}") from error
