"""Rates of scores that are made up, so that the right answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation import metrics
from evaluation.metrics import discard_curve, ten_fold, threshold_at

cosines = st.floats(-1, 1, width=32)
some_scores = st.lists(cosines, min_size=1, max_size=60).map(np.array)


@given(some_scores, st.floats(0, 1))
def test_no_more_impostors_match_than_allowed_and_none_too_few(impostors, far):
    least = threshold_at(impostors, far)
    matching = (impostors >= least).mean()
    if least > impostors.min():
        assert matching <= far + 1e-9
    below = impostors[impostors < least]
    if len(below):  # the next lower score would be one too many
        assert (impostors >= below.max()).mean() > far


@given(some_scores, st.floats(0, 1), st.integers(1, 5))
def test_equal_weights_change_nothing(impostors, far, weight):
    plain = threshold_at(impostors, far)
    assert threshold_at(impostors, far, np.full(len(impostors), float(weight))) == plain


def test_a_heavier_impostor_raises_the_threshold():
    scores = np.array([0.9, 0.5, 0.4, 0.3])
    assert threshold_at(scores, 0.25, np.array([1.0, 1, 1, 1])) < 0.9
    assert threshold_at(scores, 0.25, np.array([9.0, 1, 1, 1])) > 0.9


def test_ten_folds_of_what_can_be_told_apart():
    same = np.arange(100) < 50
    assert ten_fold(np.where(same, 0.6, 0.1), same) == (1.0, 0.0)


def test_ten_folds_of_a_coin():
    same = np.arange(400) < 200
    mean, _ = ten_fold(np.random.default_rng(1).normal(size=400), same)
    assert 0.4 < mean < 0.6


@given(arrays(np.float64, 40, elements=cosines))
def test_ten_folds_choose_their_threshold_on_the_other_nine(scores):
    """Against a plain reading of the protocol, threshold by threshold."""
    same = np.arange(40) % 2 == 0
    fold = np.zeros(40, int)
    for kind in (True, False):
        rows = np.flatnonzero(same == kind)
        fold[rows] = np.arange(len(rows)) * 10 // len(rows)
    expected = []
    for k in range(10):
        train, test = fold != k, fold == k
        candidates = np.unique(scores[train])
        right = [((scores[train] >= c) == same[train]).mean() for c in candidates]
        best = candidates[int(np.argmax(right))]
        expected.append(((scores[test] >= best) == same[test]).mean())
    assert ten_fold(scores, same)[0] == pytest.approx(np.mean(expected))


@given(arrays(np.float64, 30, elements=cosines), st.floats(-1, 1))
def test_discarding_by_the_score_itself_never_raises_the_error(genuine, least):
    curve = discard_curve(genuine, genuine, least, np.linspace(0, 0.9, 10))
    assert (np.diff(curve) <= 1e-12).all()
    assert curve[0] == pytest.approx((genuine < least).mean())


def test_people_are_drawn_and_their_number_kept():
    weights = metrics.person_weights(30, 50)
    assert weights.shape == (50, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert np.array_equal(weights, metrics.person_weights(30, 50))
