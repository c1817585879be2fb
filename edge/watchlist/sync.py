"""The list in force: what takes its place, what ends it, and whether it may be used right now.

`offer` and `withdraw` are the transport's, `stop` and `resume` the operator's; all return at once.
A thread of its own applies the rules, builds the index beside the list in force, and swaps it in
as one reference. `current` is asked for every frame, and gives the list only while nothing stands
against looking (`edge.watchlist.arming`) and the indicator shows that the device looks.

A list that ends finds nobody from that moment. Then it is destroyed: overwritten in memory; noted,
so that no power cut brings it back; on the disk the key before the rest; and when nothing is left,
a receipt is given, once. A disk that refuses holds up neither the end nor the new list: both hold
in memory, `reasons` says what is owed, and it is tried again (`edge.watchlist.upkeep`).
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable

import msgspec

from edge import limits
from edge.errors import BadInput, FormatError, IndicatorUnavailable, StorageUnavailable, short
from edge.protocol.event import Ending
from edge.protocol.sealed_list import open_list
from edge.watchlist.arming import obstacle
from edge.watchlist.authorisation import (
    Floor,
    NotYetValid,
    Place,
    Tightening,
    check,
    ending,
    ends,
    lifted,
    urgent_since,
)
from edge.watchlist.delivery import Delivery, SealedList
from edge.watchlist.gallery import Gallery
from edge.watchlist.hnsw import Kind
from edge.watchlist.place import Fix
from edge.watchlist.store import Ended, ListStore
from edge.watchlist.timekeeping import Time
from edge.watchlist.upkeep import GiveReceipt, Upkeep

log = logging.getLogger(__name__)

NO_LIST = "no list received yet"


class Senses(msgspec.Struct, frozen=True):
    """What a device knows of its surroundings, and how it shows what it does.

    Attributes:
        time: what is known of the time (`edge.health.clock`).
        where: the position, or why there is none (`edge.health.position`).
        show: shows whether the device is armed, or raises `IndicatorUnavailable`.
    """

    time: Callable[[], Time]
    where: Callable[[], Fix | str]
    show: Callable[[bool], None]


class Watchlists:
    """The list in force, and what is done with those that are offered. A `ListKeeper`."""

    def __init__(
        self,
        place: Place,
        store: ListStore,
        senses: Senses,
        *,
        give_receipt: GiveReceipt,
        kind: Kind = "auto",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Take up what is kept; `start` puts it in force.

        Args:
            place: what this device is.
            store: what it keeps.
            senses: its surroundings.
            give_receipt: takes the receipts of lists that were destroyed.
            kind: of index.
            on_change: called from the list thread when the list in force or `reasons` changed.
        """
        self._place = place
        self._store = store
        self._senses = senses
        self._upkeep = Upkeep(store, give_receipt)
        self._kind = kind
        self._on_change = on_change
        self._floor = store.life.floor
        self._stopped = store.life.stopped
        self._sealed: SealedList | None = None  # held: in force, unless it waits
        self._gallery: Gallery | None = None  # in force
        self._ending = Ending.EXPIRED  # what it dies of when its time is over
        self._armed: Gallery | None = None  # what `current` may give
        self._next: Delivery | None = None  # offered
        self._withdrawn = ""  # why there is none any more; before what is offered
        self._ordered = False  # to stop, and not looked at yet
        self._obeyed = False  # the order to stop: what was held has ended, and that is noted
        self._judge_again = False  # the list in force: the configuration's limits have changed
        self._waiting: Delivery | None = None  # lacks nothing but time
        self._begins = 0.0  # from when on the waiting one is tried
        self._no_list = NO_LIST
        self._refusal = self._standing = ""
        self._said: tuple[object, ...] = ()
        self._begun = self._closing = False
        self._wake = threading.Condition()
        if not self._stopped:
            self._load()
        self._thread = threading.Thread(target=self._work, name="watchlist", daemon=True)

    def start(self) -> None:
        """Begin: what was cut off is finished, what is kept is put in force."""
        self._thread.start()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, in words: no list, a list refused, why nothing is looked for, the disk."""
        gallery = self._gallery
        known = (
            f"stopped by order: {self._stopped}" if self._stopped else "",
            self._no_list if not gallery and not self._stopped else "",
            self._refusal,
            f"not looking: {self._standing}" if gallery and self._standing else "",
            self._upkeep.trouble,
        )
        return tuple(reason for reason in known if reason)

    def offer(self, delivery: Delivery) -> None:
        """Take an authentic list; only the newest one waiting is looked at."""
        with self._wake:
            self._next = delivery
            self._wake.notify()

    def withdraw(self, reason: str) -> None:
        """Destroy the list in force: those who sign it say that there is none."""
        with self._wake:
            self._withdrawn, self._next = reason, None
            self._wake.notify()

    def stored(self) -> SealedList | None:
        """Return the list that is held, so that only what changed need be fetched."""
        waiting = self._waiting
        return self._sealed or (waiting.sealed if waiting else None)

    @property
    def embedder(self) -> str:
        """Which embedder the list that is held was made with, looked by or not; empty without."""
        gallery, waiting = self._gallery, self._waiting
        if gallery is not None:
            return gallery.embedder
        return waiting.watchlist.embedder if waiting is not None else ""

    def tighten(self, tightening: Tightening) -> None:
        """Go by other limits of the configuration, for the list in force too."""
        with self._wake:
            self._place = msgspec.structs.replace(self._place, tightening=tightening)
            self._judge_again = True
            self._wake.notify()

    @property
    def stopped(self) -> bool:
        """Whether an order to stop is in force."""
        return bool(self._stopped)

    def stop(self, reason: str) -> None:
        """Look for nobody from now on, destroy the list, and stay so until `resume`.

        Args:
            reason: by whose order, and why; in words.

        Raises:
            StorageUnavailable: it holds now, but would not survive a restart yet; writing it down
                is tried again.
        """
        reason = short(reason.strip()) or "no reason was given"
        with self._wake:
            self._stopped = self._upkeep.stopped = reason
            self._ordered, self._obeyed, self._next = True, False, None
            self._armed, gallery = None, self._gallery
            self._wake.notify()
        if gallery is not None:
            gallery.destroy()
        self._store.order(reason)

    def resume(self) -> None:
        """Lift an order to stop. What the fleet still publishes may be fetched anew.

        What was offered meanwhile was dropped: have it offered again (`ListTransport.forget`,
        `Trust.again`).

        Raises:
            StorageUnavailable: the end of the list is not noted yet, or this cannot be: the device
                stays stopped. Else a power cut could bring back what was ordered to be destroyed.
        """
        with self._wake:
            if self._stopped and not self._obeyed:
                raise StorageUnavailable(
                    "the order to stop is not carried out yet: resume again in a moment"
                )
            self._upkeep.stopped = ""
            try:
                self._store.order("")
            except StorageUnavailable:
                self._upkeep.stopped = self._stopped
                raise
            self._stopped, self._floor = "", lifted(self._floor)
            self._no_list = "resumed: waiting for the list"
            self._wake.notify()

    def current(self) -> Gallery | None:
        """Return the list if it may be used right now, or None. Cheap: asked for every frame."""
        gallery = self._armed
        if gallery is None:
            return None
        if not self._obstacle(gallery, self._senses.time()):
            return gallery
        with self._wake:
            self._wake.notify()  # the thread does what follows from it
        return None

    def close(self) -> None:
        """Stop looking and overwrite what is in memory. What is kept on the disk stays."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def _pending(self) -> bool:
        return bool(self._next or self._withdrawn or self._ordered or self._judge_again)

    # --- The thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._closing:
                self.step()
                with self._wake:
                    if not self._pending and not self._closing:
                        self._wake.wait(limits.LIST_CHECK_S)
        finally:  # whatever ended it: nothing is looked for any more
            gallery, self._gallery, self._armed = self._gallery, None, None
            self._no_list = "lists are not looked after any more: see the log, and restart"
            self._arm(self._senses.time())
            if gallery is not None:
                gallery.destroy()

    def step(self) -> None:
        """Do what is due: what the thread does again and again. For one thread."""
        with self._wake:
            stopped, self._ordered = self._stopped, False
            offered, self._next = None if stopped else self._next, None
            withdrawn, self._withdrawn = self._withdrawn, ""
            judge_again, self._judge_again = self._judge_again, False
        time = self._senses.time()
        if not self._begun:
            self._begin(time)
        if stopped:
            self._end(Ending.STOPPED, time)
        if judge_again:
            self._judge_held(time)
        self._pass(offered, withdrawn, time)
        if stopped and not self._upkeep.owes_an_end:
            self._obeyed = True  # nothing was taken since this step began
        said = (self._gallery, *self.reasons)
        if said != self._said:
            self._said = said
            self._on_change()

    def _begin(self, time: Time) -> None:
        """Put in force what was kept, if it may be, as soon as it can be read."""
        if self._upkeep.unread and not self._stopped:
            self._load(time.running)
        self._begun = not self._upkeep.unread
        kept = self._sealed
        if kept is None or self._gallery is not None or self._stopped:
            return
        try:
            watchlist = open_list(kept.head, kept.segments, kept.key, kept.list_id)
            if watchlist.version != self._floor.version or kept.digest != self._floor.digest:
                raise FormatError("it is not the one that was used last")
        except BadInput as damage:
            self._lose(damage)
            self._upkeep.discard()
        else:
            self._take(Delivery(watchlist, kept), time)

    def _pass(self, offered: Delivery | None, withdrawn: str, time: Time) -> None:
        """Do what is due. An end comes before everything else."""
        if self._gallery is not None and time.is_over(self._gallery.expires):
            self._end(self._ending, time)
        if withdrawn:
            self._end(Ending.WITHDRAWN, time)
            self._no_list, self._refusal = withdrawn, ""
        if offered is not None:
            self._take(offered, time)
        elif self._waiting is not None and time.now >= self._begins:
            self._take(self._waiting, time)
        self._arm(time)
        self._upkeep.pursue(time)

    def _take(self, delivery: Delivery, time: Time) -> None:
        """Refuse a list with its reason, have it wait, or put it in force."""
        watchlist, sealed, held = delivery.watchlist, delivery.sealed, self._sealed
        ours = held is not None and held.digest == sealed.digest
        if (
            held is not None
            and ours
            and self._gallery is not None
            and (
                sealed.provenance == held.provenance
                or (held.provenance.role, sealed.provenance.role) == ("regular", "urgent")
            )
        ):
            self._refusal = ""  # delivered again; one that was countersigned stays so
            return
        try:
            check(
                watchlist, sealed.provenance, self._place,
                time=time, floor=self._floor, digest=sealed.digest,
            )  # fmt: skip
            end = ends(watchlist, sealed.provenance, self._floor)
            gallery = Gallery(msgspec.structs.replace(watchlist, expires=end), self._kind)
        except NotYetValid as refusal:
            self._waiting, self._begins = delivery, refusal.begins
            self._refuse(f"list waits: {refusal}")
        except BadInput as refusal:
            if delivery is self._waiting:
                self._waiting = None
            if ours:  # it may not be used any more
                vouched = watchlist, sealed.provenance, self._floor
                over = time.is_over(ends(*vouched))
                reason = ending(*vouched) if over else Ending.NOT_AUTHORISED
                self._end(reason, time)
            self._refuse(f"list refused: {refusal}")
        else:
            self._ending = ending(watchlist, sealed.provenance, self._floor)
            since = urgent_since(watchlist, sealed.provenance, self._floor)
            floor = Floor(sealed.version, sealed.digest, urgent_since=since)
            self._install(gallery, sealed, floor, time)

    def _judge_held(self, time: Time) -> None:
        """End the list in force where the configuration's limits refuse it now."""
        held = self._sealed
        if held is None or self._gallery is None:
            return
        try:
            watchlist = open_list(held.head, held.segments, held.key, held.list_id)
            check(
                watchlist, held.provenance, self._place,
                time=time, floor=self._floor, digest=held.digest,
            )  # fmt: skip
        except NotYetValid:
            return  # the clock is doubted: what depends on it is another's to judge
        except BadInput as refusal:
            self._end(Ending.NOT_AUTHORISED, time)
            self._refuse(f"list refused: {refusal}")

    def _refuse(self, why: str) -> None:
        if why != self._refusal:
            log.warning("%s", why)
        self._refusal = why

    def _install(self, gallery: Gallery, sealed: SealedList, floor: Floor, time: Time) -> None:
        """Put a list in force, in one step; then see to the one before, and to the disk."""
        log.info("list %s version %d: %d entries", gallery.id, gallery.version, gallery.entries)
        old, held = self._gallery, self._sealed
        ended = self._ended(held, Ending.REPLACED, time)
        self._gallery, self._sealed, self._floor = gallery, sealed, floor
        self._waiting, self._refusal = None, ""
        self._arm(time)
        if old is not None:
            old.destroy()
        if ended is not None and ended.digest != sealed.digest:
            lives = held is None or held.key == sealed.key  # what could not be read may be the same
            ended = msgspec.structs.replace(ended, key_lives=lives)
            self._upkeep.keep(sealed, ended, floor.urgent_since)
        elif held != sealed:
            self._upkeep.keep(sealed, None, floor.urgent_since)

    # --- Ends ------------------------------------------------------------------------------------

    def _end(self, reason: Ending, time: Time) -> None:
        """End the list that is held, in memory at once; `Upkeep` does the rest."""
        gallery, self._gallery, self._armed = self._gallery, None, None
        if gallery is not None:
            gallery.destroy()
        held, self._sealed = self._sealed, None
        ended = self._ended(held, reason, time)
        other = self._waiting and held and self._waiting.sealed.digest != held.digest
        if not other or reason in (Ending.WITHDRAWN, Ending.STOPPED):  # else its time may come yet
            self._waiting, self._refusal = None, ""
        if ended is None:
            if reason is Ending.WITHDRAWN and self._floor.by_order:
                self._floor = msgspec.structs.replace(self._floor, by_order=False)
                self._upkeep.bar()
            return
        by_order = reason is Ending.STOPPED
        self._floor = msgspec.structs.replace(self._floor, ended=True, by_order=by_order)
        self._no_list = (
            f"list {self._place.list_id} version {ended.version} has ended: {reason.value}"
        )
        self._upkeep.end(ended)

    def _ended(self, held: SealedList | None, reason: Ending, time: Time) -> Ended | None:
        """Return the end of the list that is held, or at rest and could not be read yet."""
        if held is None:
            ended = self._store.ended(reason, time.now) if self._upkeep.unread else None
        else:
            ended = Ended(
                version=held.version,
                digest=held.digest,
                reason=reason,
                ended=time.now,
                urgent_since=self._floor.urgent_since,
            )
        if ended is not None and reason is Ending.STOPPED:
            ended = msgspec.structs.replace(ended, occasion=secrets.token_hex(8))
        return ended

    def _load(self, running: float = 0.0) -> None:
        try:
            self._sealed = self._upkeep.load(running)
        except FormatError as damage:
            self._lose(damage)

    def _lose(self, damage: BadInput) -> None:
        log.warning("the list at rest is discarded: %s", damage)
        self._sealed = None
        self._no_list = f"the list at rest was damaged ({damage}): it is fetched again"

    # --- Whether it may be used right now --------------------------------------------------------

    def _obstacle(self, gallery: Gallery, time: Time) -> str:
        return obstacle(
            gallery.authorisation,
            gallery.expires,
            profile=self._place.profile,
            time=time,
            fix=self._senses.where(),
        )

    def _arm(self, time: Time) -> None:
        """Show that the device looks, and only then let it look."""
        gallery = self._gallery
        standing = self._obstacle(gallery, time) if gallery else NO_LIST
        if standing:
            self._armed = None
        try:
            self._senses.show(not standing)
        except IndicatorUnavailable as error:
            standing = str(error)
        self._standing = standing
        with self._wake:
            self._armed = None if standing or self._stopped else gallery
