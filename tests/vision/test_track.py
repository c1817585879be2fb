import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.vision.faces import Face, iou
from edge.vision.track import Tracker

FPS = 25.0


def face(x, y, size=60.0, score=0.9):
    half = size / 2
    marks = np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]], np.float32) * size / 5
    return Face(
        (x - half, y - half, x + half, y + half),
        (marks + np.array([x, y])).astype(np.float32),
        score,
    )


def run(frames):
    """Feed a list of (strong, weak) and return the tracks seen in each frame."""
    tracker = Tracker()
    return [[(t.id, t) for t in tracker.update(i, i / FPS, *f)[0]] for i, f in enumerate(frames)]


def ids(frames):
    return [sorted(i for i, _ in seen) for seen in run(frames)]


def test_two_who_walk_past_each_other_keep_their_tracks():
    frames = [([face(50 + 8 * i, 100), face(450 - 8 * i, 190)], []) for i in range(50)]
    assert set(map(tuple, ids(frames))) == {(1, 2)}
    last = dict(run(frames)[-1])
    assert last[1].face.box[0] > last[2].face.box[0]
    assert last[1].sightings == 50


def test_a_weak_face_continues_a_track_and_never_begins_one():
    weak = face(100, 100, score=0.4)
    assert ids([([], [weak])] * 5) == [[]] * 5
    assert ids([([face(100, 100)], []), ([], [weak]), ([face(100, 100)], [])]) == [[1], [1], [1]]


def test_a_gap_is_bridged_by_motion_and_a_long_one_ends_the_track():
    short = int(limits.TRACK_LOST_S * FPS) - 10
    walk = lambda n, start: [([face(start + 5 * i, 100)], []) for i in range(n)]  # noqa: E731
    bridged = ids(walk(20, 0) + [([], [])] * short + walk(5, 5 * (20 + short)))
    assert bridged[-1] == [1]
    tracker = Tracker()
    tracker.update(0, 0.0, [face(0, 0)])
    _, ended = tracker.update(1, limits.TRACK_LOST_S + 0.1, [])
    assert [t.id for t in ended] == [1]
    assert not tracker.tracks


def test_a_cut_ends_every_track():
    tracker = Tracker()
    tracker.update(0, 0.0, [face(0, 0), face(200, 0)])
    assert len(tracker.end_all()) == 2
    seen, _ = tracker.update(1, 0.04, [face(0, 0)])
    assert [t.id for t in seen] == [3]


def test_a_clock_that_stands_still_or_jumps_back_does_no_harm():
    tracker = Tracker()
    for i, seconds in enumerate([0.0, 0.0, 5.0, 4.0]):
        seen, _ = tracker.update(i, seconds, [face(10, 10)])
        assert np.isfinite(seen[0].predicted).all()


spots = st.lists(
    st.tuples(st.floats(-50, 700), st.floats(-50, 500), st.floats(1, 300), st.floats(0, 1)),
    max_size=6,
)


@settings(max_examples=60)
@given(st.lists(spots, max_size=12))
def test_every_strong_face_is_in_exactly_one_track(frames):
    tracker = Tracker()
    for i, places in enumerate(frames):
        faces = [face(*p) for p in places]
        seen, _ = tracker.update(i, i / FPS, faces)
        assert len(seen) == len(faces)
        assert {id(t.face) for t in seen} == {id(f) for f in faces}
        assert len({t.id for t in seen}) == len(seen)


def test_overlap():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 20]], np.float64)
    assert np.allclose(iou(boxes, boxes[:1])[:, 0], [1, 1 / 3, 0])
