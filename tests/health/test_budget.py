"""Heat and low batteries, made up: which step follows when, what is told, and that it goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.health.budget import STEPS, Budget, Readings
from edge.health.sensors import Battery, battery
from edge.vision.pace import BY_EFFORT, NORMAL

RISE, FALL = limits.BUDGET_RISE_S, limits.BUDGET_FALL_S
EASED_C, LEAST_C = limits.BUDGET_DEGREES
readings = st.builds(
    Readings,
    st.none() | st.floats(-40, 130),
    st.sampled_from([(), ("throttled",)]),
    st.none() | st.builds(Battery, st.floats(0, 1), st.booleans()),
)


def run(budget, seconds, *, start=0, **said):
    for second in range(start, start + int(seconds)):
        budget.take(Readings(**said), float(second))
    return budget.step


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ({"degrees": 60.0}, "full"),
        ({"degrees": EASED_C}, "eased"),
        ({"degrees": LEAST_C}, "least"),
        ({"degrees": 60.0, "throttled": ("under-voltage",)}, "eased"),
        ({"battery": Battery(0.9, True)}, "full"),
        ({"battery": Battery(0.3, True)}, "eased"),
        ({"battery": Battery(0.1, True)}, "least"),
        ({"battery": Battery(0.1, False)}, "full"),
        ({"degrees": EASED_C, "battery": Battery(0.1, True)}, "least"),
        ({}, "full"),
    ],
)
def test_what_lasts_is_followed_and_a_moment_is_not(said, step):
    budget = Budget()
    assert run(budget, RISE, **said) == "full"
    assert run(budget, 2, start=int(RISE), **said) == step


def test_it_does_not_swing_about_a_limit_and_comes_back_slowly():
    budget = Budget()
    run(budget, RISE + 2, degrees=EASED_C)
    assert run(budget, 3 * FALL, start=100, degrees=EASED_C - 1) == "eased"
    cool = EASED_C - limits.BUDGET_DEGREES_MARGIN - 1
    assert run(budget, FALL, start=5000, degrees=cool) == "eased"
    assert run(budget, 2, start=5000 + int(FALL), degrees=cool) == "full"


def test_the_hardest_step_is_told_for_a_day_with_its_cause():
    budget = Budget()
    run(budget, RISE + 2, degrees=LEAST_C)
    run(budget, FALL + 2, start=100, degrees=40.0)
    assert (budget.step, budget.told) == ("full", "least")
    assert budget.reason.startswith("heat: ")
    assert "goes on matching" in budget.reason
    budget.take(Readings(40.0), limits.BUDGET_TOLD_S + 1000)
    assert (budget.told, budget.reason) == ("full", "")


def test_a_device_that_saves_by_its_profile_is_not_said_to_be_in_need():
    budget = Budget("eased")
    assert run(budget, 100, degrees=30.0) == budget.told == "eased"
    assert budget.reason == ""
    run(budget, 100, start=100, battery=Battery(0.05, True))
    assert budget.step == "least"
    assert budget.reason.startswith("low battery: ")


@given(st.lists(st.tuples(st.floats(0.1, 5000), readings), max_size=60), st.sampled_from(STEPS[:2]))
def test_no_reading_leads_out_of_the_steps_or_below_the_floor(script, floor):
    budget, at = Budget(floor), 0.0
    for elapsed, said in script:
        at += elapsed
        step = budget.take(said, at)
        assert STEPS.index(step) >= STEPS.index(floor)
        assert STEPS.index(budget.told) >= STEPS.index(step)
        intervals = BY_EFFORT[step]
        # Whatever the step, it looks: seldom enough to save, often enough to follow a face.
        assert 2 * intervals.following <= limits.TRACK_LOST_S
        assert intervals.still <= 2 * NORMAL.still


def supply(root, name, **files):
    folder = root / "class" / "power_supply" / name
    folder.mkdir(parents=True)
    for key, value in files.items():
        (folder / key).write_text(f"{value}\n")


def test_the_emptiest_battery_of_the_machine_counts_and_a_mouse_does_not(tmp_path):
    assert battery(tmp_path) is None
    supply(tmp_path, "AC", type="Mains", online=0)
    supply(tmp_path, "mouse", type="Battery", capacity=3, scope="Device", status="Discharging")
    supply(tmp_path, "odd", type="Battery", capacity="full", status="Discharging")
    assert battery(tmp_path) is None
    supply(tmp_path, "BAT0", type="Battery", capacity=80, status="Discharging")
    supply(tmp_path, "BAT1", type="Battery", capacity=20, scope="System", status="Discharging")
    assert battery(tmp_path) == Battery(0.2, discharging=True)
