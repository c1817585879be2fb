"""When a roll-out goes on, and when it stops: from signed reports alone."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from edge.protocol import update
from edge.protocol.announcement import Rollout, percentile
from fleet import rollout
from fleet.rollout import Halt, Raise, Seen
from tests.update.kit import announced

DEVICES = [f"camera-{number}" for number in range(20)]
STATES = ("current", "waiting", "downloading", "trying", "failed", "gone-back", "refused")


def staged(percent=10, steps=(50, 100), stop=2, **changes):
    plan = Rollout(percent=percent, steps=steps, stop_after_failures=stop)
    return announced(rollout=plan, **changes)


def said(device, made, state="current", **changes):
    fields = {
        "state": state, "version": "1.0.0", "target": made.version, "sha256": made.sha256,
        "attempt": made.attempt, "compatible": made.compatible,
    }  # fmt: skip
    software = update.Software(**(fields | changes))
    time = datetime(2026, 5, 4, tzinfo=UTC)
    return Seen(device, update.Update(device=device, time=time, software=software))


def reached(made):
    return [d for d in DEVICES if percentile(d, made.sha256) < made.rollout.percent]


def fleet(made, *, of_reached="current", failed=()):
    """All devices: those that were reached in one state, some failed, the others waiting."""
    first = reached(made)
    states = {d: of_reached if d in first else "waiting" for d in DEVICES}
    states |= dict.fromkeys(failed, "gone-back")
    return [said(device, made, state) for device, state in states.items()]


def test_it_goes_on_when_all_that_were_reached_are_done():
    made = staged(30)
    assert len(reached(made)) > 1
    assert rollout.move(made, fleet(made)) == Raise(50)
    assert rollout.move(made, fleet(made, of_reached="trying")) is None


def test_one_that_is_silent_holds_it_up():
    made = staged(30)
    devices = [s for s in fleet(made) if s.device != reached(made)[0]]
    silent = said(reached(made)[0], made, sha256="", target="", attempt=0)
    assert rollout.move(made, [*devices, silent]) is None


def test_it_stops_at_so_many_failures_and_names_them():
    made = staged(30)
    assert rollout.move(made, fleet(made, failed=["camera-3"])) is None
    halt = rollout.move(made, fleet(made, failed=["camera-3", "camera-7"]))
    assert halt == Halt("2 of 20 devices failed: camera-3, camera-7")
    halted = rollout.applied(made, halt)
    assert halted.rollout.halted == halt.reason
    assert rollout.move(halted, fleet(made, failed=DEVICES)) is None


def test_failures_of_another_bundle_or_attempt_do_not_count():
    made = staged(30, stop=1)
    other = [said("camera-1", made, "failed", sha256="0" * 64)]
    assert not isinstance(rollout.move(made, other), Halt)
    again = staged(30, stop=1, attempt=2)
    earlier = [said("camera-1", made, "failed")]
    assert not isinstance(rollout.move(again, earlier), Halt)


def test_what_is_not_signed_counts_for_nothing():
    made = staged(30, stop=1)
    assert rollout.move(made, [Seen("camera-1", None, "unsigned")]) is None
    assert rollout.move(made, []) is None


def test_other_kinds_of_devices_count_for_nothing():
    made = staged(30, stop=1)
    assert rollout.move(made, [said("camera-1", made, "failed", compatible="other")]) is None


def test_the_last_step_is_the_last():
    made = staged(50, (100,))
    raised = rollout.applied(made, Raise(100))
    assert (raised.rollout.percent, raised.rollout.steps) == (100, ())
    assert rollout.move(raised, fleet(raised)) is None


def test_steps_that_are_passed_by_hand_are_left_out():
    assert rollout.applied(staged(10, (20, 50, 100)), Raise(30)).rollout.steps == (50, 100)


@given(
    st.lists(st.sampled_from(STATES), min_size=20, max_size=20), st.integers(0, 100),
    st.integers(1, 20),
)  # fmt: skip
def test_it_never_goes_on_over_a_failure_or_one_under_way(states, percent, stop):
    made = staged(percent, (100,) if percent < 100 else (), stop)
    devices = [said(d, made, s) for d, s in zip(DEVICES, states, strict=True)]
    failures = sum(s in ("failed", "gone-back") for s in states)
    done = all(s == "current" for d, s in zip(DEVICES, states, strict=True) if d in reached(made))
    move = rollout.move(made, devices)
    assert isinstance(move, Halt) == (failures >= stop)
    if isinstance(move, Raise):
        assert done
        assert not failures
