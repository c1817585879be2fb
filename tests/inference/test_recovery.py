"""When an accelerator is trusted and when it is tried again, whatever happens to it."""

from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.inference.recovery import Recovery

FIRST, MOST = limits.ACCELERATOR_RETRY_FIRST_S, limits.ACCELERATOR_RETRY_MAX_S
STEADY = limits.ACCELERATOR_STEADY_S

events = st.lists(st.tuples(st.sampled_from(["pass", "fail"]), st.integers(0, 1000)), max_size=60)


def test_the_first_try_is_at_once():
    recovery = Recovery()
    assert recovery.state == "starting"
    assert recovery.pause(1e6) == 0


@given(events)
def test_only_what_has_just_passed_is_trusted(story):
    recovery, now = Recovery(), 0.0
    for what, seconds in story:
        now += seconds
        if what == "pass":
            recovery.passed(now)
            assert (recovery.state, recovery.reason) == ("working", "")
            assert recovery.pause(now) is None
        else:
            recovery.failed(now, "it hangs")
            assert (recovery.state, recovery.reason) == ("failed", "it hangs")
            pause = recovery.pause(now)
            assert FIRST <= pause <= MOST
            assert recovery.pause(now + pause) == 0
            assert recovery.pause(now + pause / 2) > 0


@given(events)
def test_pauses_grow_until_it_has_worked_steadily(story):
    recovery, now, before, passed = Recovery(), 0.0, 0.0, None
    for what, seconds in story:
        now += seconds
        if what == "pass":
            passed = now if recovery.state != "working" else passed
            recovery.passed(passed)
            continue
        steady = recovery.state == "working" and now - passed >= STEADY
        recovery.failed(now, "it hangs")
        pause = recovery.pause(now)
        assert pause == (FIRST if steady or not before else min(2 * before, MOST))
        before = pause


def test_pauses_as_documented():
    recovery = Recovery()
    pauses = []
    for _ in range(10):
        recovery.failed(0.0, "it hangs")
        pauses.append(recovery.pause(0.0))
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
