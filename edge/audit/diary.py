"""What is recorded when: from what happens in the device to records of the audit log.

Nothing here depends on people who do not match. What an outsider can cause at will (refusals) or
what may flicker (what is wrong) is recorded at a bounded rate: nobody can push the rest out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from edge import limits
from edge.audit.log import AuditLog
from edge.errors import short
from edge.protocol import audit, event
from edge.protocol.event import ListVersion
from edge.watchlist.delivery import SealedList
from edge.watchlist.gallery import Gallery

What = Literal["list", "configuration", "command", "update"]
WhyEnded = Literal["list", "camera", "audit", "stopped"]


class Diary:
    """Keeps the audit log of one run. Safe for several threads."""

    def __init__(
        self,
        log: AuditLog,
        started: audit.Started,
        *,
        now: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Record the start, and the end of a use that the last run left open.

        Args:
            log: where to.
            started: what is said of the start.
            now: wall clock, seconds since 1970.
            steady: seconds, never set.
        """
        self._log = log
        self._now, self._steady = now, steady
        self._lock = threading.Lock()
        self._offset = now() - steady()
        self._hour = steady()
        self._taken: tuple[str, int] | None = None
        self._using: Gallery | None = None
        self._reasons: tuple[str, ...] = ()
        self._reasons_at = float("-inf")
        self._refusals: dict[What, tuple[float, int]] = {}
        self._reported: tuple[event.Data, int] | None = None
        if log.unfinished is not None:
            log.append(audit.UseEnded(list=log.unfinished, reason="interrupted"))
        log.append(started)

    @property
    def trouble(self) -> str:
        """Why records cannot be stored at the moment; empty if they can."""
        return self._log.trouble

    @property
    def head(self) -> str:
        """Where the log stands."""
        return self._log.head

    def report(self, data: event.Data, device: str, sequence: int) -> str:
        """Record an event that is about to be stored, and return the head it is to carry.

        `sync` must follow before it is stored.

        Args:
            data: what the event says.
            device: id of this device.
            sequence: the event's number.
        """
        with self._lock:
            if self._reported == (data, sequence):  # the outbox's disk refused, and it tries again
                return self._log.head
            self._reported = (data, sequence)
            if isinstance(data, event.Receipt) and (data.digest, data.list.version) == self._taken:
                self._taken = None  # after an order to stop that was lifted it may be taken again
        entry = _entry(data, event.event_id(device, sequence))
        return self._log.append(entry, sync=False) if entry is not None else self._log.head

    def sync(self) -> None:
        """Have on the disk what was recorded of events.

        Raises:
            StorageUnavailable: it is not.
        """
        self._log.sync()

    def look(self, gallery: Gallery | None, sealed: SealedList | None) -> Gallery | None:
        """Return the list that may be used now, once its use is recorded; asked for every frame.

        Args:
            gallery: the list that is armed, or None.
            sealed: the list that is held.
        """
        allowed = gallery if not self._log.full else None
        if allowed is not self._using:
            with self._lock:
                self._taken_up(gallery, sealed)
                self._use(allowed, "audit" if gallery is not allowed else "list")
        return allowed

    def idle(self, reason: Literal["camera", "stopped"]) -> None:
        """Record that no frames come any more; the next one begins a new use."""
        with self._lock:
            self._use(None, reason)

    def watch(
        self,
        gallery: Gallery | None,
        sealed: SealedList | None,
        reasons: tuple[str, ...],
    ) -> None:
        """Record what has changed: the list, what is wrong, the clock. Called every second."""
        with self._lock:
            self._taken_up(gallery, sealed)
            steady = self._steady()
            offset = self._now() - steady
            if abs(offset - self._offset) > limits.CLOCK_JUMP_S:
                self._log.append(audit.ClockJumped(seconds=round(offset - self._offset, 1)))
            self._offset = offset
            due = steady - self._reasons_at >= limits.AUDIT_PAUSE_S and not self._log.full
            if reasons != self._reasons and due:
                self._reasons, self._reasons_at = reasons, steady
                self._log.append(audit.Degraded(reasons=tuple(map(short, reasons))))
            self._log.flush()

    def refuse(self, what: What, reason: str) -> None:
        """Record that something was not accepted; of many in a short time, one and their number."""
        with self._lock:
            steady = self._steady()
            at, more = self._refusals.get(what, (float("-inf"), 0))
            if steady - at < limits.AUDIT_PAUSE_S or self._log.full:
                self._refusals[what] = (at, more + 1)
                return
            self._refusals[what] = (steady, 0)
            self._log.append(audit.Refused(what=what, reason=short(reason), more=more))

    def note(
        self,
        entry: audit.Configured | audit.Ordered | audit.Updated | audit.NotUpdated | audit.Renewed,
    ) -> None:
        """Record a configuration or certificate, a command carried out, or an update's end."""
        self._log.append(entry)

    def hour_is_over(self) -> bool:
        """Return, once an hour, that it is time to publish the head; records a use that goes on."""
        with self._lock:
            if self._steady() - self._hour < limits.AUDIT_HEAD_S:
                return False
            self._hour = self._steady()
            if self._using is not None:
                self._log.append(audit.UseGoesOn(list=_version(self._using)))
            return True

    def close(self) -> None:
        """Record the end and close the log."""
        self.idle("stopped")
        self._log.append(audit.Stopped())
        self._log.close()

    def _use(self, gallery: Gallery | None, reason: WhyEnded) -> None:
        before, self._using = self._using, gallery
        entries: list[audit.Entry] = []
        if before is not None:
            entries.append(audit.UseEnded(list=_version(before), reason=reason))
        if gallery is not None:
            entries.append(audit.UseBegan(list=_version(gallery)))
        self._log.append(*entries)

    def _taken_up(self, gallery: Gallery | None, sealed: SealedList | None) -> None:
        if gallery is None or sealed is None or gallery.version != sealed.version:
            return
        if self._taken == (sealed.digest, sealed.version):
            return
        self._taken = (sealed.digest, sealed.version)
        authorisation = gallery.authorisation
        self._log.append(
            audit.ListTaken(
                list=_version(gallery),
                digest=sealed.digest,
                authorisation=authorisation.reference,
                purpose=authorisation.purpose,
                entries=gallery.entries,
                not_before=authorisation.not_before,
                not_after=int(gallery.expires),
                role=sealed.provenance.role,
            )
        )


def _entry(data: event.Data, identifier: str) -> audit.Entry | None:
    match data:
        case event.Candidate() | event.Updated() | event.Ended() | event.Picture():
            return audit.Reported(event=identifier, type=event.type_of(data), entry=data.entry)
        case event.Gap():
            return audit.Lost(
                event=identifier, lost=data.lost, pictures=data.pictures, reason=data.reason
            )
        case event.Receipt():
            return audit.ListDestroyed(
                list=data.list, digest=data.digest, reason=data.reason, receipt=identifier
            )
        case event.AuditHead():
            return None


def _version(gallery: Gallery) -> ListVersion:
    return ListVersion(id=gallery.id, version=gallery.version)
