"""The way of a frame, with a scripted eye: who is reported, how often, and what is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from edge import limits
from edge.camera.base import Frame
from edge.errors import FrameError
from edge.inference.manifest import ImpostorTail, Tail
from edge.pipeline import Pipeline
from edge.vision.faces import Face
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
    embedder_model = SimpleNamespace(impostor_tail=TAIL)

    def __init__(self, people):
        self.people = people
        self.index = -1
        self.detections = self.embedded = 0
        self._of = {}

    def detect(self, image, min_score=None):
        self.detections += 1
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
        self._faces = faces  # ids stay valid while these live
        return sorted(faces, key=lambda f: -f.score)

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
        self.entries = entries
        self.authorisation = SimpleNamespace(fpir_target=fpir_target)

    @property
    def templates(self):
        return len(self.entries)

    def search(self, probe, now, k):
        hits = [Hit(name, float(direction(seed) @ probe)) for name, seed in self.entries.items()]
        return sorted(hits, key=lambda h: -h.score)[:k]


class Run:
    def __init__(self, people, gallery, **options):
        self.eye, self.gallery, self.matches = Eye(people), gallery, []
        self.pipeline = Pipeline(
            self.eye, lambda: self.gallery, self.matches.append, now=lambda: 1e9, **options
        )

    def frames(self, first, last, image=BACKGROUND):
        for index in range(first, last):
            self.eye.index = index
            self.pipeline.process(Frame(image, index, index / FPS))
        return self

    @property
    def named(self):
        return [m.decision.entry for m in self.matches]


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


def test_after_a_match_nothing_more_is_embedded():
    run = Run([Person(1, stands())], List(ann=1)).frames(0, 500)
    assert run.eye.embedded == limits.MIN_AGREEING_VIEWS


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
    observer = SimpleNamespace(saw=lambda frame, faces, tracks: seen.append((len(faces), tracks)))
    Run([Person(1, stands())], List(ann=1), observer=observer).frames(0, 30)
    assert len(seen) == 30
    assert seen[-1][0] == 1
    assert seen[-1][1][0].decision.entry == "ann"
