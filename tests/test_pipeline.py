"""The way of a frame, with a scripted eye: who is reported, how often, and what is kept."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from edge import limits
from edge.camera.base import Frame
from edge.errors import FrameError
from edge.inference.manifest import ImpostorTail, Tail
from edge.pipeline import Pipeline
from edge.vision.faces import Face, around
from edge.vision.pace import EVERY_FRAME, NORMAL, Pace
from edge.watchlist.index import Hit

FPS = 25.0
KIND = Tail(
    people=100, comparisons=10**5, fmr=(1e-1, 1e-3, 1e-5), score=(0.2, 0.36, 0.48), scale=0.026
)
TAIL = ImpostorTail(data="made up", single=KIND, fused=KIND)
RANDOM = np.random.default_rng(5)
BACKGROUND = RANDOM.integers(60, 200, (360, 640, 3), np.uint8)


def direction(seed):
    vector = np.random.default_rng(seed).normal(size=64).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Person:
    """Someone on the way through the scene; looks like `seed`, seen with noise."""

    def __init__(self, seed, way, *, likeness=0.9, score=0.9, size=60):
        self.template, self.way = direction(seed), way
        self.likeness, self.score, self.size = likeness, score, size


class Eye:
    """Sees whoever the script puts into the frame; embeds by whose picture it is given."""

    strong_score = 0.6
    detail = 640
    embedder_model = SimpleNamespace(impostor_tail=TAIL)

    def __init__(self, people):
        self.people = people
        self.index = -1
        self.detections = self.embedded = self.glances = 0
        self.regions = []
        self._of = {}
        self._faces = []

    def detect(self, image, min_score=None):
        self.detections += 1
        return self._whole(min_score)

    def _whole(self, min_score):
        faces = []
        for person in self.people:
            if (place := person.way(self.index)) is None:
                continue
            x, y = place
            h = person.size / 2
            marks = np.array([[-15, -12], [15, -12], [0, 5], [-12, 22], [12, 22]], np.float32)
            face = Face((x - h, y - h, x + h, y + h), marks + np.float32([x, y]), person.score)
            self._of[id(face)] = person
            faces.append(face)
        self._faces += faces  # ids stay valid while these live
        return sorted((f for f in faces if f.score >= min_score), key=lambda f: -f.score)

    def glance(self, image):
        self.glances += 1
        return self._whole(0.4)

    def detect_near(self, image, places, min_score):
        self.regions.append(around(places))
        left, top, right, bottom = self.regions[-1]
        if right - left > 320 or bottom - top > 192:
            return None
        return [f for f in self._whole(min_score) if left <= f.box[0] and f.box[2] <= right]

    def align(self, image, face):
        aligned = RANDOM.integers(0, 256, (112, 112, 3), np.uint8)
        self._picture = getattr(self, "_picture", {})
        self._picture[aligned.tobytes()[:32]] = self._of[id(face)]
        return aligned

    def embed_aligned(self, aligned):
        self.embedded += 1
        person = self._picture[aligned.tobytes()[:32]]
        noise = direction(RANDOM.integers(1 << 30))
        noise -= (noise @ person.template) * person.template
        noise /= np.linalg.norm(noise)
        return person.likeness * person.template + np.sqrt(1 - person.likeness**2) * noise


class List:
    """A list in force."""

    def __init__(self, fpir_target=0.01, **entries):
        self.entries, self.version = entries, 1
        self.authorisation = SimpleNamespace(fpir_target=fpir_target, reviewers=bytes(32))

    @property
    def templates(self):
        return len(self.entries)

    def search(self, probe, now, k):
        hits = [Hit(name, float(direction(seed) @ probe)) for name, seed in self.entries.items()]
        return sorted(hits, key=lambda h: -h.score)[:k]


class Run:
    def __init__(self, people, gallery, intervals=EVERY_FRAME, **options):
        self.eye, self.gallery, self.matches, self.updates = Eye(people), gallery, [], []
        self.ends = []
        self.pipeline = Pipeline(
            self.eye, lambda: self.gallery, self.matches.append, now=lambda: 1e9,
            on_update=self.updates.append, pace=Pace(intervals),
            on_end=lambda sighting, why: self.ends.append((sighting, why)), **options,
        )  # fmt: skip

    def frames(self, first, last, image=BACKGROUND):
        for index in range(first, last):
            self.eye.index = index
            self.pipeline.process(Frame(image, index, index / FPS))
        return self

    @property
    def named(self):
        return [m.decision.entry for m in self.matches]


def with_something_moving(index):
    image = BACKGROUND.copy()
    x = index % 20 * 30
    image[200:300, x : x + 60] = 0
    return image


def stands(x=200, y=150, first=0, last=10**6):
    return lambda i: (x, y) if first <= i < last else None


def test_only_the_listed_person_is_reported_and_only_once():
    run = Run([Person(1, stands()), Person(2, stands(400))], List(ann=1)).frames(0, 250)
    run.pipeline.finish()
    assert run.named == ["ann"]
    (match,) = run.matches
    assert match.decision.score >= match.decision.threshold
    assert match.frame_size == (640, 360)
    assert run.pipeline.counters.tracks == 2
    assert run.pipeline.counters.faces == 500


def test_a_long_stay_is_embedded_a_few_times():
    run = Run([Person(2, stands())], List(ann=1)).frames(0, 500)
    assert run.pipeline.counters.embeddings == run.eye.embedded <= limits.SHOTS_ENOUGH + 2


def test_after_a_match_a_view_is_compared_about_once_a_second():
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 500)
    assert run.named == ["ann"]
    most = limits.SHOTS_ENOUGH + 500 / FPS / limits.RECHECK_S
    assert limits.SHOTS_ENOUGH < run.eye.embedded <= most + 2
    assert run.ends == []


def test_without_a_list_nobody_is_looked_at():
    run = Run([Person(1, stands())], None).frames(0, 20)
    run.gallery = List()
    run.frames(20, 40)
    assert run.eye.detections == 0
    assert run.pipeline.counters.faces == 0


def test_a_list_that_ends_forgets_everyone_in_view():
    run = Run([Person(2, stands())], List(ann=1)).frames(0, 20)
    assert run.pipeline._seen
    run.gallery = None
    run.frames(20, 21)
    assert not run.pipeline._seen
    assert not run.pipeline._tracker.tracks


def test_a_new_list_judges_those_in_view_again():
    run = Run([Person(1, stands())], List(bob=3)).frames(0, 50)
    assert run.named == []
    run.gallery = List(ann=1)
    run.frames(50, 52)
    assert run.named == ["ann"]


def test_back_soon_is_the_same_sighting_and_back_later_a_new_one():
    def way(i):
        return (200, 150) if i < 50 or 75 <= i < 100 or i >= 300 else None

    run = Run([Person(1, way)], List(ann=1)).frames(0, 120)
    assert run.named == ["ann"]
    run.frames(120, 350)
    assert run.named == ["ann", "ann"]


def test_somebody_a_little_alike_is_not_reported():
    run = Run([Person(1, stands(), likeness=0.3)], List(ann=1)).frames(0, 250)
    assert run.named == []


def test_one_glimpse_is_not_enough():
    run = Run([Person(1, stands(last=2))], List(ann=1)).frames(0, 100)
    run.pipeline.finish()
    assert run.eye.embedded == 1
    assert run.named == []


def test_a_short_pass_is_judged_when_it_ends():
    run = Run([Person(1, stands(last=7))], List(ann=1)).frames(0, 7)
    assert run.named == []
    run.frames(7, 60)
    assert run.named == ["ann"]


def test_the_end_of_the_source_judges_what_waits():
    run = Run([Person(1, stands(last=7))], List(ann=1)).frames(0, 7)
    run.pipeline.finish()
    assert run.named == ["ann"]
    assert not run.pipeline._seen


def test_a_cut_separates_the_people_before_and_after():
    people = [Person(1, stands(last=4)), Person(2, stands(first=4))]
    run = Run(people, List(ann=1)).frames(0, 4)
    run.frames(4, 50, image=255 - BACKGROUND // 2)
    assert run.pipeline.counters.tracks == 2
    assert run.named == []


def test_weak_boxes_begin_no_track():
    run = Run([Person(1, stands(), score=0.5)], List(ann=1)).frames(0, 100)
    assert run.pipeline.counters.tracks == run.pipeline.counters.faces == run.eye.embedded == 0


def test_the_stricter_target_of_device_and_list_counts():
    lax, strict = List(fpir_target=0.01, ann=1), List(fpir_target=1e-5, ann=1)
    for gallery, own, expected in ((lax, 1e-5, 0.48), (strict, 1e-3, 0.48), (lax, 1e-3, 0.36)):
        run = Run([Person(1, stands())], gallery, fpir_target=own).frames(0, 50)
        assert run.matches[0].decision.threshold == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 0, 3), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((4, 4, 3))]
)
def test_a_broken_frame_is_refused_and_the_next_goes_on(image):
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 3)
    with pytest.raises(FrameError):
        run.frames(3, 4, image=image)
    run.frames(4, 50)
    assert run.named == ["ann"]


def test_the_observer_sees_what_happened():
    seen = []
    observer = SimpleNamespace(saw=lambda frame, tracks: seen.append((frame.index, tracks)))
    Run([Person(1, stands())], List(ann=1), NORMAL, observer=observer).frames(0, 30)
    assert [index for index, _ in seen] == list(range(30))
    assert seen[-1][1][0].decision.entry == "ann"


def test_a_candidate_that_leaves_is_ended_once_with_the_frame_it_was_last_seen_in():
    run = Run([Person(1, stands(last=60))], List(ann=1)).frames(0, 60)
    assert run.ends == []
    run.frames(60, 200)
    ((sighting, why),) = run.ends
    assert (sighting.entry, sighting.last_frame, why) == ("ann", 59, "left")
    assert sighting.number == run.matches[0].sighting
    run.pipeline.finish()
    assert len(run.ends) == 1


@pytest.mark.parametrize("why", ["list-over", "stopped"])
def test_a_candidate_in_view_is_ended_with_the_list_and_with_the_device(why):
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 30)
    if why == "stopped":
        run.pipeline.finish()
    else:
        run.gallery = None
        run.frames(30, 31)
    assert [(s.entry, w) for s, w in run.ends] == [("ann", why)]


def test_better_views_update_the_score_and_never_often():
    ann = Person(1, stands(), likeness=0.6)
    run = Run([ann], List(ann=1)).frames(0, 30)
    assert run.updates == []
    ann.likeness = 0.99
    run.frames(30, 500)
    assert 1 <= len(run.updates) <= limits.UPDATES_MAX
    assert all(u.sighting == run.matches[0].sighting for u in run.updates)
    assert run.updates[-1].decision.score - run.matches[0].decision.score >= limits.UPDATE_SCORE
    steps = [run.matches[0].decision.score, *(u.decision.score for u in run.updates)]
    assert all(abs(b - a) >= limits.UPDATE_SCORE for a, b in pairwise(steps))
    assert len(run.matches) == 1


def test_a_new_version_of_the_list_that_still_names_the_candidate_updates_it():
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 60)
    run.gallery = List(ann=1, bob=3)
    run.gallery.version = 2
    run.frames(60, 120)
    assert run.named == ["ann"]
    assert [u.gallery.version for u in run.updates] == [2]


def test_a_candidate_that_a_new_list_does_not_name_is_ended():
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 60)
    run.gallery = List(bob=3)
    run.frames(60, 120)
    assert [(s.entry, s.last_frame) for s, _ in run.ends] == [("ann", 59)]


def test_a_track_that_jumps_to_somebody_else_does_not_follow_them_as_the_candidate():
    person = Person(1, stands())
    run = Run([person], List(ann=1)).frames(0, 30)
    person.template = direction(77)  # the boxes overlap, the face is another
    run.frames(30, 500)
    ((sighting, why),) = run.ends
    assert why == "left"
    longest = (limits.DOUBTS_MAX * (limits.RECHECK_S + limits.SHOT_WINDOW_S)) * FPS
    assert sighting.last_frame <= 30 + longest
    assert run.named == ["ann"]
    assert all(seen.decision is None for seen in run.pipeline._seen.values())


def test_one_doubtful_view_does_not_end_a_candidate():
    person = Person(1, stands())
    run = Run([person], List(ann=1)).frames(0, 30)
    person.likeness = 0.3
    run.frames(30, 56)
    person.likeness = 0.9
    run.frames(56, 300)
    assert run.ends == []
    assert run.named == ["ann"]


def test_pictures_are_cut_only_where_device_and_list_want_them():
    for pictures, reviewers, expected in (
        (True, bytes(32), True), (False, bytes(32), False), (True, None, False),
    ):  # fmt: skip
        gallery = List(ann=1)
        gallery.authorisation.reviewers = reviewers
        run = Run([Person(1, stands())], gallery, pictures=pictures).frames(0, 30)
        assert (run.matches[0].picture is not None) is expected


def test_the_picture_of_a_candidate_holds_nobody_else():
    near = [Person(1, stands(200, 150)), Person(2, stands(232, 150), size=40)]
    run = Run(near, List(ann=1), pictures=True).frames(0, 40)
    picture = run.matches[0].picture
    margin = limits.PICTURE_MARGIN * 60
    assert picture.shape == (72, 72, 3)
    # Of the neighbour: from x 212 on, less its own margin; the picture begins at 170 - margin.
    begins = int(212 - limits.PICTURE_MARGIN * 40 - (170 - margin))
    assert (picture[16:56, begins:] == 128).all()
    assert not (picture[:, : begins - 1] == 128).all()


def test_at_the_normal_pace_a_person_is_reported_with_a_fraction_of_the_work():
    run = Run([Person(1, stands())], List(ann=1), NORMAL).frames(0, 250)
    assert run.named == ["ann"]
    assert run.pipeline.counters.looks < 250 / 3
    assert run.eye.detections < 250 / 10  # the other looks are around the face only
    left, top, right, bottom = run.eye.regions[-1]
    assert left < 170 < 230 < right
    assert top < 120 < 180 < bottom


def test_an_empty_scene_is_searched_coarsely_and_a_still_one_seldom():
    run = Run([], List(ann=1), NORMAL).frames(0, 250)
    still = run.eye.glances + run.eye.detections
    assert still <= 10 / limits.LOOK_STILL_S + 1
    for index in range(250, 500):  # something moves in every frame, but nobody is there
        run.frames(index, index + 1, image=with_something_moving(index))
    moving = run.eye.glances + run.eye.detections - still
    assert 10 / limits.LOOK_MOVING_S * 0.7 < moving < 10 / limits.LOOK_MOVING_S + 2
    assert run.eye.detections < run.eye.glances


def test_whoever_enters_an_empty_scene_is_soon_seen():
    person = Person(1, stands(first=103))
    run = Run([person], List(ann=1), NORMAL)
    for index in range(200):
        run.frames(index, index + 1, image=with_something_moving(index))
    assert run.named == ["ann"]
    assert run.matches[0].first_frame <= 103 + limits.LOOK_MOVING_S * FPS


def test_where_pictures_of_candidates_are_wanted_everybody_in_the_frame_is_known():
    """Looks around one face would not see whom a picture of it must not show."""
    gallery = List(ann=1)
    gallery.authorisation.reviewers = "key"
    run = Run([Person(1, stands())], gallery, NORMAL, pictures=True).frames(0, 100)
    assert run.named == ["ann"]
    assert run.eye.regions == []
