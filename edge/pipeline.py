"""The way of a frame, top to bottom: pace, detect, track, best shots, embed, match, decide.

A candidate is reported once, updated while later views change its score, and ended when it has left
(`edge.watchlist.sightings`).

Nothing here touches disk or network. Pictures and templates live in RAM for as long as their
track is in view; a track that ends takes them along. Where no list is in force nothing is even
detected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.camera.base import Frame
from edge.inference.manifest import EmbedderModel
from edge.vision.cutout import cut
from edge.vision.detect import check_image
from edge.vision.faces import Face, Region, scaled
from edge.vision.motion import Change, Scene
from edge.vision.pace import Effort, Need, Pace
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

    def glance(self, image: NDArray[np.uint8]) -> list[Face] | None:
        """Look at the whole frame coarsely: the faintest signs of faces; None if it cannot."""

    def detect_near(
        self, image: NDArray[np.uint8], places: Sequence[Region], min_score: float
    ) -> list[Face] | None:
        """Find the faces around places, for less work; None where these lie too far apart."""

    def align(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Cut out a face upright: (112, 112, 3) uint8, BGR."""

    def embed_aligned(self, aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the template, (dimension,) float32 of length 1."""

    @property
    def detail(self) -> int:
        """Width in pixels of the picture that the detector looks at."""

    @property
    def strong_score(self) -> float:
        """The score from which a detection may begin a track."""


class Match(msgspec.Struct, frozen=True):
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


class Counters(msgspec.Struct):
    """What happened in this process. For the benchmark and the demonstration: never published.

    Attributes:
        frames: frames processed.
        looks: frames in which faces were looked for with the detector.
        faces: faces found in them.
        tracks: tracks begun.
        embeddings: templates made.
    """

    frames: int = 0
    looks: int = 0
    faces: int = 0
    tracks: int = 0
    embeddings: int = 0


class Observer(Protocol):
    """Sees what the pipeline saw, in this process only: the demonstration's annotator."""

    def saw(self, frame: Frame, tracks: Sequence[SeenTrack]) -> None:
        """Take a processed frame and the tracks alive, whether looked for in it or not."""


class SeenTrack(msgspec.Struct, eq=False):
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
        embedded: views turned into templates.
        best: the face in the best view that names an entry, how good that view is, and the entry.
    """

    track: Track
    shots: Shots = msgspec.field(default_factory=Shots)
    decision: Decision | None = None
    judged_by: Gallery | None = None
    frame_size: tuple[int, int] = (0, 0)
    checked: float = 0.0
    doubts: int = 0
    embedded: int = 0
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

    def need(self, looked: float) -> Need:
        """Return what the track needs.

        Only one that was seen when faces were last looked for, at the time `looked`, may want more
        views soon; what has shown no usable view for long is only followed.
        """
        track = self.track
        age = track.last_seconds - track.first_seconds
        wanting = self.decision is None and self.shots.few and track.last_seconds >= looked
        if not wanting or age >= limits.LOOK_DECIDING_MOST_S:
            return Need.FOLLOWING
        return Need.FRESH if age < limits.LOOK_FRESH_FOR_S else Need.DECIDING


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
        pace: Pace | None = None,
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
            pace: how often faces are looked for; the normal one if None.
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
        self._scene = Scene()
        self._pace = pace or Pace()
        self._looked = 0.0
        self.counters = Counters()

    def adjust(self, *, pictures: bool, fpir_target: float) -> None:
        """Go by other settings from the next decision on; see `__init__`. For any thread."""
        self._pictures, self._fpir_target = pictures, fpir_target

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
                self._observer.saw(frame, ())
            return
        if self._pace.due(frame.seconds, self._need()):
            self._judge_frame(frame, gallery)
        for sighting in self._sightings.over(frame.seconds):
            self._on_end(sighting, "left")
        if self._observer:
            self._observer.saw(frame, list(self._seen.values()))

    def finish(self) -> None:
        """Judge what is still waiting at the source's end, then forget everything."""
        gallery = self._gallery()
        if gallery is not None and gallery.templates:
            self._end(self._tracker.end_all(), gallery)
        self._forget_all("stopped")

    def _judge_frame(self, frame: Frame, gallery: Gallery) -> None:
        miniature = frame.reduced(limits.MINIATURE[0])
        check_image(miniature)
        change = self._scene.change(miniature)
        if change.cut:
            self._end(self._tracker.end_all(), gallery)
        if (faces := self._look(frame, change, gallery)) is not None:
            self._follow(faces, frame, gallery)

    def _need(self) -> Need:
        found = Need.NOBODY
        for seen in self._seen.values():
            need = seen.need(self._looked)
            if need is Need.FRESH:
                return need
            if found is Need.NOBODY or need is Need.DECIDING:
                found = need
        return found

    def _look(self, frame: Frame, change: Change, gallery: Gallery) -> list[Face] | None:
        """Return the faces found, strongest first; None where nobody was looked for."""
        effort = self._pace.effort(frame.seconds, self._need(), cut=change.cut, moved=change.moved)
        if effort is Effort.NONE:
            return None
        self._scene.rest()
        self._looked = frame.seconds
        self.counters.looks += 1
        # In the detector's size where the source has that; faces are cut out of the whole picture.
        picture = frame.reduced(self._eye.detail)
        ratio = frame.width / picture.shape[1]
        faces = None
        # A picture of a candidate shows no part of anybody else, so everybody must be known.
        everybody = bool(self._tracker.tracks) and self._wants_pictures(gallery)
        if self._pace.intervals.half:
            faces = self._eye.glance(picture)
        elif effort is not Effort.FULL and not everybody:
            signs = self._eye.glance(picture) if effort is Effort.COARSE else []
            if signs is not None:
                known = [track.expected(frame.seconds) for track in self._tracker.tracks]
                places = [scaled(place, 1 / ratio) for place in known]
                places += [face.box for face in signs]
                if not places:
                    return []
                faces = self._eye.detect_near(picture, places, limits.WEAK_FACE_SCORE)
        if faces is None:
            self._pace.looked_fully(frame.seconds)
            faces = self._eye.detect(picture, limits.WEAK_FACE_SCORE)
        return faces if ratio == 1 else [face.scaled(ratio) for face in faces]

    def _follow(self, faces: Sequence[Face], frame: Frame, gallery: Gallery) -> None:
        """Continue the tracks with the faces found, and judge what is new in them."""
        strong = [face for face in faces if face.score >= self._eye.strong_score]
        weak = faces[len(strong) :]
        tracks, ended = self._tracker.update(frame.index, frame.seconds, strong, weak)
        self.counters.faces += len(strong)
        for track in tracks:
            self._view(track, frame, gallery, faces)
        self._end(ended, gallery)

    def _view(self, track: Track, frame: Frame, gallery: Gallery, faces: Sequence[Face]) -> None:
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
        if better and self._wants_pictures(gallery):
            others = [face for face in faces if face is not track.face]
            seen.picture = cut(frame.image, track.face, others)
        self._embed(seen, frame.seconds, gallery)

    def _wants_pictures(self, gallery: Gallery) -> bool:
        return self._pictures and gallery.authorisation.reviewers is not None

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
        seen.embedded += 1
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
        self._scene.forget()
        self._pace.forget()
        for sighting in self._sightings.end_all():
            self._on_end(sighting, reason)


def _best(hits: Sequence[Hit]) -> Hit | None:
    return hits[0] if hits else None
