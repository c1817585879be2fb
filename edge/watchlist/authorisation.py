"""The rules by which a list may be used here and now. Pure: no clock, no files.

A signature says who made a list; these rules say whether that is enough. Each is one function,
named for what it demands, and refuses with the reason. Local configuration can only make a rule
stricter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edge import limits
from edge.errors import ListRefused
from edge.protocol.watchlist import Area, Watchlist

_EARTH_RADIUS_M = 6_371_008.8


class NotYetValid(ListRefused):
    """Nothing but time is missing: the list is kept and tried again.

    Attributes:
        begins: when to try, seconds since 1970.
    """

    def __init__(self, message: str, begins: float) -> None:
        super().__init__(message)
        self.begins = begins


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest list ever used: nothing older may follow.

    Attributes:
        version: its version; 0 if there was none.
        digest: SHA-256 of its payload, hex.
    """

    version: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What a device is, as far as rules ask.

    Attributes:
        device: its id.
        list_id: the list it obeys.
        profile: kind of camera.
        position: latitude and longitude in degrees, or None.
        embedder: id of its embedder.
        dimension: length of its templates.
    """

    device: str
    list_id: str
    profile: Literal["fixed", "body-worn"]
    position: tuple[float, float] | None
    embedder: str
    dimension: int


def check(watchlist: Watchlist, place: Place, *, now: float, floor: Floor, digest: str) -> None:
    """Apply every rule.

    Args:
        watchlist: an authentic list.
        place: the device.
        now: seconds since 1970.
        floor: the newest list used so far.
        digest: SHA-256 of the list's payload, hex.

    Raises:
        ListRefused: naming the rule; `NotYetValid` if only time is missing.
    """
    is_the_right_list(watchlist, place)
    is_not_older(watchlist, floor, digest)
    is_not_expired(watchlist, now)
    has_a_bounded_validity(watchlist, place)
    names_this_device(watchlist, place)
    fits_the_profile(watchlist, place)
    is_no_larger_than_authorised(watchlist, place)
    covers_this_place(watchlist, place)
    is_strict_enough(watchlist)
    suits_the_embedder(watchlist, place)
    is_not_from_the_future(watchlist, now)
    has_begun(watchlist, now)


def is_the_right_list(watchlist: Watchlist, place: Place) -> None:
    """Refuse another list than the one configured (design, "Trust": purpose-bound lists)."""
    if watchlist.id != place.list_id:
        raise ListRefused(f"this is list {watchlist.id!r}; the device obeys {place.list_id!r}")


def is_not_older(watchlist: Watchlist, floor: Floor, digest: str) -> None:
    """Refuse a rollback, and two lists of one version (TUF specification, section 5.3 to 5.5)."""
    if watchlist.version < floor.version:
        raise ListRefused(
            f"version {watchlist.version} is older than {floor.version}, which was used before"
        )
    if watchlist.version == floor.version and digest != floor.digest:
        raise ListRefused(f"version {watchlist.version} was used before with other content")


def is_not_expired(watchlist: Watchlist, now: float) -> None:
    """Refuse a list whose time is over (EU AI Act, Art. 5(2): limits in time)."""
    end = min(watchlist.expires, watchlist.authorisation.not_after)
    if now >= end:
        raise ListRefused(f"expired {_ago(now - end)} ago; publish a new version")


def is_not_from_the_future(watchlist: Watchlist, now: float) -> None:
    """Refuse a list issued later than now: one of the two clocks is wrong."""
    ahead = watchlist.issued - now
    if ahead > limits.CLOCK_SKEW_S:
        raise NotYetValid(
            f"issued {_ago(ahead)} in the future: is this device's clock right?",
            watchlist.issued - limits.CLOCK_SKEW_S,
        )


def has_begun(watchlist: Watchlist, now: float) -> None:
    """Refuse use before the authorisation begins."""
    ahead = watchlist.authorisation.not_before - now
    if ahead > 0:
        raise NotYetValid(f"valid in {_ago(ahead)} only", watchlist.authorisation.not_before)


def has_a_bounded_validity(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list that lives too long (EU AI Act, Art. 5(2): strictly necessary in time)."""
    longest = (
        limits.MAX_VALIDITY_FIXED_S if place.profile == "fixed" else limits.MAX_VALIDITY_BODY_WORN_S
    )
    end = min(watchlist.expires, watchlist.authorisation.not_after)
    begin = max(watchlist.issued, watchlist.authorisation.not_before)
    if end - begin > longest:
        raise ListRefused(
            f"valid for {_ago(end - begin)}; at most {_ago(longest)} for a {place.profile} camera"
        )


def names_this_device(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list issued for other devices (design, "Trust": bound to devices)."""
    if place.device not in watchlist.authorisation.devices:
        raise ListRefused(f"not issued for device {place.device!r}")


def fits_the_profile(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list for another kind of camera; body-worn ones have stricter limits."""
    if watchlist.authorisation.profile != place.profile:
        raise ListRefused(
            f"issued for {watchlist.authorisation.profile} cameras; this one is {place.profile}"
        )


def is_no_larger_than_authorised(watchlist: Watchlist, place: Place) -> None:
    """Refuse more people than authorised (EU AI Act, Art. 5(1)(h): targeted, specific people)."""
    profile_limit = (
        limits.MAX_LIST_SIZE_FIXED if place.profile == "fixed" else limits.MAX_LIST_SIZE_BODY_WORN
    )
    most = min(watchlist.authorisation.max_entries, profile_limit)
    if len(watchlist.entries) > most:
        raise ListRefused(f"holds {len(watchlist.entries)} entries; at most {most} are authorised")


def covers_this_place(watchlist: Watchlist, place: Place) -> None:
    """Refuse use outside the area (EU AI Act, Art. 5(2): limits in space)."""
    area = watchlist.authorisation.area
    if area is None:
        return
    if place.position is None:
        raise ListRefused("bound to an area; set device.position in the configuration")
    distance = distance_m(area, place.position)
    if distance > area.radius_m:
        raise ListRefused(
            f"bound to an area of {area.radius_m:.0f} m; this device is {distance:.0f} m from its "
            "centre"
        )


def is_strict_enough(watchlist: Watchlist) -> None:
    """Refuse a list that tolerates more false candidates than anyone may."""
    if watchlist.authorisation.fpir_target > limits.FPIR_TARGET_LAXEST:
        raise ListRefused(
            f"fpir_target {watchlist.authorisation.fpir_target} is laxer than "
            f"{limits.FPIR_TARGET_LAXEST}"
        )


def suits_the_embedder(watchlist: Watchlist, place: Place) -> None:
    """Refuse templates of another embedder: they cannot be compared (ISO/IEC 19795-1)."""
    if (watchlist.embedder, watchlist.dimension) != (place.embedder, place.dimension):
        raise ListRefused(
            f"made with embedder {watchlist.embedder!r}; this device has {place.embedder!r}: "
            "enrol again"
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


def _ago(seconds: float) -> str:
    """Say a duration in the unit that people would use."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
