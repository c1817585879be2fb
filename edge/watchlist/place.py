"""Where a device is, and whether that is inside an area. Pure."""

from __future__ import annotations

import math

import msgspec

from edge import limits
from edge.protocol.watchlist import Area

_EARTH_RADIUS_M = 6_371_008.8


class Fix(msgspec.Struct, frozen=True):
    """A position.

    Attributes:
        latitude: WGS 84, degrees.
        longitude: WGS 84, degrees.
        error_m: radius in metres of the circle that it is in.
        running: when it was measured, in seconds since the machine started; infinity for a
            camera that does not move.
    """

    latitude: float
    longitude: float
    error_m: float = 0.0
    running: float = math.inf


def outside(area: Area, fix: Fix, running: float) -> str:
    """Say why a position does not show that a device is inside an area; empty if it does.

    All of the circle that the device may be in must be inside the area: a doubt about the place
    is no permission to look.

    Args:
        area: where a list may be used.
        fix: where the device is.
        running: now, in seconds since the machine started.
    """
    age = running - fix.running
    if age > limits.POSITION_FRESH_S:
        return f"the last position is {age:.0f} s old"
    distance = distance_m(area, (fix.latitude, fix.longitude))
    if distance + fix.error_m <= area.radius_m:
        return ""
    doubt = f", give or take {fix.error_m:.0f} m" if fix.error_m else ""
    return (
        f"bound to an area of {area.radius_m:.0f} m; this device is {distance:.0f} m from its "
        f"centre{doubt}"
    )


def distance_m(area: Area, position: tuple[float, float]) -> float:
    """Return metres from the centre of an area, by the haversine formula on a sphere."""
    lat1, lon1 = math.radians(area.latitude), math.radians(area.longitude)
    lat2, lon2 = math.radians(position[0]), math.radians(position[1])
    h = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))
