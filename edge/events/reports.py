"""From what the pipeline finds to events in the outbox; held in memory while the disk takes none.

An update or an end refers to the candidate's event, whose id is known once that is stored: so
everything waits in one line, and is turned into an event when its turn comes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from edge import limits
from edge.errors import FormatError, StorageUnavailable
from edge.events.outbox import Outbox
from edge.pipeline import EndReason, Match
from edge.protocol import event
from edge.protocol.sealed_picture import seal
from edge.vision import cutout
from edge.watchlist.sightings import Sighting

log = logging.getLogger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    """Something to be told.

    Attributes:
        sighting: number of the sighting it is about.
        data: the event; a function of the candidate's id where it refers to it. None: nothing.
        ends: nothing follows about this sighting.
        picture: it is the candidate's picture.
    """

    sighting: int
    data: event.Candidate | Callable[[str], event.Data | None]
    ends: bool = False
    picture: bool = False


class Reports:
    """What is told of candidates. Taken from one thread; stored by any."""

    def __init__(
        self, outbox: Outbox, *, device: str, models: dict[str, str], on_stored: Callable[[], None]
    ) -> None:
        """Begin; candidates that were in view when the last process died are ended.

        Args:
            outbox: where events go.
            device: id of this device.
            models: name to the first 16 hex digits of the file's SHA-256.
            on_stored: called when something new is in the outbox.
        """
        self._outbox = outbox
        self._device = device
        self._models = models
        self._on_stored = on_stored
        self._waiting: deque[_Waiting] = deque()
        self._ids: dict[int, str] = {}  # of the candidates in view
        self._lost = self._lost_pictures = 0
        self._lock = threading.Lock()
        self.candidates = 0
        self.trouble = ""
        """Why reports cannot be stored at the moment; empty if they can."""
        for sequence, entry in outbox.in_view():
            identifier = event.event_id(device, sequence)
            self._ids[-sequence] = identifier  # below zero: of no sighting of this run
            self._waiting.append(_Waiting(-sequence, partial(_restarted, entry), ends=True))

    @property
    def in_view(self) -> bool:
        """Whether a candidate was told of whose end was not told yet."""
        return bool(self._ids)

    def candidate(self, match: Match) -> None:
        """Tell of a candidate."""
        decision = match.decision
        log.info(
            "candidate: entry %s, score %.2f of %.2f",
            decision.entry, decision.score, decision.threshold,
        )  # fmt: skip
        self.candidates += 1
        data = event.Candidate(
            models=self._models, first_frame=match.first_frame, **_resemblance(match)
        )
        self._tell(_Waiting(match.sighting, data), *self._picture(match))

    def update(self, match: Match) -> None:
        """Tell what has changed about a candidate."""
        common = _resemblance(match)
        self._tell(
            _Waiting(match.sighting, lambda known: event.Updated(candidate=known, **common)),
            *self._picture(match),
        )

    def end(self, sighting: Sighting, reason: EndReason) -> None:
        """Tell that a candidate is no longer in view."""
        self._tell(
            _Waiting(
                sighting.number,
                lambda known: event.Ended(
                    candidate=known,
                    entry=sighting.entry,
                    reason=reason,
                    last_frame=sighting.last_frame,
                ),
                ends=True,
            )
        )

    def save(self) -> None:
        """Put what waits into the outbox; what the disk refuses is kept and tried again."""
        with self._lock:
            try:
                while self._lost or self._lost_pictures or self._waiting:
                    self._save_one()
            except StorageUnavailable as error:
                if not self.trouble:
                    log.warning("%s; %d reports are held in memory", error, len(self._waiting))
                self.trouble = "events cannot be stored: is the disk full?"
                return
            self.trouble = ""

    def _save_one(self) -> None:
        if self._lost or self._lost_pictures:
            reason = "the disk took no events for long"
            self._outbox.put(
                event.Gap(lost=self._lost, pictures=self._lost_pictures, reason=reason)
            )
            self._lost = self._lost_pictures = 0
            self._on_stored()
            return
        waiting = self._waiting[0]
        if isinstance(waiting.data, event.Candidate):
            (number,) = self._outbox.put_all([waiting.data])
            self._ids[waiting.sighting] = event.event_id(self._device, number)
        elif (known := self._ids.get(waiting.sighting)) is None:
            self._count(waiting)  # of a candidate that was lost itself
        elif (data := waiting.data(known)) is not None:
            self._outbox.put(data)
        if waiting.ends:
            self._ids.pop(waiting.sighting, None)
        self._waiting.popleft()
        self._on_stored()

    def _tell(self, *reports: _Waiting) -> None:
        with self._lock:
            self._waiting.extend(reports)
            while len(self._waiting) > limits.UNSAVED_MAX:
                self._count(self._waiting.popleft())
        self.save()

    def _count(self, lost: _Waiting) -> None:
        if lost.picture:
            self._lost_pictures += 1
        else:
            self._lost += 1

    def _picture(self, match: Match) -> list[_Waiting]:
        """Return the face of a candidate for its reviewers, where they are to have it."""
        reviewers = match.gallery.authorisation.reviewers
        if match.picture is None or reviewers is None:
            return []
        jpeg = cutout.encode(match.picture)
        if jpeg is None:
            return []
        entry = match.decision.entry

        def sealed(known: str) -> event.Data | None:
            try:
                return seal(jpeg, reviewers=reviewers, candidate=known, entry=entry)
            except FormatError as error:
                log.warning("no picture of %s is sent: %s", known, error)
                return None

        return [_Waiting(match.sighting, sealed, picture=True)]


def _restarted(entry: str, candidate: str) -> event.Ended:
    return event.Ended(candidate=candidate, entry=entry, reason="restarted")


def _resemblance(match: Match) -> dict[str, Any]:
    """Return what candidates and updates have in common, rounded to what it is worth."""
    decision, quality, gallery = match.decision, match.quality, match.gallery
    left, top, right, bottom = match.face.box
    return {
        "entry": decision.entry,
        "score": round(decision.score, 4),
        "threshold": round(decision.threshold, 4),
        "fpir_target": match.fpir_target,
        "views": decision.views,
        "agreeing": decision.agreeing,
        "list": event.ListVersion(id=gallery.id, version=gallery.version),
        "authorisation": gallery.authorisation.reference,
        "purpose": gallery.authorisation.purpose,
        "quality": event.Quality(
            eye_distance=round(quality.eye_distance, 1),
            sharpness=round(quality.sharpness, 3),
            brightness=round(quality.brightness, 3),
            contrast=round(quality.contrast, 3),
            frontality=round(quality.frontality, 3),
        ),
        "box": event.Box(
            x=round(left, 1),
            y=round(top, 1),
            width=round(right - left, 1),
            height=round(bottom - top, 1),
            frame_width=match.frame_size[0],
            frame_height=match.frame_size[1],
        ),
        "last_frame": match.last_frame,
    }
