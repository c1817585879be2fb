"""The seam between the transport of lists and their use.

`offer` takes whatever bytes the transport brings, at any time, and returns at once. A thread of
its own verifies them, applies the rules, builds the index and swaps it in as one reference.
Whatever is refused leaves the list in force as it was. Lists are held in memory only; what is on
disk is the floor: version and hash of the newest list used, so that nothing older comes back.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge import limits
from edge.errors import BadInput, StorageUnavailable
from edge.files import write_atomically
from edge.protocol import signing
from edge.protocol.watchlist import SNAPSHOT_TYP, decode
from edge.watchlist.authorisation import Floor, NotYetValid, Place, check
from edge.watchlist.gallery import Gallery
from edge.watchlist.hnsw import Kind

log = logging.getLogger(__name__)

NO_LIST = "no list received yet"


class Watchlists:
    """The list in force, and what is done with those that are offered."""

    def __init__(
        self,
        place: Place,
        trusted: Sequence[Ed25519PublicKey],
        state_dir: Path,
        *,
        now: Callable[[], float],
        kind: Kind = "auto",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Start with no list.

        Args:
            place: what this device is.
            trusted: keys of the list's owner.
            state_dir: where the floor is kept.
            now: wall clock, seconds since 1970.
            kind: of index.
            on_change: called from the list thread when the list in force or `reason` changed.

        Raises:
            StorageUnavailable: the floor is there but damaged.
        """
        self._place = place
        self._trusted = list(trusted)
        self._floor_file = state_dir / f"floor-{place.list_id}.json"
        self._floor = _read_floor(self._floor_file)
        self._now = now
        self._kind = kind
        self._on_change = on_change
        self._gallery: Gallery | None = None
        self._reason = NO_LIST
        self._offered: bytes | None = None
        self._waiting: bytes | None = None  # valid later, or the disk was full
        self._begins = 0.0  # from when on the waiting one is tried
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="watchlist", daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str:
        """Why there is no list, or why the last one offered was refused; empty if all is well."""
        return self._reason

    def offer(self, message: bytes) -> None:
        """Take a message from the transport; only the newest one waiting is looked at.

        An empty message (a cleared retained topic) withdraws the list.
        """
        with self._wake:
            self._offered = message
            self._wake.notify()

    def current(self) -> Gallery | None:
        """Return the list in force now, or None. Cheap: asked for every frame."""
        gallery = self._gallery
        if gallery is None:
            return None
        now = self._now()
        if gallery.authorisation.not_before <= now < gallery.expires:
            return gallery
        with self._wake:
            self._wake.notify()  # the thread destroys it
        return None

    def close(self) -> None:
        """Destroy the list in force and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                if self._offered is None and not self._closing:
                    self._wake.wait(limits.LIST_CHECK_S)
                message, self._offered = self._offered, None
                closing = self._closing
            if closing:
                self._swap(None, "the device is stopping")
                return
            self._end_if_over()
            if message is None and self._waiting is not None and self._now() >= self._begins:
                message, self._waiting = self._waiting, None
            if message is not None:
                self._take(message)

    def _end_if_over(self) -> None:
        gallery = self._gallery
        if gallery is not None and self._now() >= gallery.expires:
            log.warning("list %s version %d has expired: destroyed", gallery.id, gallery.version)
            self._swap(None, f"list {gallery.id} version {gallery.version} has expired")

    def _take(self, message: bytes) -> None:
        """Refuse a message with its reason, or put its list in force."""
        if not message:
            if self._gallery is not None:
                log.warning("the list was withdrawn: destroyed")
            self._waiting = None
            self._swap(None, "the list was withdrawn")
            return
        try:
            gallery, floor = self._open(message)
            if gallery is not None and floor != self._floor:
                _write_floor(self._floor_file, floor)
        except NotYetValid as refusal:
            self._waiting, self._begins = message, refusal.begins
            self._refuse(refusal)
            return
        except StorageUnavailable as refusal:
            self._waiting, self._begins = message, self._now() + limits.LIST_RETRY_S
            self._refuse(refusal)
            return
        except BadInput as refusal:
            self._refuse(refusal)
            return
        if gallery is None:  # a broker delivers a retained message again at every reconnection
            if self._reason and self._waiting is None:
                self._reason = ""
                self._on_change()
            return
        self._floor, self._waiting = floor, None
        log.info("list %s version %d: %d entries", gallery.id, gallery.version, gallery.entries)
        self._swap(gallery, "")

    def _open(self, message: bytes) -> tuple[Gallery | None, Floor]:
        payload, _ = signing.open_sealed(
            message, typ=SNAPSHOT_TYP, trusted=self._trusted, max_bytes=limits.MAX_SNAPSHOT_BYTES
        )
        watchlist = decode(payload)
        digest = hashlib.sha256(payload).hexdigest()
        check(watchlist, self._place, now=self._now(), floor=self._floor, digest=digest)
        floor = Floor(watchlist.version, digest)
        if self._gallery is not None and floor == self._floor:
            return None, floor
        return Gallery(watchlist, self._kind), floor

    def _refuse(self, refusal: Exception) -> None:
        log.warning("list refused: %s", refusal)
        self._reason = f"list refused: {refusal}"
        self._on_change()

    def _swap(self, gallery: Gallery | None, reason: str) -> None:
        before, self._gallery = self._gallery, gallery
        self._reason = reason
        if before is not None:
            before.destroy()
        self._on_change()


def _read_floor(path: Path) -> Floor:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Floor)
    except FileNotFoundError:
        return Floor()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageUnavailable(
            f"{path}: cannot be read ({error}). It keeps old lists out: restore it, or remove it "
            "knowing that an older list could then be used once"
        ) from error


def _write_floor(path: Path, floor: Floor) -> None:
    write_atomically(path, msgspec.json.encode(floor))
