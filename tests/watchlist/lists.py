"""Lists as the transport delivers them, and a device that takes them, step by step."""

import hashlib
from pathlib import Path

import msgspec

from edge.protocol import list_key
from edge.protocol.sealed_list import open_list, seal_list
from edge.watchlist.delivery import Delivery, SealedList
from edge.watchlist.place import Fix
from edge.watchlist.store import ListStore
from edge.watchlist.sync import Senses, Watchlists
from edge.watchlist.timekeeping import Time
from tests.watchlist.test_authorisation import LIST, NOW, PLACE, REGULAR, replace
from tests.watchlist.test_gallery import DIMENSION, directions

A, B = directions(2)
KEY = list_key.new_key()
STORAGE_KEY = bytes(range(32))
MEMORY = next((path for path in [Path("/dev/shm")] if path.is_dir()), None)
"""Where thousands of fsyncs take no time; what survives a SIGKILL is the same as on a disk."""


def listing(version=1, *entries, base=LIST, **changes):
    return replace(base, version=version, dimension=DIMENSION, entries=list(entries), **changes)


def delivery(watchlist, provenance=REGULAR, key=KEY, kept=()):
    """A list as it comes out of the transport."""
    parts = seal_list(watchlist, key, kept=kept)
    sealed = SealedList(
        list_id=watchlist.id,
        version=watchlist.version,
        digest=hashlib.sha256(parts.head).hexdigest(),
        head=parts.head,
        segments=parts.pieces,
        key=key,
        provenance=provenance,
    )
    return Delivery(open_list(parts.head, parts.pieces, key, watchlist.id), sealed)


def vouched(delivery, provenance):
    """The same list, signed by others."""
    return Delivery(
        delivery.watchlist, msgspec.structs.replace(delivery.sealed, provenance=provenance)
    )


class Receipts:
    """Takes receipts as the outbox does: one under each name."""

    def __init__(self):
        self.given = {}
        self.refuses = None

    def __call__(self, receipt, name):
        if self.refuses:
            raise self.refuses
        self.given.setdefault(name, receipt)

    def reasons(self):
        return [(r.list.version, r.reason.value) for r in self.given.values()]


class Device:
    """A `Watchlists` that can be restarted; time, place and lamp are the test's to say."""

    def __init__(self, folder, *, place=PLACE, now=NOW, kind="exact"):
        self.folder, self.place, self.kind = folder, place, kind
        self.now, self.least, self.doubt, self.running = now, 0.0, "", 0.0
        self.fix: Fix | str = "no receiver"
        self.shown = []
        self.lamp_error = None
        self.receipts = Receipts()
        self.start()

    def start(self):
        self.store = ListStore(self.folder / "lists", self.place.list_id, STORAGE_KEY)
        self.lists = Watchlists(
            self.place,
            self.store,
            Senses(time=self.time, where=lambda: self.fix, show=self.show),
            give_receipt=self.receipts,
            kind=self.kind,
        )
        return self.settle()

    def restart(self):
        """Whatever was in memory is lost."""
        return self.start()

    def time(self):
        return Time(
            now=max(self.now, self.least), least=self.least, running=self.running, doubt=self.doubt
        )

    def show(self, armed):
        if self.lamp_error:
            raise self.lamp_error
        self.shown.append(armed)

    def settle(self):
        """Do all that is due."""
        self.lists.step()
        return self

    def offer(self, delivery):
        self.lists.offer(delivery)
        return self.settle()

    def withdraw(self, reason="withdrawn by its owner"):
        self.lists.withdraw(reason)
        return self.settle()

    def later(self, seconds):
        self.now += seconds
        self.running += seconds
        return self.settle()

    def version(self):
        current = self.lists.current()
        return current and current.version

    def said(self):
        return "; ".join(self.lists.reasons)

    def files(self):
        return {p.name for p in self.folder.rglob("*") if p.is_file()}
