"""When a clock is believed, and what is certain whatever it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.watchlist.timekeeping import Reading, Timekeeper

NOW = 1_800_000_000.0
YEAR = 365 * 86400.0
SETTLE, SKEW = limits.CLOCK_SETTLE_S, limits.CLOCK_SKEW_S


class Machine:
    """Two clocks that run evenly unless somebody sets one, and who keeps them."""

    def __init__(self, least=NOW - 1000, wall=NOW, source="NTP"):
        self.keeper = Timekeeper(least)
        self.wall, self.running, self.source = wall, 50.0, source

    def pass_(self, seconds):
        self.wall += seconds
        self.running += seconds
        return self.read()

    def run(self, seconds):
        """As a device does: the clock is read every second."""
        for _ in range(int(seconds)):
            time = self.pass_(1.0)
        return time

    def read(self):
        return self.keeper.read(Reading(self.wall, self.running, self.source))


def test_a_clock_that_is_kept_is_believed_at_once():
    time = Machine().read()
    assert (time.now, time.doubt) == (NOW, "")
    assert time.is_over(NOW)
    assert not time.is_over(NOW + 1)


def test_a_clock_that_nothing_vouches_for_is_not_until_something_does():
    machine = Machine(source="", wall=0.0)
    time = machine.read()
    assert "no real-time clock, and no NTP" in time.doubt
    assert time.now == time.least == NOW - 1000
    assert time.is_over(NOW - 1000)
    assert not time.is_over(NOW)
    machine.wall, machine.source = NOW, "NTP"  # NTP has answered: no jump of a clock in use
    assert machine.pass_(1).doubt == ""


def test_without_any_clock_a_list_still_ends_after_so_long_a_running_time():
    machine = Machine(source="", wall=0.0)
    machine.read()
    assert not machine.pass_(900).is_over(NOW)
    assert machine.pass_(100).is_over(NOW)


def test_a_clock_behind_what_is_certainly_over_is_not_believed():
    machine = Machine(least=NOW + YEAR)
    assert "behind" in machine.read().doubt
    machine.wall = NOW + YEAR - SKEW
    assert machine.read().doubt == ""


def test_a_jump_is_not_believed_until_the_clock_has_run_evenly():
    for jump in (YEAR, -500.0, 2 * SKEW):
        machine = Machine()
        machine.read()
        machine.wall += jump
        time = machine.read()
        assert "jumped" in time.doubt
        assert not time.is_over(NOW + YEAR), "one look at a wrong clock destroys nothing"
        assert "jumped" in machine.run(SETTLE - 1).doubt
        assert machine.run(1).doubt == ""


@pytest.mark.parametrize("detour", ["behind", "unvouched"])
def test_no_detour_makes_a_jump_believed(detour):
    """Set back beyond what is certain, or with nothing that vouches, and then ahead by a year."""
    machine = Machine()
    machine.run(5)
    if detour == "behind":
        machine.wall -= YEAR
        assert "behind" in machine.pass_(1).doubt
        machine.wall += YEAR
        assert machine.pass_(1).doubt == "", "back where it was: no harm done"
        machine.wall -= YEAR
    else:
        machine.source = ""
    assert machine.pass_(1).doubt
    machine.wall += 2 * YEAR
    machine.source = "NTP"
    time = machine.pass_(1)
    assert "jumped" in time.doubt
    assert not time.is_over(NOW + YEAR / 2)


def test_a_clock_that_is_first_set_right_after_the_start_is_believed_at_once():
    machine = Machine(source="real-time clock rtc0", wall=0.0)  # its battery is dead
    assert "behind" in machine.read().doubt
    machine.wall, machine.source = NOW, "NTP"
    assert machine.pass_(1).doubt == ""


def test_a_clock_that_ntp_takes_over_and_corrects_a_little_is_believed_at_once():
    for before_it_says_so in (0, 64):  # chrony steps the clock first, and vouches for it later
        machine = Machine(source="real-time clock rtc0")
        machine.run(5)
        machine.wall += 300
        if before_it_says_so:
            assert "jumped" in machine.run(before_it_says_so).doubt
        machine.source = "NTP"
        assert machine.pass_(1).doubt == ""


def test_but_not_if_it_is_corrected_by_a_year_or_again_and_again():
    machine = Machine(source="real-time clock rtc0")
    machine.run(5)
    machine.wall += YEAR
    machine.source = "NTP"
    assert "jumped" in machine.pass_(1).doubt
    machine = Machine(source="real-time clock rtc0")
    for _ in range(3):
        machine.run(5)
        machine.wall += limits.CLOCK_CORRECTION_S - 100
    machine.source = "NTP"
    assert "jumped" in machine.pass_(1).doubt


def test_a_jump_that_is_taken_back_leaves_no_trace():
    machine = Machine()
    machine.read()
    machine.wall += YEAR
    machine.run(60)
    machine.wall -= YEAR
    time = machine.run(SETTLE + 1)
    assert time.doubt == ""
    assert time.least < NOW + 2 * SETTLE


def test_what_is_certain_follows_a_clock_that_runs_evenly():
    machine = Machine()
    machine.read()
    assert machine.run(SETTLE - 2).least < NOW
    assert machine.run(2).least >= NOW + SETTLE - 1


def test_a_slow_creep_is_bounded_too():
    """Steps too small to be jumps, one a second, add up to a jump."""
    for step in (-5.0, 5.0):
        machine = Machine()
        machine.read()
        for _ in range(100):
            machine.wall += step
            time = machine.pass_(1)
        assert "jumped" in time.doubt


steps = st.lists(
    st.tuples(
        st.floats(0, 4000),
        st.sampled_from([0.0, 0.0, 0.0, 30.0, -30.0, 500.0, -500.0, YEAR, -YEAR]),
        st.sampled_from(["NTP", "NTP", "NTP", ""]),
    ),
    max_size=60,
)


@given(steps)
def test_what_is_certain_never_goes_back_nor_ahead_of_what_a_clock_said(steps):
    machine = Machine()
    time = machine.read()
    most = machine.wall
    for seconds, jump, source in steps:
        before = time
        machine.wall += jump
        machine.source = source
        time = machine.pass_(seconds)
        most = max(most + seconds, machine.wall)
        assert before.least + seconds <= time.least + 1e-3
        assert time.least <= most + 1e-3
        assert time.now >= time.least
        if not time.doubt:
            assert source
            assert machine.wall >= time.least - SKEW


@given(steps, st.floats(0, 5000))
def test_what_was_over_for_certain_stays_over(steps, ahead):
    machine = Machine()
    end, over = NOW + ahead, False
    for seconds, jump, source in steps:
        machine.wall += jump
        machine.source = source
        time = machine.pass_(seconds)
        assert not over or time.is_over(end)
        over = time.least >= end
