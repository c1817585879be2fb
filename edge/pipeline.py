"""The way of a frame, top to bottom: detect, track, best shots, align and embed, match, decide.

A candidate is reported once, updated while later views change its score, and ended when it has left
(`edge.watchlist.sightings`).

Nothing here touches disk or network. Pictures and templates live in RAM for as long as their
track is in view; a track that ends takes them along. Where no list is in force nothing is even
detected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.base import Frame
from edge.inference.manifest import EmbedderModel
from edge.vision.cutout import cut
from edge.vision.detect import check_image
from edge.vision.faces import Face
from edge.vision.quality import Quality, measure
from edge.vision.shots import Shot, Shots
from edge.vision.track import Track, Tracker
from edge.watchlist.authorisation import strictest_fpir_target
from edge.watchlist.decide import Decision, agrees, decide, threshold
from edge.watchlist.gallery import Gallery
from edge.watchlist.index import Hit
from edge.watchlist.sightings import Sighting, Sightings


class Eye(Protocol):
    """What the pipeline needs of `edge.vision.engine.Vision`."""

    embedder_model: EmbedderModel

    def detect(self, image: NDArray[np.uint8], min_score: float | None = None) -> list[Face]:
        """Find faces in a (height, width, 3) uint8 BGR picture, strongest first."""

    def align(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Cut out a face upright: (112, 112, 3) uint8, BGR."""

    def embed_aligned(self, aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the template, (dimension,) float32 of length 1."""

    @property
    def strong_score(self) -> float:
        """The score from which a detection may begin a track."""


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate, or an update of one: what the event is made of.

    Attributes:
        sighting: number of the sighting within this run.
        decision: what was decided.
        gallery: the list that it was decided by.
        fpir_target: what the threshold follows from.
        face: as last seen.
        quality: of the best view.
        picture: (h, w, 3) uint8, BGR, of the best view's face and nobody else; None where none is
            wanted or there is none.
        frame_size: width and height of the frame.
        first_frame: index of the frame in which the track began.
        last_frame: index of the frame in which it was last seen.
    """

    sighting: int
    decision: Decision
    gallery: Gallery
    fpir_target: float
    face: Face
    quality: Quality
    picture: NDArray[np.uint8] | None
    frame_size: tuple[int, int]
    first_frame: int
    last_frame: int


EndReason = Literal["left", "list-over", "stopped"]
"""Why a candidate's life is over; see `edge.protocol.event.Ended`."""


@dataclass(slots=True)
class Counters:
    """What happened in this process. For the benchmark and the demonstration: never published."""

    frames: int = 0
    faces: int = 0
    tracks: int = 0
    embeddings: int = 0


class Observer(Protocol):
    """Sees what the pipeline saw, in this process only: the demonstration's annotator."""

    def saw(self, frame: Frame, faces: Sequence[Face], tracks: Sequence[SeenTrack]) -> None:
        """Take a processed frame, all its detections however weak, and the tracks seen in it."""


@dataclass(slots=True, eq=False)
class SeenTrack:
    """A track with its views and, once it is a candidate, the decision.

    Attributes:
        track: where it is.
        shots: its views.
        decision: whom it resembles, once it is a candidate.
        judged_by: the list that it was judged by last.
        frame_size: width and height of the frame it was last seen in.
        checked: time of the last view that was compared.
        doubts: views in a row that did not confirm the decision.
        picture: the face in the view that waits to be embedded; only where pictures are wanted.
        best: the face in the best view that names an entry, how good that view is, and the entry.
    """

    track: Track
    shots: Shots = field(default_factory=Shots)
    decision: Decision | None = None
    judged_by: Gallery | None = None
    frame_size: tuple[int, int] = (0, 0)
    checked: float = 0.0
    doubts: int = 0
    picture: NDArray[np.uint8] | None = None
    best: tuple[NDArray[np.uint8], float, str] | None = None

    def show(self, entry: str, quality: float) -> None:
        """Keep the face in the newest view, which names `entry`, if no better one does."""
        best = self.best
        if self.picture is not None and (best is None or best[2] != entry or quality > best[1]):
            self.best = (self.picture, quality, entry)

    def release(self) -> None:
        """Forget whom it resembles, and every view: from now on it may be anybody."""
        self.shots, self.decision, self.judged_by, self.doubts = Shots(), None, None, 0
        self.picture = self.best = None


class Pipeline:
    """Judges frames against the list in force. For one thread."""

    def __init__(
        self,
        eye: Eye,
        gallery: Callable[[], Gallery | None],
        on_match: Callable[[Match], None],
        *,
        now: Callable[[], float],
        on_update: Callable[[Match], None] = lambda _: None,
        on_end: Callable[[Sighting, EndReason], None] = lambda *_: None,
        pictures: bool = False,
        fpir_target: float = limits.FPIR_TARGET_DEFAULT,
        observer: Observer | None = None,
    ) -> None:
        """Wire a pipeline.

        Args:
            eye: detector and embedder.
            gallery: gives the list in force, or None; asked for every frame.
            on_match: takes a candidate; called once a sighting.
            now: wall clock, seconds since 1970.
            on_update: takes what has changed about a candidate.
            on_end: takes a sighting that is over, and why.
            pictures: cut out the faces of candidates, for lists that name their reviewers' key.
            fpir_target: the device's own; the stricter of it and the list's is used.
            observer: sees every processed frame.
        """
        self._eye = eye
        self._gallery = gallery
        self._on_match = on_match
        self._now = now
        self._on_update = on_update
        self._on_end = on_end
        self._pictures = pictures
        self._fpir_target = fpir_target
        self._observer = observer
        self._tracker = Tracker()
        self._seen: dict[int, SeenTrack] = {}
        self._sightings = Sightings()
        self._thumbnail: NDArray[np.uint8] | None = None
        self.counters = Counters()

    def process(self, frame: Frame) -> None:
        """Judge the next frame.

        Raises:
            FrameError: the frame is no picture; the next may be.
        """
        self.counters.frames += 1
        gallery = self._gallery()
        if gallery is None or not gallery.templates:
            self._forget_all("list-over")
            if self._observer:
                self._observer.saw(frame, (), ())
            return
        if self._is_cut(frame.image):
            self._end(self._tracker.end_all(), gallery)

        faces = self._eye.detect(frame.image, limits.WEAK_FACE_SCORE)
        strong = [f for f in faces if f.score >= self._eye.strong_score]
        weak = faces[len(strong) :]
        tracks, ended = self._tracker.update(frame.index, frame.seconds, strong, weak)
        self.counters.faces += len(strong)

        for track in tracks:
            self._look(track, frame, gallery, faces)
        self._end(ended, gallery)
        for sighting in self._sightings.over(frame.seconds):
            self._on_end(sighting, "left")
        if self._observer:
            self._observer.saw(frame, faces, [self._seen[t.id] for t in tracks])

    def finish(self) -> None:
        """Judge what is still waiting at the source's end, then forget everything."""
        gallery = self._gallery()
        if gallery is not None and gallery.templates:
            self._end(self._tracker.end_all(), gallery)
        self._forget_all("stopped")

    def _look(self, track: Track, frame: Frame, gallery: Gallery, faces: Sequence[Face]) -> None:
        """Take a view of a track seen in this frame, and judge it when it is time."""
        seen = self._seen.get(track.id)
        if seen is None:
            seen = self._seen[track.id] = SeenTrack(track)
            self.counters.tracks += 1
        seen.frame_size = (frame.image.shape[1], frame.image.shape[0])
        if seen.judged_by is not None and seen.judged_by is not gallery:
            seen.decision = None  # a new list: what was decided by the old one is void
            self._judge(seen, gallery)
        if seen.decision is not None and not seen.doubts:
            self._sightings.seen(seen.decision.entry, frame.index, frame.seconds)
        aligned = self._eye.align(frame.image, track.face)
        better = seen.shots.offer(frame.seconds, measure(track.face, aligned), aligned)
        if better and self._pictures and gallery.authorisation.reviewers is not None:
            others = [face for face in faces if face is not track.face]
            seen.picture = cut(frame.image, track.face, others)
        self._embed(seen, frame.seconds, gallery)

    def _embed(
        self, seen: SeenTrack, seconds: float, gallery: Gallery, *, closing: bool = False
    ) -> None:
        """Embed the view that is due, if any, and judge the track by it."""
        check = seen.decision is not None and seconds - seen.checked >= limits.RECHECK_S
        due = seen.shots.due(seconds, closing=closing, anyway=check)
        if due is None:
            return
        quality, aligned = due
        self.counters.embeddings += 1
        shot = Shot(self._eye.embed_aligned(aligned), quality)
        seen.shots.add(shot)
        seen.checked = seconds
        self._judge(seen, gallery, shot)
        seen.picture = None

    def _judge(self, seen: SeenTrack, gallery: Gallery, newest: Shot | None = None) -> None:
        """Decide about a track with the views it has; tell what is new about it."""
        seen.judged_by = gallery
        now = self._now()
        shots = seen.shots.shots
        fpir_target = strictest_fpir_target(gallery.authorisation, self._fpir_target)
        least = threshold(
            self._eye.embedder_model.impostor_tail, gallery.templates, fpir_target, fused=True
        )
        decision = decide(
            _best(gallery.search(seen.shots.fused(), now, 1)),
            [_best(gallery.search(shot.template, now, 1)) for shot in shots],
            least,
        )
        hit = _best(gallery.search(newest.template, now, 1)) if newest is not None else None
        if newest is not None and hit is not None and agrees(hit, hit.entry, least):
            seen.show(hit.entry, newest.quality.overall)
        before = seen.decision
        if before is not None and newest is not None:
            confirmed = decision is not None and decision.entry == before.entry
            if not confirmed or not agrees(hit, before.entry, least):
                seen.doubts += 1
                if seen.doubts >= limits.DOUBTS_MAX:
                    seen.release()
                return
        if decision is None:
            return
        seen.decision, seen.doubts = decision, 0
        track = seen.track
        sighting, news = self._sightings.decided(
            decision, gallery.version, track.last_frame, track.last_seconds
        )
        if news is None:
            return
        match = Match(
            sighting=sighting.number,
            decision=decision,
            gallery=gallery,
            fpir_target=fpir_target,
            face=track.face,
            quality=shots[0].quality,
            picture=seen.best[0] if seen.best and seen.best[2] == decision.entry else None,
            frame_size=seen.frame_size,
            first_frame=track.first_frame,
            last_frame=track.last_frame,
        )
        (self._on_match if news == "candidate" else self._on_update)(match)

    def _end(self, tracks: Sequence[Track], gallery: Gallery) -> None:
        """Judge the waiting views of tracks that have ended, and forget these tracks."""
        for track in tracks:
            seen = self._seen.pop(track.id)
            if seen.decision is None:
                self._embed(seen, track.last_seconds, gallery, closing=True)

    def _forget_all(self, reason: EndReason) -> None:
        """Drop every picture, template and sighting."""
        self._tracker.end_all()
        self._seen.clear()
        self._thumbnail = None
        for sighting in self._sightings.end_all():
            self._on_end(sighting, reason)

    def _is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether this frame follows a cut: it shows another scene than the one before."""
        check_image(image)
        width, height = limits.CUT_THUMBNAIL
        # A coarse sample is enough, and spares reading every pixel of a large frame.
        step = max(1, min(image.shape[1] // (4 * width), image.shape[0] // (4 * height)))
        sample = np.ascontiguousarray(image[::step, ::step, 1])
        small = np.asarray(
            cv2.resize(sample, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
        before, self._thumbnail = self._thumbnail, small
        if before is None:
            return False
        return float(np.mean(cv2.absdiff(before, small))) > limits.CUT_DIFFERENCE


def _best(hits: Sequence[Hit]) -> Hit | None:
    return hits[0] if hits else None
