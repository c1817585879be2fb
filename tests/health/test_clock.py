"""What vouches for the clock, and what is certain after a restart."""

import json

import pytest

from edge import limits
from edge.health import clock as clocks
from edge.health.clock import Clock

NOW = 1_800_000_000.0


class Hands:
    """Two clocks and what vouches for one of them."""

    def __init__(self):
        self.wall, self.running, self.source, self.asked = NOW, 10.0, "NTP", 0

    def open(self, file):
        def source():
            self.asked += 1
            return self.source

        return Clock(file, wall=lambda: self.wall, running=lambda: self.running, source=source)

    def later(self, seconds):
        self.wall += seconds
        self.running += seconds


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "time.json"


def test_what_vouches_is_asked_once_a_second_not_for_every_frame(hands, file):
    clock = hands.open(file)
    for _ in range(100):
        hands.later(0.01)
        assert clock.read().doubt == ""
    assert 1 <= hands.asked <= 3
    hands.source = ""
    hands.later(1)
    assert "no NTP" in clock.read().doubt


def test_what_is_certain_is_written_every_ten_minutes_and_at_the_end(hands, file):
    clock = hands.open(file)
    clock.read()
    clock.save()
    assert not file.exists()
    for _ in range(limits.CLOCK_SAVE_S):
        hands.later(1)
        clock.read()
    clock.save()
    assert json.loads(file.read_bytes())["least"] == pytest.approx(hands.wall, abs=2)
    hands.later(5)
    clock.save()
    kept = json.loads(file.read_bytes())["least"]
    clock.save(closing=True)
    assert json.loads(file.read_bytes())["least"] == pytest.approx(kept + 5)


def test_a_clock_set_back_over_a_restart_is_not_believed(hands, file):
    file.write_text(json.dumps({"least": NOW}))
    hands.wall = NOW - 3600
    time = hands.open(file).read()
    assert "behind a time that is certainly over" in time.doubt
    assert (time.now, time.least) == (NOW, NOW)


def test_a_clock_of_before_this_software_is_not_believed(hands, file):
    hands.wall = 86400.0  # a real-time clock without its battery
    assert "behind" in hands.open(file).read().doubt


@pytest.mark.parametrize("content", [b"", b"{", b'{"least": "x"}', b"\0" * 40, b"[" * 10**5])
def test_a_damaged_file_is_begun_anew(hands, file, content, caplog):
    file.write_bytes(content)
    assert hands.open(file).read().doubt == ""
    assert "begun anew" in caplog.text


def test_this_machine_has_both_clocks():
    assert clocks.running() > 0
    assert isinstance(clocks.source(), str)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with nothing that vouches for its clock."""
    monkeypatch.setattr(clocks, "_kept_by_ntp", lambda: False)
    monkeypatch.setattr(clocks.platform, "machine", lambda: "aarch64")
    return tmp_path


def test_nothing_vouches_on_a_board_without_clock_or_network(bare):
    assert clocks.source(bare) == ""


def test_timesyncd_vouches_once_it_has_set_the_clock(bare):
    (bare / "run/systemd/timesync").mkdir(parents=True)
    assert clocks.source(bare) == ""
    (bare / "run/systemd/timesync/synchronized").touch()
    assert clocks.source(bare) == "NTP"


@pytest.mark.parametrize(("hctosys", "expected"), [("1\n", "real-time clock rtc0"), ("0\n", "")])
def test_a_real_time_clock_vouches_if_the_kernel_was_set_by_it(bare, hctosys, expected):
    (bare / "sys/class/rtc/rtc0").mkdir(parents=True)
    (bare / "sys/class/rtc/rtc0/hctosys").write_text(hctosys)
    assert clocks.source(bare) == expected


def test_a_daemon_vouches_through_the_kernel(bare, monkeypatch):
    monkeypatch.setattr(clocks, "_kept_by_ntp", lambda: True)
    assert clocks.source(bare) == "NTP"


@pytest.mark.parametrize(
    ("state", "status", "kept"),
    [(0, 0x2001, True), (0, 0x2041, False), (5, 0x40, False), (5, 0, False), (-1, 0, False)],
)
def test_the_kernels_answer_is_read(monkeypatch, state, status, kept):
    """struct timex as adjtimex(2) fills it: TIME_OK and STA_PLL kept, TIME_ERROR or UNSYNC not."""

    class Kernel:
        def adjtimex(self, timex):
            word = clocks.ctypes.sizeof(clocks.ctypes.c_long)
            timex[5 * word : 5 * word + 4] = status.to_bytes(4, "little")
            return state

    monkeypatch.setattr(clocks.ctypes, "CDLL", lambda _name: Kernel())
    assert clocks._kept_by_ntp() == kept
