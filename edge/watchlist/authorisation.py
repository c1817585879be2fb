"""The rules by which a list may be taken. Pure: no clock, no files.

A signature says who made a list; these rules say whether that is enough. Each is one function,
named for what it demands, and refuses with the reason. What has to hold at every moment of use,
not only when a list arrives, is in `edge.watchlist.arming`.

Local configuration (`Tightening`) can only make a rule stricter: it has no value that would relax
one. Nothing here is switched off by anything.

Sources, as far as they bear on what a device can check. They are the reasons for the rules, not a
claim that keeping the rules makes a use lawful:

* **AI Act**: Regulation (EU) 2024/1689, Art. 5(1)(h), 5(2), 5(3) (real-time remote biometric
  identification in public by law enforcement), Art. 14 (human oversight).
* **GDPR**: Regulation (EU) 2016/679, Art. 5(1) and 9.
* **Bridges**: R (Bridges) v Chief Constable of South Wales Police, [2020] EWCA Civ 1058, and the
  operating procedures of South Wales Police quoted there and in the judgment below.
* **Surveillance Camera Code**: Home Office, Surveillance Camera Code of Practice (2021).
* **24745**: ISO/IEC 24745:2022, protection of biometric information.
* **TUF**: the specification of The Update Framework, section 5.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from edge import limits
from edge.errors import ListRefused
from edge.protocol.event import Ending
from edge.protocol.watchlist import Authorisation, Purpose, Seconds, Watchlist
from edge.watchlist.delivery import Provenance
from edge.watchlist.place import Fix, outside
from edge.watchlist.timekeeping import Time

Profile = Literal["fixed", "body-worn"]


class NotYetValid(ListRefused):
    """Nothing but time is missing: the list is kept and tried again.

    Attributes:
        begins: when to try, seconds since 1970; 0: whenever the clock is believed.
    """

    def __init__(self, message: str, begins: float) -> None:
        super().__init__(message)
        self.begins = begins


class Floor(msgspec.Struct, frozen=True):
    """The newest list ever used: nothing older may follow.

    Attributes:
        version: its version; 0 if there was none.
        digest: SHA-256 of its sealed head, hex.
        ended: it was destroyed, for another reason than being replaced: it does not return.
        by_order: it was an order to stop that ended it: when that is lifted, it may return.
        urgent_since: when the first list was issued that one signed alone since the last that
            those who sign together did, seconds since 1970; 0 if these signed the newest.
    """

    version: int = 0
    digest: str = ""
    ended: bool = False
    by_order: bool = False
    urgent_since: Seconds = 0


def lifted(floor: Floor) -> Floor:
    """Return what holds of versions once an order to stop is lifted."""
    return msgspec.structs.replace(floor, ended=False, by_order=False) if floor.by_order else floor


class Tightening(msgspec.Struct, frozen=True):
    """What the configuration asks beyond the rules. Each field can only refuse more.

    Attributes:
        purposes: of all purposes, those that this device serves.
        max_entries: most people on a list.
        max_validity_s: longest validity in seconds.
    """

    purposes: frozenset[Purpose] = frozenset(Purpose)
    max_entries: int = limits.MAX_LIST_SIZE
    max_validity_s: float = limits.MAX_VALIDITY_FIXED_S


class Place(msgspec.Struct, frozen=True):
    """What a device is, as far as rules ask.

    Attributes:
        device: its id.
        list_id: the list it obeys.
        profile: kind of camera.
        position: of a fixed camera, latitude and longitude in degrees; None if it is not
            configured, and for a camera that moves.
        embedder: id of its embedder.
        dimension: length of its templates.
        tightening: what its configuration asks beyond the rules.
    """

    device: str
    list_id: str
    profile: Profile
    position: tuple[float, float] | None
    embedder: str
    dimension: int
    tightening: Tightening = Tightening()


def check(
    watchlist: Watchlist,
    provenance: Provenance,
    place: Place,
    *,
    time: Time,
    floor: Floor,
    digest: str,
) -> None:
    """Apply every rule.

    Args:
        watchlist: an authentic list.
        provenance: who vouches for it.
        place: the device.
        time: what is known of it.
        floor: the newest list used so far.
        digest: SHA-256 of the list's sealed head, hex.

    Raises:
        ListRefused: naming the rule; `NotYetValid` if only time is missing.
    """
    is_the_right_list(watchlist, place)
    is_vouched_for(provenance)
    is_not_older(watchlist, floor, digest)
    is_not_expired(watchlist, provenance, time, floor)
    has_a_bounded_validity(watchlist, place)
    serves_a_purpose_of_this_device(watchlist, place)
    names_this_device(watchlist, place)
    fits_the_profile(watchlist, place)
    is_no_larger_than_authorised(watchlist, provenance, place)
    is_bound_to_an_area_if_worn(watchlist, place)
    covers_a_fixed_camera(watchlist, place)
    is_strict_enough(watchlist)
    suits_the_embedder(watchlist, place)
    can_be_judged_by_the_clock(time)
    is_not_from_the_future(watchlist, time)
    has_begun(watchlist, time)


def urgent_since(watchlist: Watchlist, provenance: Provenance, floor: Floor) -> int:
    """Return what `Floor.urgent_since` is once a list is taken."""
    if provenance.role == "regular":
        return 0
    return min(floor.urgent_since or watchlist.issued, watchlist.issued)


def ends(watchlist: Watchlist, provenance: Provenance, floor: Floor) -> int:
    """Return from when on nobody is found by a list, seconds since 1970.

    The earliest of: the end of this version, the end of its authorisation, and for a list that
    only the role for urgent lists has signed, 24 hours after the first such list was issued: a
    new version each day makes an emergency no longer. AI Act, Art. 5(3): in urgency use may begin
    before it is authorised, if authorisation is asked for within 24 hours; a use that is not
    authorised stops at once, and its data are deleted.
    """
    end = min(watchlist.expires, watchlist.authorisation.not_after)
    if provenance.role == "urgent":
        end = min(end, urgent_since(watchlist, provenance, floor) + limits.URGENT_VALIDITY_S)
    return end


def ending(watchlist: Watchlist, provenance: Provenance, floor: Floor) -> Ending:
    """Return what a list has died of when its time is over."""
    countersigned = ends(watchlist, msgspec.structs.replace(provenance, role="regular"), floor)
    over = ends(watchlist, provenance, floor) == countersigned
    return Ending.EXPIRED if over else Ending.NOT_COUNTERSIGNED


def is_the_right_list(watchlist: Watchlist, place: Place) -> None:
    """Refuse another list than the one configured (GDPR, Art. 5(1)(b): purpose limitation)."""
    if watchlist.id != place.list_id:
        raise ListRefused(f"this is list {watchlist.id!r}; the device obeys {place.list_id!r}")


def is_vouched_for(provenance: Provenance) -> None:
    """Refuse a list that fewer people signed than its role needs (TUF 5: thresholds).

    The transport has checked the signatures; this counts once more.
    """
    signers = len(set(provenance.signers))
    if signers < max(1, provenance.threshold):
        raise ListRefused(f"signed by {signers}; its role needs {provenance.threshold}")


def is_not_older(watchlist: Watchlist, floor: Floor, digest: str) -> None:
    """Refuse a rollback, two lists of one version (TUF 5.3 to 5.5), and what was destroyed.

    24745 asks that a reference can be revoked: what was revoked must not be accepted again.
    """
    if watchlist.version < floor.version:
        raise ListRefused(
            f"version {watchlist.version} is older than {floor.version}, which was used before"
        )
    if watchlist.version == floor.version and digest != floor.digest:
        raise ListRefused(f"version {watchlist.version} was used before with other content")
    if watchlist.version == floor.version and floor.ended:
        raise ListRefused(
            f"version {watchlist.version} has ended and was destroyed; publish a new version"
        )


def is_not_expired(watchlist: Watchlist, provenance: Provenance, time: Time, floor: Floor) -> None:
    """Refuse a list whose time is over (AI Act, Art. 5(2): limits in time).

    Where the clock is doubted, only what is certainly over counts: a clock that is wrong by a
    year destroys nothing.
    """
    end = ends(watchlist, provenance, floor)
    if not time.is_over(end):
        return
    if ending(watchlist, provenance, floor) is Ending.EXPIRED:
        raise ListRefused(f"expired {duration(time.now - end)} ago; publish a new version")
    since = datetime.fromtimestamp(urgent_since(watchlist, provenance, floor), UTC)
    raise ListRefused(
        f"urgent since {since:%Y-%m-%d %H:%M} UTC, and not countersigned within 24 hours; "
        "two people must sign"
    )


def has_a_bounded_validity(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list that lives too long: 30 days, 24 hours on a body-worn camera.

    AI Act, Art. 5(2): limits in time; GDPR, Art. 5(1)(e): kept no longer than necessary. South
    Wales Police makes a list for one deployment and deletes it within 24 hours (Bridges).
    """
    profile_limit = (
        limits.MAX_VALIDITY_FIXED_S if place.profile == "fixed" else limits.MAX_VALIDITY_BODY_WORN_S
    )
    longest = min(profile_limit, place.tightening.max_validity_s)
    end = min(watchlist.expires, watchlist.authorisation.not_after)
    begin = max(watchlist.issued, watchlist.authorisation.not_before)
    if end - begin > longest:
        raise ListRefused(
            f"valid for {duration(end - begin)}; at most {duration(longest)} for this "
            f"{place.profile} camera"
        )


def serves_a_purpose_of_this_device(watchlist: Watchlist, place: Place) -> None:
    """Refuse a purpose that this device was not set up for.

    Purposes are a closed enumeration in the format itself (`edge.protocol.watchlist.Purpose`):
    consent (GDPR, Art. 9(2)(a)), for access and self-exclusion; the missing, an order of a court,
    an imminent threat to life (AI Act, Art. 5(1)(h)(i) to (iii)). Who may be on a list must not be
    left to whoever runs the camera (Bridges, the "who" question). Configuration may name fewer.
    """
    purpose = watchlist.authorisation.purpose
    if purpose not in place.tightening.purposes:
        raise ListRefused(f"for {purpose.value}; this device's configuration does not serve that")


def names_this_device(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list issued for other devices (AI Act, Art. 5(2); Bridges, the "where" question)."""
    if place.device not in watchlist.authorisation.devices:
        raise ListRefused(f"not issued for device {place.device!r}")


def fits_the_profile(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list for another kind of camera: its necessity was weighed for that kind.

    Surveillance Camera Code, principles 1 and 2: a specified purpose, and the effect on people
    reviewed for the system as it is used.
    """
    if watchlist.authorisation.profile != place.profile:
        raise ListRefused(
            f"issued for {watchlist.authorisation.profile} cameras; this one is {place.profile}"
        )


def is_no_larger_than_authorised(
    watchlist: Watchlist, provenance: Provenance, place: Place
) -> None:
    """Refuse more people than authorised: at most 10,000, 2,000 on a body-worn camera.

    AI Act, Art. 5(1)(h) and 5(2): targeted at specific people. The lists of South Wales Police
    hold at most 2,000 images (Bridges). Only the root of trust can allow a list more than the
    profile does, and nothing can allow it more than its own authorisation or the configuration.
    """
    profile_limit = (
        limits.MAX_LIST_SIZE_FIXED if place.profile == "fixed" else limits.MAX_LIST_SIZE_BODY_WORN
    )
    most = min(
        watchlist.authorisation.max_entries,
        max(profile_limit, provenance.ceiling or 0),
        place.tightening.max_entries,
    )
    if len(watchlist.entries) > most:
        raise ListRefused(f"holds {len(watchlist.entries)} entries; at most {most} are authorised")


def is_bound_to_an_area_if_worn(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list without an area on a camera that moves (AI Act, Art. 5(2): limits in space)."""
    if place.profile == "body-worn" and watchlist.authorisation.area is None:
        raise ListRefused("names no area; a body-worn camera looks inside one only")


def covers_a_fixed_camera(watchlist: Watchlist, place: Place) -> None:
    """Refuse a list that a camera cannot use where it stands (AI Act, Art. 5(2); Bridges, "where").

    A camera that moves is asked at every moment instead: `edge.watchlist.arming`.
    """
    area = watchlist.authorisation.area
    if area is None or place.profile == "body-worn":
        return
    if place.position is None:
        raise ListRefused("bound to an area; set device.position in the configuration")
    if reason := outside(area, Fix(*place.position), 0.0):
        raise ListRefused(reason)


def is_strict_enough(watchlist: Watchlist) -> None:
    """Refuse a list that tolerates more false candidates than anyone may: 1 in 100.

    South Wales Police: no more than 1 false alert in 1,000 (Bridges), which is what a device asks
    for unless it is told to be stricter. AI Act, Art. 15(1): an appropriate level of accuracy.
    """
    if watchlist.authorisation.fpir_target > limits.FPIR_TARGET_LAXEST:
        raise ListRefused(
            f"fpir_target {watchlist.authorisation.fpir_target} is laxer than "
            f"{limits.FPIR_TARGET_LAXEST}"
        )


def strictest_fpir_target(authorisation: Authorisation, configured: float) -> float:
    """Return the false positive identification rate to use: the stricter of list and device."""
    return min(authorisation.fpir_target, configured)


def suits_the_embedder(watchlist: Watchlist, place: Place) -> None:
    """Refuse templates of another embedder: they cannot be compared.

    24745, renewability: references are made anew, from photos, when the algorithm changes.
    """
    if (watchlist.embedder, watchlist.dimension) != (place.embedder, place.dimension):
        raise ListRefused(
            f"made with embedder {watchlist.embedder!r}; this device has {place.embedder!r}: "
            "enrol again"
        )


def can_be_judged_by_the_clock(time: Time) -> None:
    """Put off a list while the clock is in doubt: limits in time mean nothing without it."""
    if time.doubt:
        raise NotYetValid(f"the clock is not trusted: {time.doubt}", 0)


def is_not_from_the_future(watchlist: Watchlist, time: Time) -> None:
    """Put off a list issued later than now: one of the two clocks is wrong."""
    ahead = watchlist.issued - time.now
    if ahead > limits.CLOCK_SKEW_S:
        raise NotYetValid(
            f"issued {duration(ahead)} in the future: is this device's clock right?",
            watchlist.issued - limits.CLOCK_SKEW_S,
        )


def has_begun(watchlist: Watchlist, time: Time) -> None:
    """Put off use before the authorisation begins (AI Act, Art. 5(3): authorised beforehand)."""
    ahead = watchlist.authorisation.not_before - time.now
    if ahead > 0:
        raise NotYetValid(f"valid in {duration(ahead)} only", watchlist.authorisation.not_before)


def duration(seconds: float) -> str:
    """Say a duration in the unit that people would use."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
