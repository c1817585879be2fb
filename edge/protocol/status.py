"""What a device says of itself: that it is there, which list it obeys, what is wrong.

Nothing about people, ever: no count of faces, no time of a sighting, no picture.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class ListInForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which list, in which version, until when (seconds since 1970)."""

    id: str
    version: int
    expires: int


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retained status document.

    Attributes:
        state: "online", or "offline" as the last will or after a clean end.
        software: version of the software.
        list: the list in force, if any.
        reasons: why it is degraded, in words; empty if all is well.
    """

    state: Literal["online", "offline"]
    software: str = ""
    list: ListInForce | None = None
    reasons: tuple[str, ...] = ()


OFFLINE = msgspec.json.encode(Status(state="offline"))
