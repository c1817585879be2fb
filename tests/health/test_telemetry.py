"""What a device tells of its health: slowly, coarsely, and nothing that depends on people."""

import json
import os
import socket
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.broker import free_port
from edge import limits
from edge.errors import ConfigError, FormatError
from edge.health.notify import ServiceManager
from edge.health.prometheus import MetricsServer
from edge.health.sensors import hottest, throttled
from edge.health.telemetry import Monitor, TemperatureClass
from edge.protocol import status
from edge.protocol.status import ListInForce, Status, Telemetry


def sensors(folder, *, degrees=(), flags=None, low_voltage=None):
    for i, value in enumerate(degrees):
        zone = folder / f"class/thermal/thermal_zone{i}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "temp").write_text(f"{value * 1000:.0f}\n")
    if flags is not None:
        firmware = folder / "devices/platform/soc/soc:firmware"
        firmware.mkdir(parents=True, exist_ok=True)
        (firmware / "get_throttled").write_text(f"{flags:x}\n")
    if low_voltage is not None:
        chip = folder / "class/hwmon/hwmon1"
        chip.mkdir(parents=True, exist_ok=True)
        (chip / "name").write_text("rpi_volt\n")
        (chip / "in0_lcrit_alarm").write_text(f"{low_voltage}\n")
    return folder


# --- Sensors -------------------------------------------------------------------------------------


def test_the_hottest_zone_counts(tmp_path):
    assert hottest(tmp_path) is None
    assert hottest(sensors(tmp_path, degrees=(41.5, 63.2))) == pytest.approx(63.2)
    (tmp_path / "class/thermal/thermal_zone1/temp").write_text("not a number")
    assert hottest(tmp_path) == pytest.approx(41.5)


@pytest.mark.parametrize(
    ("flags", "now", "since"),
    [
        (0x0, (), ()),
        (0x1, ("under-voltage",), ("under-voltage",)),
        (0x50000, (), ("under-voltage", "throttled")),
        (0x50005, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        (0x80008, ("soft-limited",), ("soft-limited",)),
    ],
)
def test_the_flags_of_a_raspberry_pi(tmp_path, flags, now, since):
    sensors(tmp_path, flags=flags)
    assert throttled(tmp_path) == now
    assert throttled(tmp_path, since_start=True) == since


@pytest.mark.parametrize(("alarm", "says"), [(0, ()), (1, ("under-voltage",))])
def test_the_hwmon_alarm_where_the_firmware_says_nothing(tmp_path, alarm, says):
    assert throttled(sensors(tmp_path, low_voltage=alarm)) == says


# --- Telemetry -----------------------------------------------------------------------------------


def test_a_class_of_temperature_must_hold_and_is_kept_for_a_day():
    classes, said = TemperatureClass(), []
    for minute in range(48 * 60):
        hot = 60 <= minute < 65 or 120 <= minute < 140
        said.append(classes.take(85.0 if hot else 50.0, minute * 60.0))
    assert set(said[:130]) == {"normal"}, "five minutes are too short to count"
    assert set(said[130 : 139 + 24 * 60]) == {"hot"}
    assert set(said[140 + 24 * 60 :]) == {"normal"}


def test_without_a_sensor_it_is_not_known():
    assert TemperatureClass().take(None, 0.0) == "unknown"


class Bench:
    """A monitor with a clock that is set by hand."""

    def __init__(self, folder, *, live=True):
        self.ran, self.captured = 1000.0, 0
        self.monitor = Monitor(
            folder, live=live, period=60, now=lambda: 1.8e9 + self.ran,
            steady=lambda: self.ran, sys_folder=folder,
        )  # fmt: skip

    def run(self, seconds, fps):
        """Let it run, and return what is told."""
        told = []
        for _ in range(seconds):
            told.append(self.monitor.sample(int(self.captured), 0))
            self.ran += 1
            self.captured += fps
        return [each for each in told if each is not None]


@pytest.mark.parametrize(("fps", "says"), [(25, "ok"), (4, "few"), (0, "none")])
def test_frames_are_told_by_class_at_fixed_times(tmp_path, fps, says):
    told = Bench(tmp_path).run(301, fps)
    assert [each.frames for each in told] == ["unknown", *[says] * 5]
    assert [each.uptime_s for each in told] == [0, 60, 120, 180, 240, 300]


def test_a_clip_that_is_slow_to_judge_is_no_camera_that_is_slow(tmp_path):
    assert Bench(tmp_path, live=False).run(61, 1)[-1].frames == "ok"


def test_what_is_told_comes_at_the_same_times_however_busy_the_device_is(tmp_path):
    bench = Bench(tmp_path)
    bench.run(61, 25)
    bench.ran += 200  # nothing was called for so long
    told = bench.run(120, 25)
    assert [each.uptime_s % 60 for each in told] == [0] * len(told)
    assert len(told) == 2 + 1


def test_room_is_told_by_class(tmp_path, monkeypatch):
    assert Bench(tmp_path).run(1, 25)[0].disk == "ok"
    monkeypatch.setattr(limits, "DOCTOR_DISK_BYTES", 2**62)
    assert Bench(tmp_path).run(1, 25)[0].disk == "low"
    assert Bench(Path("/nowhere")).run(1, 25)[0].disk == "unknown"


TELEMETRY = Telemetry(
    time="2026-05-04T10:15:30.250+00:00", uptime_s=60, frames="ok", temperature="hot",
    throttled=("throttled",), events_waiting=3, effort="eased", disk="ok",
)  # fmt: skip


@pytest.mark.parametrize("parse", [status.parse, status.parse_telemetry])
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(parse, message):
    with pytest.raises(FormatError):
        parse(message)


def test_what_is_told_is_read_and_what_is_too_large_is_not():
    message = json.dumps({"state": "online", "reasons": ["x"]}).encode()
    assert status.parse(message) == Status(state="online", reasons=("x",))
    with pytest.raises(FormatError, match="at most"):
        status.parse(b" " * (limits.MAX_STATUS_BYTES + 1))


# --- Prometheus ----------------------------------------------------------------------------------


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_the_same_is_served_to_prometheus_and_nothing_of_the_process():
    said = Status(
        state="online", software="1", list=ListInForce(id="gate", version=7, expires=99),
        reasons=("camera: gone",),
    )  # fmt: skip
    server = MetricsServer(free_port(), lambda: (said, TELEMETRY))
    try:
        text = scrape(server.port)
        with pytest.raises(ConfigError, match="choose another"):
            MetricsServer(server.port, lambda: (said, None))
    finally:
        server.close()
    lines = {line for line in text.splitlines() if not line.startswith("#")}
    assert {
        'lethe_info{software="1"} 1.0', "lethe_problems 1.0", "lethe_list_version 7.0",
        "lethe_uptime_seconds 60.0", "lethe_events_waiting 3.0",
        'lethe_frames{lethe_frames="ok"} 1.0',
        'lethe_temperature{lethe_temperature="hot"} 1.0', "lethe_throttled 1.0",
        'lethe_effort{lethe_effort="eased"} 1.0',
    } <= lines  # fmt: skip
    assert all(line.startswith("lethe_") for line in lines)
    for never in ("cpu", "memory", "process", "faces", "tracks", "latency", "gc_"):
        assert never not in text


# --- systemd -------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}


def test_systemd_hears_that_it_is_ready_alive_and_stopping(manager):
    sock, environment = manager
    service = ServiceManager(environment)
    assert service.watchdog_s == 2.0
    service.ready()
    service.status("camera: gone\nREADY=0")
    service.alive()
    service.stopping()
    assert [sock.recv(100) for _ in range(4)] == [
        b"READY=1", b"STATUS=camera: gone READY=0", b"WATCHDOG=1", b"STOPPING=1",
    ]  # fmt: skip


def test_an_abstract_name_is_understood():
    name = f"lethe-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).ready()
        assert sock.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_systemd_nothing_happens(environment):
    service = ServiceManager(environment)
    assert service.watchdog_s == 0
    service.ready()
    service.alive()
    service.stopping()
