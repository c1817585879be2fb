"""Doing on the disk what was decided in memory, and again until it is done.

A list that has ended is destroyed and its receipt given, once; a list that has come into force is
kept. A disk that is full or cannot be written holds up no decision: what is owed is remembered,
said (`trouble`), and tried again every `limits.LIST_RETRY_S`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edge import limits
from edge.errors import FormatError, StorageUnavailable
from edge.protocol.event import Ending, ListVersion, Receipt
from edge.watchlist.delivery import SealedList
from edge.watchlist.store import LIFE, Ended, ListStore
from edge.watchlist.timekeeping import Time

log = logging.getLogger(__name__)

GiveReceipt = Callable[[Receipt, str], object]
"""Stores a receipt durably, under a name under which it is stored once (`Outbox.put`)."""


_WITHOUT_KEY: tuple[Literal["index", "segments", "head"], ...] = ("index", "segments", "head")


class Upkeep:
    """What is still to be done in a store. For one thread.

    Attributes:
        stopped: why the device was ordered to stop, to be written down; empty if it was not.
        unread: a list is at rest that could not be read yet, or was not to be; `load` it again.
        trouble: why it cannot be done at the moment, in words; empty if it can.
    """

    def __init__(self, store: ListStore, give_receipt: GiveReceipt) -> None:
        """Begin; what was cut off by the last restart is finished first."""
        self._store = store
        self._give_receipt = give_receipt
        self._ended: list[Ended] = []
        self._unsaved: tuple[SealedList, Ended | None, int] | None = None
        self._damaged = self._barred = False
        self._look_through = True
        self._retry_at = 0.0
        self.stopped = store.life.stopped
        self.unread = bool(store.life.kept)
        self.trouble = ""

    @property
    def owes_an_end(self) -> bool:
        """Whether an order to stop, or an end, would be forgotten by a power cut."""
        unwritten = self.stopped != self._store.life.stopped
        return bool(self._ended) or self._damaged or self._barred or unwritten

    def load(self, running: float = 0.0) -> SealedList | None:
        """Return the list at rest, unless the disk refused a moment ago, or refuses now.

        Args:
            running: seconds since the machine started.

        Raises:
            FormatError: it is damaged; it will be discarded.
        """
        if running < self._retry_at:
            return None
        try:
            sealed = self._store.load()
        except StorageUnavailable as error:
            self._put_off(error, running)
            return None
        except FormatError:
            self.discard()
            raise
        self.unread = False
        return sealed

    def keep(self, sealed: SealedList, replaced: Ended | None, urgent_since: int) -> None:
        """Have a list kept, in place of the one before (`ListStore.save`)."""
        if self._unsaved and self._unsaved[1]:
            self._ended.append(self._unsaved[1])
        self._unsaved = (sealed, replaced, urgent_since)
        self.unread, self._retry_at = False, 0.0

    def end(self, ended: Ended) -> None:
        """Have a list destroyed that has ended."""
        if self._unsaved and self._unsaved[1]:
            self._ended.append(self._unsaved[1])
        self._unsaved = None
        self._ended.append(ended)
        self.unread, self._retry_at = False, 0.0

    def bar(self) -> None:
        """Have the version that an order to stop ended stay away, when that is lifted too."""
        self._barred, self._retry_at = True, 0.0

    def discard(self) -> None:
        """Have the list at rest removed: it is damaged."""
        self._damaged = True
        self.unread, self._retry_at = False, 0.0

    def pursue(self, time: Time) -> None:
        """Do what is to be done, unless the disk refused a moment ago."""
        if time.running < self._retry_at:
            return
        try:
            written = self._store.life.stopped  # read first: `resume` clears it last
            if (stopped := self.stopped) and stopped != written:
                self._store.order(stopped)
            if self._damaged:
                self._store.discard()
                self._damaged = False
            self._note_ended()
            if self._barred:
                self._store.bar()
                self._barred = False
            self._save()
            if self._store.life.ended or self._look_through:
                for ended in self._store.destroy():
                    self._give(ended, time)
                self._look_through = False
        except StorageUnavailable as error:
            self._put_off(error, time.running)
        else:
            self.trouble = ""

    def _put_off(self, error: StorageUnavailable, running: float) -> None:
        if str(error) != self.trouble:
            log.warning("%s; tried again", error)
        self.trouble = str(error)
        self._retry_at = running + limits.LIST_RETRY_S

    def _note_ended(self) -> None:
        while self._ended:
            self._store.end(self._ended[0])
            del self._ended[0]

    def _save(self) -> None:
        if self._unsaved is None:
            return
        sealed, replaced, urgent_since = self._unsaved
        try:
            self._store.save(sealed, replaced, urgent_since=urgent_since)
        except StorageUnavailable:
            if replaced is None:
                raise
            # What it replaces must not come back at the next start: that goes first.
            self._unsaved = (sealed, None, urgent_since)
            self._ended.append(replaced)
            self._note_ended()
            self._store.destroy()
            self._store.save(sealed, None, urgent_since=urgent_since)
        self._unsaved = None

    def _give(self, ended: Ended, time: Time) -> None:
        receipt = Receipt(
            list=ListVersion(id=self._store.list_id, version=ended.version),
            digest=ended.digest,
            reason=ended.reason,
            ended=datetime.fromtimestamp(ended.ended, UTC),
            destroyed=datetime.fromtimestamp(time.now, UTC),
            what=_WITHOUT_KEY if ended.key_lives else ("key", *_WITHOUT_KEY),
        )
        name = f"receipt {self._store.list_id} {ended.version} {ended.digest}"
        if ended.occasion:
            name += f" {ended.occasion}"
        self._give_receipt(receipt, name)
        self._store.settle(ended)
        log.warning(
            "list %s version %d has ended (%s): destroyed",
            self._store.list_id, ended.version, ended.reason.value,
        )  # fmt: skip


def keep_the_order(folder: Path, store: ListStore, key: bytes) -> None:
    """Have an order to stop hold for the list that a device obeys now, if it came before.

    It is the device that was stopped: another list, by its file or by the fleet, lifts nothing.

    Args:
        folder: holds a folder for each list.
        store: of the list it obeys now.
        key: the device's storage key.

    Raises:
        StorageUnavailable: that cannot be written down; the order is where it was.
    """
    for path in sorted(folder.iterdir()):
        if path.name == store.list_id or not (path / LIFE).is_file():
            continue
        other = ListStore(path, path.name, key)
        if other.life.stopped:
            if not store.life.stopped:
                store.order(other.life.stopped)
            other.order("")


def retire_others(
    folder: Path, list_id: str, key: bytes, time: Time, give_receipt: GiveReceipt
) -> None:
    """Destroy what is kept of lists that this device no longer obeys.

    Args:
        folder: holds a folder for each list.
        list_id: the list it obeys now.
        key: the device's storage key.
        time: what is known of it.
        give_receipt: as for `Upkeep`.
    """
    for path in sorted(folder.iterdir()):
        if path.name == list_id or not (path / LIFE).is_file():
            continue
        store = ListStore(path, path.name, key)
        upkeep = Upkeep(store, give_receipt)
        if ended := store.ended(Ending.NOT_AUTHORISED, time.now):
            upkeep.end(ended)
        upkeep.pursue(time)
        if upkeep.trouble:
            log.warning("list %s is no longer obeyed: %s", path.name, upkeep.trouble)
