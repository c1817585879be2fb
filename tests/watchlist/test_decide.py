import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.inference.manifest import ImpostorTail, Tail, load_manifest
from edge.watchlist.decide import decide, threshold
from edge.watchlist.index import Hit

SCALE = 0.06 / math.log(10)  # 0.06 higher for a tenth of the rate
SINGLE = Tail(
    people=1000, comparisons=10**6, fmr=(1e-1, 1e-2, 1e-3), score=(0.2, 0.3, 0.36), scale=SCALE
)
FUSED = Tail(
    people=1000, comparisons=10**6, fmr=(1e-1, 1e-2, 1e-3), score=(0.22, 0.32, 0.38), scale=SCALE
)
TAIL = ImpostorTail(data="made up", single=SINGLE, fused=FUSED)
SHIPPED = [
    m.impostor_tail for m in load_manifest().models().values() if hasattr(m, "impostor_tail")
]
A, B = "a" * 32, "b" * 32


def test_one_entry_at_a_measured_rate_is_the_measured_score():
    assert threshold(TAIL, 1, 0.001) == pytest.approx(0.36, abs=1e-3)
    assert threshold(TAIL, 1, 0.001, fused=True) == pytest.approx(0.38, abs=1e-3)


@pytest.mark.parametrize(("entries", "expected"), [(10, 0.42), (100, 0.48), (1000, 0.54)])
def test_tenfold_entries_need_a_tenfold_rarer_impostor(entries, expected):
    assert threshold(TAIL, entries, 0.001) == pytest.approx(expected, abs=1e-3)
    assert threshold(TAIL, entries, 0.001, fused=True) == pytest.approx(expected + 0.02, abs=1e-3)


def test_between_measured_rates_it_is_read_on_a_logarithmic_scale():
    lax = ImpostorTail(data="", single=FUSED, fused=FUSED)  # above the floor
    assert threshold(lax, 1, 10**-2.5) == pytest.approx(0.35, abs=1e-6)


def test_never_below_the_floor_never_above_one():
    assert threshold(TAIL, 1, 0.5) == limits.MATCH_SCORE_FLOOR
    assert threshold(TAIL, 10**9, 1e-12) == 1.0
    assert threshold(TAIL, 10**9, 5e-324) == 1.0


tails = st.sampled_from([TAIL, *SHIPPED])


@given(
    tails, st.booleans(), st.integers(1, 10**6), st.floats(1e-9, 0.5), st.integers(1, 1000),
    st.floats(0.01, 1),
)  # fmt: skip
def test_a_longer_list_or_a_stricter_target_never_lowers_it(
    tail, fused, entries, target, more, part
):
    least = threshold(tail, entries, target, fused=fused)
    assert limits.MATCH_SCORE_FLOOR <= least <= 1
    assert threshold(tail, entries + more, target, fused=fused) >= least - 1e-12
    assert threshold(tail, entries, target * part, fused=fused) >= least - 1e-12


@given(tails, st.integers(1, 10**4), st.floats(1e-5, limits.FPIR_TARGET_LAXEST))
def test_a_fused_template_is_never_asked_for_less(tail, entries, target):
    assert threshold(tail, entries, target, fused=True) >= threshold(tail, entries, target)


@given(tails, st.booleans(), st.integers(1, 10**4), st.floats(1e-6, 0.01))
def test_the_threshold_and_the_rate_belong_together(tail, fused, entries, target):
    """Solving the exponential for the rate gives the target back."""
    least = threshold(tail, entries, target, fused=fused)
    kind = tail.fused if fused else tail.single
    if kind.score[-1] < least < 1:
        fmr = kind.fmr[-1] * math.exp((kind.score[-1] - least) / kind.scale)
        assert -math.expm1(entries * math.log1p(-fmr)) == pytest.approx(target, rel=1e-6)


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
