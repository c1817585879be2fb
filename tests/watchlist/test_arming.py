"""What stands against looking, at every moment."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge import limits
from edge.protocol.watchlist import Area
from edge.watchlist.arming import obstacle
from edge.watchlist.place import Fix, distance_m, outside
from edge.watchlist.timekeeping import Time
from tests.watchlist.test_authorisation import AUTHORISATION, NOW, ZURICH, replace

END = NOW + 1000
INSIDE = Fix(47.3780, 8.5402, error_m=5.0, running=100.0)
IN_AREA = replace(AUTHORISATION, area=ZURICH)


def why(authorisation=IN_AREA, profile="body-worn", now=NOW, least=0.0, doubt="", fix=INSIDE):
    time = Time(now=now, least=least, running=100.0, doubt=doubt)
    return obstacle(authorisation, END, profile=profile, time=time, fix=fix)


def test_inside_time_and_place_nothing_stands_against_it():
    assert why() == ""
    assert why(AUTHORISATION, profile="fixed", fix="no position") == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"now": END}, "expired"),
        ({"doubt": "no NTP"}, "clock is not trusted: no NTP"),
        ({"now": END + 1, "doubt": "no NTP"}, "clock is not trusted"),
        ({"least": END, "doubt": "no NTP"}, "expired"),
        ({"now": AUTHORISATION.not_before - 1}, "not valid yet"),
        ({"fix": "the receiver has no fix"}, "no position: the receiver has no fix"),
        ({"fix": Fix(47.3780, 8.5402, 5.0, 100 - limits.POSITION_FRESH_S - 1)}, "6 s old"),
        ({"fix": Fix(47.39, 8.5417, 5.0, 100.0)}, "from its centre, give or take 5 m"),
        ({"authorisation": AUTHORISATION}, "names no area"),
    ],
)
def test_whatever_is_missing_is_said(options, reason):
    assert reason in why(**options)


latitudes, longitudes = st.floats(-89, 89), st.floats(-180, 180)


@given(latitudes, longitudes, st.floats(1, 50_000), st.floats(0, 60_000), st.floats(0, 60_000))
def test_the_whole_circle_of_error_has_to_be_inside(latitude, longitude, radius, away, error):
    area = Area(latitude=latitude, longitude=longitude, radius_m=radius)
    north = latitude + math.degrees(away / 6_371_008.8) * (-1 if latitude > 0 else 1)
    distance = distance_m(area, (north, longitude))
    assume(abs(distance + error - radius) > 0.01)
    fix = Fix(north, longitude, error, 0.0)
    assert (outside(area, fix, 0.0) == "") == (distance + error < radius)


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_less_accurate_position_never_helps(error, more):
    fix, worse = (Fix(47.3780, 8.5402, e, 100.0) for e in (error, error + more))
    if not outside(ZURICH, worse, 100.0):
        assert not outside(ZURICH, fix, 100.0)


def test_a_camera_that_stands_is_where_it_is_for_ever():
    assert outside(ZURICH, Fix(47.3780, 8.5402), 1e9) == ""
