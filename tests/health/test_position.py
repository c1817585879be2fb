"""Positions from gpsd: what is believed of them, and what happens when there are none."""

import json
import math
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.config import DeviceConfig
from edge.errors import FormatError
from edge.health import position
from edge.health.position import Gpsd, Standing, open_position, read_report
from edge.watchlist.place import Fix

VERSION = {"class": "VERSION", "release": "3.25", "proto_major": 3, "proto_minor": 15}
# As gpsd 3.25 reports; it has more members than are read.
TPV = {
    "class": "TPV", "device": "/dev/ttyACM0", "mode": 3, "time": "2026-05-04T10:15:30.000Z",
    "lat": 47.378, "lon": 8.5402, "altHAE": 455.1, "epx": 3.0, "epy": 4.0, "epv": 9.2, "eph": 6.5,
    "speed": 0.1,
}  # fmt: skip


def line(**changes):
    report = {k: v for k, v in (TPV | changes).items() if v is not ...}
    return json.dumps(report).encode()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, Fix(47.378, 8.5402, 6.5, 7.0)),
        ({"mode": 2}, Fix(47.378, 8.5402, 6.5, 7.0)),
        ({"eph": ...}, Fix(47.378, 8.5402, 5.0, 7.0)),
        ({"mode": 1}, "the receiver has no fix"),
        ({"mode": ...}, "the receiver has no fix"),
        ({"lat": ...}, "the receiver has no fix"),
        ({"eph": ..., "epx": ...}, "the receiver does not say how accurate it is"),
        ({"class": "SKY"}, None),
    ],
)
def test_a_report_is_read(changes, found):
    assert read_report(line(**changes), 7.0) == found


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"\xff", b'{"class": 5}', line(lat=91), line(lon="8.5"), line(eph=-1),
     b'{"class":"TPV","mode":3,"lat":NaN}', b'{"class":"TPV","mode":3,"lat":1e999}',
     b'{"a":' * 3000, b" " * 20_000],
)  # fmt: skip
def test_what_is_no_report_is_refused(line):
    with pytest.raises(FormatError):
        read_report(line, 7.0)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
    lambda v: json.dumps({"class": "TPV", "mode": 3, "lat": v, "lon": v, "eph": v}).encode()
))  # fmt: skip
def test_whatever_comes_is_a_place_on_earth_a_reason_or_refused(line):
    try:
        found = read_report(line, 7.0)
    except FormatError:
        return
    if isinstance(found, Fix):
        assert abs(found.latitude) <= 90
        assert abs(found.longitude) <= 180
        assert 0 <= found.error_m < math.inf


class Simulator:
    """A gpsd as gpsd_json(5) describes it: greets, waits to be asked to watch, then reports."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.client = None
        self.asked = b""

    def accept(self):
        self.client, _ = self.server.accept()
        self.client.settimeout(10)
        self.client.sendall(json.dumps(VERSION).encode() + b"\r\n")
        while not self.asked.endswith(b"\n"):
            self.asked += self.client.recv(100)
        return self

    def say(self, *parts):
        for part in parts:
            self.client.sendall(part)

    def close(self):
        for each in (self.client, self.server):
            if each is not None:
                each.close()


@pytest.fixture
def gpsd(monkeypatch):
    monkeypatch.setattr(limits, "GPSD_RETRY_S", 0.02)
    monkeypatch.setattr(limits, "GPSD_POLL_S", 0.02)
    simulator = Simulator()
    follower = Gpsd("127.0.0.1", simulator.port, running=lambda: 7.0)
    simulator.accept()
    yield simulator, follower
    follower.close()
    simulator.close()
    assert not [t for t in threading.enumerate() if t.name == "position"]


def wait_for(follower, wanted):
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        if wanted(follower.fix()):
            return follower.fix()
        time.sleep(0.005)
    raise AssertionError(follower.fix())


def test_it_asks_to_watch_and_follows(gpsd):
    simulator, follower = gpsd
    assert simulator.asked == b'?WATCH={"enable":true,"json":true};\n'
    assert follower.fix() == f"gpsd at 127.0.0.1:{simulator.port} has not reported yet"
    simulator.say(line(mode=1)[:20], line(mode=1)[20:] + b"\r\n")
    wait_for(follower, lambda fix: fix == "the receiver has no fix")
    simulator.say(line() + b"\r\n" + line(lat=47.0) + b"\r\n")
    assert (
        wait_for(follower, lambda fix: isinstance(fix, Fix) and fix.latitude == 47.0).error_m == 6.5
    )


@pytest.mark.parametrize("garbage", [b"no json\n", b"x" * 40_000, b'{"class":"TPV","lat":99}\n'])
def test_garbage_ends_the_position_and_the_connection_which_is_made_again(gpsd, garbage):
    simulator, follower = gpsd
    simulator.say(line() + b"\n")
    wait_for(follower, lambda fix: isinstance(fix, Fix))
    simulator.say(garbage)
    wait_for(follower, lambda fix: isinstance(fix, str))
    simulator.client.close()
    simulator.asked = b""
    simulator.accept().say(line() + b"\n")
    wait_for(follower, lambda fix: isinstance(fix, Fix))


def test_a_gpsd_that_goes_takes_the_position_with_it(gpsd):
    simulator, follower = gpsd
    simulator.say(line() + b"\n")
    wait_for(follower, lambda fix: isinstance(fix, Fix))
    simulator.server.close()
    simulator.client.close()
    wait_for(follower, lambda fix: isinstance(fix, str) and "gpsd at" in fix)


def test_no_gpsd_is_a_reason():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    follower = Gpsd("127.0.0.1", port)
    try:
        assert "refused" in wait_for(follower, lambda fix: "refused" in fix)
    finally:
        follower.close()


@pytest.mark.parametrize("where", [("x" * 80, 2947), ("127.0.0.1", 99_999)])
def test_an_impossible_address_is_a_reason(where):
    follower = Gpsd(*where)
    try:
        wait_for(follower, lambda fix: "not reported" not in fix)
    finally:
        follower.close()


def test_a_fixed_camera_is_where_it_is_configured():
    fixed = open_position(DeviceConfig(id="a", position=(47.0, 8.0)))
    assert fixed.fix() == Fix(47.0, 8.0)
    assert Standing(None).fix() == "device.position is not set"
    fixed.close()


@pytest.mark.parametrize(
    ("setting", "host"), [("gps.example:1", "gps.example"), ("[::1]:2947", "::1")]
)
def test_a_body_worn_camera_asks_gpsd_where_it_is_told_to(monkeypatch, setting, host):
    asked = []
    monkeypatch.setattr(position, "Gpsd", lambda *where: asked.append(where))
    open_position(DeviceConfig(id="a", profile="body-worn", gpsd=setting))
    assert asked[0][0] == host
