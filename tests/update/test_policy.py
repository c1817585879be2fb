"""When an update is installed: every rule by itself, and that no other ever installs one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.protocol.announcement import Rollout, Window, percentile, precedence
from edge.update import policy
from edge.update.policy import Facts, Failure
from tests.update.kit import announced

FACTS = Facts(
    device="gate-3", compatible="lethe-test", version="1.0.0", minute=150, candidate=False,
    powered=True, armed=True,
)  # fmt: skip
WINDOW = Window(begin="02:00", end="04:00")


def facts(**changes):
    return msgspec.structs.replace(FACTS, **changes)


def test_all_is_well():
    made = announced(window=WINDOW)
    assert not policy.refusal(made, FACTS)
    assert not policy.waiting(made, FACTS, touching=True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compatible": "lethe-other"}, "for lethe-other, this device is a lethe-test"),
        ({"version": "0.9.0"}, "older: 0.9.0 is announced, 1.0.0 runs"),
        ({"version": "1.0.0-rc1"}, "older"),
    ],
)
def test_what_is_never_right(changes, reason):
    assert reason in policy.refusal(announced(**changes), FACTS)


def test_down_only_where_it_was_signed_for():
    assert not policy.refusal(announced(version="0.9.0", allow_downgrade=True), FACTS)


def test_the_same_version_is_the_one_that_runs():
    assert policy.is_current(announced(version="1.0"), FACTS)
    assert not policy.is_current(announced(), FACTS)


def test_what_failed_is_tried_again_only_for_another_attempt():
    failed = facts(failures=(Failure(announced().sha256, 1, "gone-back", "blind"),))
    assert policy.tried(announced(), failed).reason == "blind"
    assert policy.tried(announced(attempt=2), failed) is None
    assert policy.tried(announced(b"another bundle"), failed) is None


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({"rollout": Rollout(halted="3 failures")}, {}, "halted: 3 failures"),
        ({"rollout": Rollout(percent=0)}, {}, "has reached 0 %"),
        ({"window": WINDOW}, {"minute": 119}, "02:00 to 04:00 UTC"),
        ({"window": WINDOW}, {"minute": 240}, "02:00 to 04:00 UTC"),
        ({"window": WINDOW}, {"minute": None}, "clock is in doubt"),
        ({"conditions": ("idle",)}, {"candidate": True}, "candidate is in view"),
        ({"conditions": ("powered",)}, {"powered": False}, "battery"),
        ({"conditions": ("powered",)}, {"powered": None}, "nothing says"),
        ({"conditions": ("not-armed",)}, {}, "a list is in force"),
    ],
)
def test_what_is_waited_for(changes, now, reason):
    assert reason in policy.waiting(announced(**changes), facts(**now), touching=True)


def test_a_download_needs_no_idle_device():
    made = announced(conditions=("idle", "powered", "not-armed"))
    busy = facts(candidate=True, powered=False, armed=True)
    assert not policy.waiting(made, busy, touching=False)


def test_without_conditions_a_busy_device_installs():
    busy = facts(candidate=True, powered=None, minute=None)
    assert not policy.waiting(announced(conditions=()), busy, touching=True)


@given(
    percent=st.integers(0, 100), device=st.text(min_size=1, max_size=8),
    minute=st.none() | st.integers(0, 1439), candidate=st.booleans(), armed=st.booleans(),
    powered=st.none() | st.booleans(), window=st.none() | st.just(WINDOW),
    conditions=st.lists(st.sampled_from(("idle", "powered", "not-armed")), max_size=3),
    version=st.sampled_from(("0.9", "1.0.0", "1.0.0-rc1", "2")), down=st.booleans(),
    halted=st.sampled_from(("", "stop")),
)  # fmt: skip
def test_nothing_is_installed_unless_every_rule_holds(
    percent, device, minute, candidate, armed, powered, window, conditions, version, down, halted
):
    made = announced(
        version=version, allow_downgrade=down, window=window, conditions=tuple(conditions),
        rollout=Rollout(percent=percent, halted=halted),
    )  # fmt: skip
    now = facts(
        device=device, minute=minute, candidate=candidate, armed=armed, powered=powered
    )  # fmt: skip
    installs = not policy.refusal(made, now) and not policy.waiting(made, now, touching=True)
    assert installs == (
        (down or precedence(version) >= precedence("1.0.0"))
        and not halted
        and percentile(device, made.sha256) < percent
        and (window is None or (minute is not None and 120 <= minute < 240))
        and not ("idle" in conditions and candidate)
        and not ("powered" in conditions and powered is not True)
        and not ("not-armed" in conditions and armed)
    )
