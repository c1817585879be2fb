"""What the transport hands over: an authentic, opened list, and its sealed form to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from edge.protocol.watchlist import Watchlist


class Provenance(msgspec.Struct, frozen=True):
    """Who vouches for a list.

    Attributes:
        role: "regular" if the threshold of the list's own role was met; "urgent" if only the role
            for urgent lists signed, which needs fewer people and lives for a day.
        signers: ids of the keys whose signatures held.
        threshold: how many the role needs.
        ceiling: most entries the root of trust allows this list beyond the profile's limit, or
            None where it says nothing.
    """

    role: Literal["regular", "urgent"]
    signers: tuple[str, ...]
    threshold: int
    ceiling: int | None = None


class SealedList(msgspec.Struct, frozen=True):
    """A list as it came: ciphertext, and the key that opens it. What is kept at rest.

    Attributes:
        list_id: name of the list.
        version: of the list.
        digest: SHA-256 of `head`, hex.
        head: ciphertext of authorisation and table of segments.
        segments: SHA-256 of a segment's ciphertext, hex, to the ciphertext.
        key: the list's AES-256 key. Never logged, never stored outside the sealed store.
        provenance: who vouches for it.
    """

    list_id: str
    version: int
    digest: str
    head: bytes
    segments: Mapping[str, bytes]
    key: bytes
    provenance: Provenance

    def __repr__(self) -> str:
        """Say which list it is; never the key."""
        return f"SealedList({self.list_id!r}, version={self.version}, digest={self.digest!r})"


class Delivery(msgspec.Struct, frozen=True):
    """A list that is authentic and opened; whether it may be used is the rules' to say."""

    watchlist: Watchlist
    sealed: SealedList

    def __repr__(self) -> str:
        """Say which list it is; never what is in it."""
        return f"Delivery({self.sealed!r})"


class ListKeeper(Protocol):
    """Who takes lists from the transport (`edge.watchlist.sync.Watchlists`). Returns at once."""

    def offer(self, delivery: Delivery) -> None:
        """Take an authentic list; the newest one waiting is judged by the rules."""

    def withdraw(self, reason: str) -> None:
        """Destroy the list in force: those who sign it say, authentically, that there is none."""

    def stored(self) -> SealedList | None:
        """Return the list that is kept, so that only what changed need be fetched; None if none."""
