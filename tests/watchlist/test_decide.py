import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.inference.manifest import ImpostorTail
from edge.watchlist.decide import decide, threshold
from edge.watchlist.index import Hit

TAIL = ImpostorTail(
    data="made up",
    people=1000,
    comparisons=10**6,
    fmr=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    score=(0.2, 0.3, 0.36, 0.42, 0.48),
)
A, B = "a" * 32, "b" * 32


def test_one_entry_at_a_measured_rate_is_the_measured_score():
    assert threshold(TAIL, 1, 0.001) == pytest.approx(0.36, abs=1e-3)


def test_a_hundred_entries_need_a_hundredfold_rarer_impostor():
    assert threshold(TAIL, 100, 0.001) == pytest.approx(0.48, abs=1e-3)


def test_beyond_the_measured_tail_the_last_decade_goes_on():
    assert threshold(TAIL, 1000, 0.001) == pytest.approx(0.54, abs=1e-3)


def test_never_below_the_floor_never_above_one():
    assert threshold(TAIL, 1, 0.5) == limits.MATCH_SCORE_FLOOR
    assert threshold(TAIL, 10**9, 1e-12) == 1.0


@given(st.integers(1, 10**6), st.floats(1e-9, 0.5), st.integers(1, 1000), st.floats(0.01, 1))
def test_a_longer_list_or_a_stricter_target_never_lowers_it(entries, target, more, part):
    least = threshold(TAIL, entries, target)
    assert limits.MATCH_SCORE_FLOOR <= least <= 1
    assert threshold(TAIL, entries + more, target) >= least - 1e-12
    assert threshold(TAIL, entries, target * part) >= least - 1e-12


@pytest.mark.parametrize(("entries", "target"), [(0, 0.1), (1, 0), (1, 1), (1, float("nan"))])
def test_nonsense_is_refused(entries, target):
    with pytest.raises(ValueError, match="out of range"):
        threshold(TAIL, entries, target)


def test_one_frame_decides_nothing():
    assert decide(Hit(A, 0.9), [Hit(A, 0.9)], 0.4) is None


def test_two_agreeing_views_decide():
    decision = decide(Hit(A, 0.5), [Hit(A, 0.45), Hit(A, 0.41), Hit(B, 0.2)], 0.4)
    assert decision is not None
    assert (decision.entry, decision.agreeing, decision.views) == (A, 2, 3)


def test_views_that_name_another_do_not_count():
    assert decide(Hit(A, 0.5), [Hit(A, 0.5), Hit(B, 0.5), Hit(B, 0.5)], 0.4) is None


def test_the_minority_of_a_track_does_not_decide():
    views = [Hit(A, 0.5), Hit(A, 0.5), None, Hit(A, 0.1), Hit(B, 0.1)]
    assert decide(Hit(A, 0.41), views, 0.4) is None


def test_a_view_may_fall_short_by_the_slack_only():
    slack = limits.VIEW_SCORE_SLACK
    near, far = 0.4 - slack + 1e-6, 0.4 - slack - 1e-6
    assert decide(Hit(A, 0.41), [Hit(A, near)] * 2, 0.4) is not None
    assert decide(Hit(A, 0.41), [Hit(A, far)] * 2, 0.4) is None


scores = st.floats(-1, 1)
hits = st.none() | st.builds(Hit, st.sampled_from([A, B]), scores)


@given(hits, st.lists(hits, max_size=8), st.floats(0.3, 1))
def test_no_decision_without_the_threshold_and_two_views(fused, views, least):
    decision = decide(fused, views, least)
    if decision is not None:
        assert decision.score >= least
        names = [v.entry for v in views if v is not None]
        assert names.count(decision.entry) >= limits.MIN_AGREEING_VIEWS
        assert np.isfinite(decision.score)
