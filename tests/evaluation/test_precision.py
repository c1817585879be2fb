import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.precision import Found, Judged, overlaps


def box(x, y=0.0, side=30.0):
    return [x, y, x + side, y + side]


def found(faces, detections, scale=1.0):
    """`detections`: (score, box), in any order."""
    ranked = sorted(detections, key=lambda d: -d[0])
    return Found(
        np.array(faces, np.float64).reshape(-1, 4),
        np.array([b for _, b in ranked], np.float64).reshape(-1, 4),
        np.array([s for s, _ in ranked], np.float64),
        scale,
    )


def average_precision(scenes, least, weights=None):
    return Judged(scenes, least).average(weights)


def test_all_found_and_nothing_else_is_one():
    assert average_precision([found([box(0), box(100)], [(0.9, box(0)), (0.8, box(101))])], 0) == 1


def test_nothing_found_is_zero_and_nothing_asked_is_not_a_number():
    assert average_precision([found([box(0)], [])], 0) == 0
    assert np.isnan(average_precision([found([], [(0.9, box(0))])], 0))


def test_a_false_box_above_costs_and_one_below_does_not():
    right, wrong = box(0), box(500)
    assert average_precision([found([right], [(0.9, wrong), (0.8, right)])], 0) == pytest.approx(
        0.5
    )
    assert average_precision([found([right], [(0.9, right), (0.8, wrong)])], 0) == 1


def test_by_hand():
    """Two of three faces at ranks 1 and 3: precision 1 and 2/3, recall 1/3 and 2/3."""
    picture = found([box(0), box(100), box(200)], [(0.9, box(0)), (0.8, box(500)), (0.7, box(100))])
    assert average_precision([picture], 0) == pytest.approx(1 / 3 + (1 / 3) * (2 / 3))


def test_a_second_box_on_a_face_is_false():
    double = found([box(0), box(100)], [(0.9, box(0)), (0.8, box(1)), (0.7, box(100))])
    assert average_precision([double], 0) == pytest.approx(0.5 + 0.5 * (2 / 3))


def test_a_face_of_another_size_counts_neither_way():
    small = box(100, side=10.0)
    picture = found([box(0), small], [(0.9, small), (0.8, box(0))])
    assert average_precision([picture], 20) == 1
    assert average_precision([found([box(0), small], [(0.8, box(0))])], 20) == 1


def test_a_small_false_box_does_not_burden_large_faces():
    picture = found([box(0)], [(0.9, box(500, side=10.0)), (0.8, box(0))])
    assert average_precision([picture], 20) == 1
    assert average_precision([picture], 0) == pytest.approx(0.5)


def test_sizes_are_those_of_the_detectors_input():
    picture = found([box(0)], [], scale=0.5)  # 30 pixels there, 15 in the input
    assert np.isnan(average_precision([picture], 20))


boxes = st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(5, 80)).map(lambda t: box(*t))
detections = st.lists(st.tuples(st.floats(0.02, 1), boxes), max_size=12)
pictures = st.lists(
    st.builds(found, st.lists(boxes, max_size=6), detections), min_size=1, max_size=4
)


@given(pictures, st.sampled_from([0, 20, 40]))
def test_always_between_zero_and_one(scenes, least):
    value = average_precision(scenes, least)
    assert np.isnan(value) or 0 <= value <= 1 + 1e-12


@given(st.lists(boxes, min_size=1, max_size=6), st.floats(0.03, 1))
def test_a_false_box_that_ranks_last_changes_nothing(faces, score):
    right = [(score, f) for f in faces]
    far = (0.02, [5000.0, 5000.0, 5040.0, 5040.0])
    assert average_precision([found(faces, [*right, far])], 0) == pytest.approx(
        average_precision([found(faces, right)], 0)
    )


def test_drawing_a_picture_twice_weighs_it_twice():
    good, bad = found([box(0)], [(0.9, box(0))]), found([box(0)], [(0.95, box(500))])
    weighted = average_precision([good, bad], 0, weights=np.array([2.0, 1.0]))
    assert weighted == pytest.approx(average_precision([good, good, bad], 0))


def test_overlaps():
    one = np.array([box(0), box(300)])
    assert overlaps(one, one) == pytest.approx(np.eye(2))
    assert overlaps(np.array([box(0)]), np.array([box(15)]))[0, 0] == pytest.approx(1 / 3)
