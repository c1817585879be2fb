import numpy as np
import pytest

from edge import limits
from edge.vision.quality import VIEW, Quality, shortcoming
from edge.vision.shots import Shot, Shots


def quality(**changes):
    good = {
        "eye_distance": 30.0, "size": 30.0, "sharpness": 0.6, "brightness": 0.5,
        "contrast": 0.4, "frontality": 0.8, "score": 0.9,
    }  # fmt: skip
    return Quality(**(good | changes))


def template(*values):
    vector = np.zeros(8, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


PICTURE = np.zeros((112, 112, 3), np.uint8)
GOOD = quality()


@pytest.mark.parametrize(
    "poor",
    [
        {"size": limits.VIEW_MIN_SIZE - 0.1},
        {"frontality": limits.VIEW_MIN_FRONTALITY - 0.01},
        {"sharpness": limits.VIEW_MIN_SHARPNESS - 0.01},
        {"brightness": limits.VIEW_MIN_BRIGHTNESS - 0.01},
        {"brightness": limits.VIEW_MAX_BRIGHTNESS + 0.01},
        {"contrast": limits.VIEW_MIN_CONTRAST - 0.01},
    ],
)
def test_a_poor_view_is_never_embedded(poor):
    assert shortcoming(GOOD, VIEW) is None
    assert shortcoming(quality(**poor), VIEW) is not None
    shots = Shots()
    for i in range(100):
        shots.offer(i / 25, quality(**poor), PICTURE)
        assert shots.due(i / 25) is None
    assert shots.due(10.0, closing=True) is None


def test_the_best_of_a_window_is_embedded_once_and_a_long_stay_costs_a_few():
    shots, embedded = Shots(), []
    for i in range(2500):  # 100 s
        shots.offer(i / 25, quality(size=20 + i % 3), PICTURE)
        if due := shots.due(i / 25):
            embedded.append(due[0])
            shots.add(Shot(template(1, 0.1), due[0]))
    assert len(embedded) == limits.SHOTS_ENOUGH
    assert all(q.size == 22 for q in embedded)


def test_a_clearly_better_view_is_embedded_later_too():
    shots = Shots()
    for _ in range(limits.SHOTS_ENOUGH):
        shots.add(Shot(template(1), quality(size=10, score=0.8)))
    shots.offer(0.0, quality(size=10.5, score=0.81), PICTURE)
    assert shots.due(1.0) is None
    shots.offer(2.0, quality(size=30, score=0.9), PICTURE)
    assert shots.due(2.0) is None, "the window is still open"
    assert shots.due(2.0 + limits.SHOT_WINDOW_S) is not None


def test_a_track_that_ends_early_is_judged_by_what_it_has():
    shots = Shots()
    shots.offer(0.0, GOOD, PICTURE)
    assert shots.due(0.0, closing=True) is not None


def test_the_fused_template_leans_to_the_better_views_and_has_length_one():
    shots = Shots()
    shots.add(Shot(template(1, 1), quality(size=40)))
    shots.add(Shot(template(1, 0), quality(size=10)))
    fused = shots.fused()
    assert np.isclose(np.linalg.norm(fused), 1)
    assert fused @ template(1, 1) > fused @ template(1, 0)


def test_another_persons_view_clears_the_track():
    shots = Shots()
    shots.add(Shot(template(1), GOOD))
    shots.add(Shot(template(0, 1), GOOD))
    assert len(shots.shots) == 1
    assert shots.fused() @ template(0, 1) > 0.99


def test_only_the_best_views_are_kept():
    shots = Shots()
    for i in range(20):
        shots.add(Shot(template(1, 0.01 * i), quality(size=5 + i)))
    assert len(shots.shots) == limits.SHOTS_KEPT
    assert [s.quality.size for s in shots.shots] == [24, 23, 22, 21, 20, 19]
