"""Every rule refuses with its own reason; local configuration can only tighten."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import ListRefused
from edge.protocol.watchlist import Area, Authorisation, Entry, Purpose, Template, Watchlist
from edge.watchlist.authorisation import (
    Floor,
    NotYetValid,
    Place,
    Tightening,
    check,
    ends,
    strictest_fpir_target,
    urgent_since,
)
from edge.watchlist.delivery import Provenance
from edge.watchlist.place import distance_m
from edge.watchlist.timekeeping import Time

NOW = 1_800_000_000
DAY = 86400
replace = msgspec.structs.replace

AUTHORISATION = Authorisation(
    reference="court 12/2026",
    purpose=Purpose.COURT_ORDER,
    not_before=NOW - 100,
    not_after=NOW + DAY - 200,
    area=None,
    devices=["camera-1", "camera-2"],
    profile="fixed",
    max_entries=3,
    fpir_target=0.001,
)
LIST = Watchlist(
    id="gate",
    version=7,
    issued=NOW - 50,
    expires=NOW + DAY - 200,
    embedder="e",
    dimension=16,
    authorisation=AUTHORISATION,
    entries=[],
)
PLACE = Place(
    device="camera-1",
    list_id="gate",
    profile="fixed",
    position=None,
    embedder="e",
    dimension=16,
)


def entries(count):
    template = Template(scale=0.01, vector=bytes(16))
    return [
        Entry(id=f"{i:032x}", not_before=0, not_after=1, templates=[template]) for i in range(count)
    ]


REGULAR = Provenance(role="regular", signers=("a", "b"), threshold=2)
URGENT = Provenance(role="urgent", signers=("a",), threshold=1)


def at(now, least=0.0, doubt=""):
    return Time(now=now, least=least, running=0.0, doubt=doubt)


def judge(
    watchlist=LIST, place=PLACE, now=NOW, floor=Floor(), digest="d",  # noqa: B008
    provenance=REGULAR, time=None,
):  # fmt: skip
    check(watchlist, provenance, place, time=time or at(now), floor=floor, digest=digest)


def authorised(**changes):
    return replace(LIST, authorisation=replace(AUTHORISATION, **changes))


def placed(**changes):
    return msgspec.structs.replace(PLACE, **changes)


def test_a_list_in_order_is_taken():
    judge()
    judge(replace(LIST, entries=entries(3)))
    judge(floor=Floor(7, "d"))
    judge(floor=Floor(6, "other"))


ONLY_EXCLUSION = Tightening(purposes=frozenset({Purpose.SELF_EXCLUSION}))
ZURICH = Area(latitude=47.3769, longitude=8.5417, radius_m=1000)


@pytest.mark.parametrize(
    ("watchlist", "options", "reason"),
    [
        (replace(LIST, id="other"), {}, "obeys 'gate'"),
        (LIST, {"floor": Floor(8, "d")}, "version 7 is older than 8"),
        (LIST, {"floor": Floor(7, "x")}, "other content"),
        (LIST, {"floor": Floor(7, "d", ended=True)}, "has ended and was destroyed"),
        (LIST, {"provenance": Provenance("regular", ("a", "a"), 2)}, "signed by 1; .* needs 2"),
        (LIST, {"provenance": Provenance("regular", (), 0)}, "signed by 0"),
        (LIST, {"place": placed(tightening=ONLY_EXCLUSION)},
         "for court-order; this device's configuration does not"),
        (LIST, {"place": placed(tightening=Tightening(max_validity_s=3600))}, "at most 60 minutes"),
        (replace(LIST, entries=entries(3)), {"place": placed(tightening=Tightening(max_entries=2))},
         "3 entries; at most 2"),
        (replace(LIST, expires=NOW), {}, "expired"),
        (authorised(not_after=NOW - 1), {}, "expired"),
        (replace(LIST, expires=NOW + 31 * DAY, authorisation=authorised(
            not_after=NOW + 31 * DAY).authorisation), {}, "31 days; at most 30 days"),
        (authorised(devices=["camera-2"]), {}, "not issued for device 'camera-1'"),
        (LIST, {"place": placed(profile="body-worn")}, "this one is body-worn"),
        (replace(LIST, entries=entries(4)), {}, "4 entries; at most 3"),
        (authorised(area=ZURICH), {}, "set device.position"),
        (authorised(area=ZURICH), {"place": placed(position=(47.39, 8.5417))}, "m from its centre"),
        (authorised(fpir_target=0.02), {}, "laxer than 0.01"),
        (LIST, {"place": placed(embedder="f")}, "this device has 'f'"),
        (LIST, {"place": placed(dimension=32)}, "enrol again"),
    ],
)  # fmt: skip
def test_a_rule_refuses_with_its_reason(watchlist, options, reason):
    with pytest.raises(ListRefused, match=reason) as refusal:
        judge(watchlist, **options)
    assert not isinstance(refusal.value, NotYetValid)


@pytest.mark.parametrize(
    ("watchlist", "reason", "begins"),
    [
        (replace(LIST, issued=NOW + 61), "in the future", NOW + 61 - limits.CLOCK_SKEW_S),
        (authorised(not_before=NOW + 600), "valid in 10 minutes only", NOW + 600),
    ],
)
def test_what_is_only_too_early_says_when_to_try_again(watchlist, reason, begins):
    with pytest.raises(NotYetValid, match=reason) as refusal:
        judge(watchlist)
    assert refusal.value.begins == begins
    judge(watchlist, now=begins)


BREACHES = [
    lambda w: replace(w, id="other"),
    lambda w: replace(w, version=6),
    lambda w: replace(w, expires=NOW),
    lambda w: replace(w, entries=entries(4)),
    lambda w: replace(w, embedder="f"),
    lambda w: replace(w, authorisation=replace(w.authorisation, devices=["other"])),
    lambda w: replace(w, authorisation=replace(w.authorisation, profile="body-worn")),
    lambda w: replace(w, authorisation=replace(w.authorisation, area=ZURICH)),
    lambda w: replace(w, authorisation=replace(w.authorisation, fpir_target=0.5)),
]
DELAYS = [
    lambda w: replace(w, issued=NOW + 100),
    lambda w: replace(w, authorisation=replace(w.authorisation, not_before=NOW + 100)),
]


@given(
    st.lists(st.sampled_from(BREACHES), unique=True),
    st.lists(st.sampled_from(DELAYS), unique=True),
)
def test_a_list_waits_only_if_nothing_but_time_is_missing(breaches, delays):
    watchlist = LIST
    for change in (*breaches, *delays):
        watchlist = change(watchlist)
    if not breaches and not delays:
        judge(watchlist, floor=Floor(7, "d"))
        return
    with pytest.raises(ListRefused) as refusal:
        judge(watchlist, floor=Floor(7, "d"))
    assert isinstance(refusal.value, NotYetValid) == (not breaches)


WORN = placed(profile="body-worn")


def test_a_body_worn_camera_takes_shorter_and_smaller_lists_and_only_with_an_area():
    worn = WORN
    with pytest.raises(ListRefused, match="names no area"):
        judge(authorised(profile="body-worn"), worn)
    issued_for = authorised(profile="body-worn", area=ZURICH)
    judge(issued_for, worn)
    longer = replace(
        issued_for,
        expires=NOW + 3 * DAY,
        authorisation=replace(issued_for.authorisation, not_after=NOW + 3 * DAY),
    )
    with pytest.raises(ListRefused, match="at most 24 hours for this body-worn"):
        judge(longer, worn)
    large = replace(
        issued_for,
        entries=entries(limits.MAX_LIST_SIZE_BODY_WORN + 1),
        authorisation=replace(issued_for.authorisation, max_entries=10_000),
    )
    with pytest.raises(ListRefused, match=str(limits.MAX_LIST_SIZE_BODY_WORN)):
        judge(large, worn)


def test_inside_the_area_it_is_taken():
    judge(authorised(area=ZURICH), placed(position=(47.3780, 8.5402)))


def test_distances_are_those_of_the_globe():
    paris = Area(latitude=48.8566, longitude=2.3522, radius_m=1)
    assert distance_m(paris, (51.5074, -0.1278)) == pytest.approx(343_600, rel=0.003)
    assert distance_m(paris, (48.8566, 2.3522)) == 0
    pole = Area(latitude=90, longitude=0, radius_m=1)
    assert distance_m(pole, (-90, 0)) == pytest.approx(20_015_000, rel=0.001)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0.1, 500_000))
def test_a_list_is_taken_inside_its_area_and_nowhere_else(latitude, longitude, radius):
    area = Area(latitude=latitude, longitude=longitude, radius_m=radius)
    watchlist, centre = authorised(area=area), (latitude, longitude)
    judge(watchlist, placed(position=centre))
    degrees = math.degrees(radius / 6_371_008.8)
    inwards = -1 if latitude > 0 else 1
    judge(watchlist, placed(position=(latitude + inwards * degrees * 0.99, longitude)))
    with pytest.raises(ListRefused, match="bound to an area"):
        judge(watchlist, placed(position=(latitude + inwards * degrees * 1.01, longitude)))


@given(
    st.integers(0, 100), st.integers(0, 100), st.integers(1, 40 * DAY), st.integers(-60, 40 * DAY)
)
def test_what_is_taken_is_never_old_expired_or_too_long(version, floor, length, age):
    watchlist = replace(
        authorised(not_before=0, not_after=NOW - age + length),
        version=version + 1,
        issued=NOW - age,
        expires=NOW - age + length,
    )
    try:
        judge(watchlist, floor=Floor(floor, "d"))
    except ListRefused:
        return
    assert version + 1 >= floor
    assert watchlist.expires > NOW
    assert length <= limits.MAX_VALIDITY_FIXED_S


@pytest.mark.parametrize("ceiling", [None, 1, limits.MAX_LIST_SIZE_BODY_WORN + 1])
def test_only_the_root_of_trust_lifts_the_limit_of_the_profile(ceiling):
    most = limits.MAX_LIST_SIZE_BODY_WORN
    large = replace(
        authorised(profile="body-worn", area=ZURICH, max_entries=10_000), entries=entries(most + 1)
    )
    provenance = msgspec.structs.replace(REGULAR, ceiling=ceiling)
    if ceiling == most + 1:
        judge(large, WORN, provenance=provenance)
        with pytest.raises(ListRefused, match="at most 5 "):  # but not the list's own
            judge(replace(large, authorisation=replace(large.authorisation, max_entries=5)),
                  WORN, provenance=provenance)  # fmt: skip
    else:
        with pytest.raises(ListRefused, match=f"at most {most} are"):
            judge(large, WORN, provenance=provenance)


def test_an_urgent_list_ends_a_day_after_its_issue_unless_more_sign():
    issued = NOW - DAY + 60
    longer = replace(authorised(not_before=issued, not_after=NOW + 9 * DAY), issued=issued,
                     expires=NOW + 9 * DAY)  # fmt: skip
    assert ends(longer, URGENT, Floor()) == issued + limits.URGENT_VALIDITY_S == NOW + 60
    judge(longer, provenance=URGENT)
    with pytest.raises(ListRefused, match="not countersigned within 24 hours"):
        judge(longer, provenance=URGENT, now=NOW + 60)
    judge(longer, provenance=REGULAR, now=NOW + 60)
    assert ends(longer, REGULAR, Floor()) == NOW + 9 * DAY


def test_an_urgent_list_that_follows_another_says_since_when_it_is_urgent():
    floor = Floor(6, "other", urgent_since=NOW - DAY)
    judge(floor=floor)
    judge(floor=floor, provenance=URGENT, now=NOW - 1)
    with pytest.raises(ListRefused, match=r"urgent since 2027-01-14 08:00 UTC.*; two people must"):
        judge(floor=floor, provenance=URGENT)


moments = st.integers(1, 40 * DAY)


@given(moments, moments, moments, moments)
def test_nothing_but_signatures_makes_a_list_live_longer(issued, expires, not_after, since):
    watchlist = replace(authorised(not_after=not_after), issued=issued, expires=expires)
    floor = Floor(urgent_since=since)
    assert ends(watchlist, REGULAR, floor) == min(expires, not_after)
    assert ends(watchlist, URGENT, Floor()) == min(expires, not_after, issued + DAY)
    assert ends(watchlist, URGENT, floor) == min(expires, not_after, issued + DAY, since + DAY)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * DAY)), min_size=1, max_size=20))
def test_however_many_versions_one_signs_alone_they_last_a_day_together(versions):
    """For any row of versions: none looks later than a day after the first since two signed."""
    now, floor, first = NOW, Floor(), 0
    for version, (together, pause) in enumerate(versions, start=1):
        now += pause
        watchlist = replace(
            authorised(not_before=now, not_after=now + 20 * DAY),
            version=version, issued=now, expires=now + 20 * DAY,
        )  # fmt: skip
        provenance = REGULAR if together else URGENT
        try:
            judge(watchlist, floor=floor, provenance=provenance, now=now)
        except ListRefused:
            assert not together
            assert now >= first + DAY
            continue
        first = 0 if together else first or now
        assert first == 0 or ends(watchlist, provenance, floor) == first + DAY
        floor = Floor(version, "d", urgent_since=urgent_since(watchlist, provenance, floor))


def test_a_doubted_clock_puts_a_list_off_and_destroys_nothing():
    doubted = at(NOW + 365 * DAY, least=NOW, doubt="no NTP")
    with pytest.raises(NotYetValid, match="clock is not trusted: no NTP") as refusal:
        judge(time=doubted)
    assert refusal.value.begins == 0
    with pytest.raises(ListRefused, match="expired") as refusal:
        judge(time=at(NOW, least=LIST.expires, doubt="no NTP"))  # certainly over, whatever it says
    assert not isinstance(refusal.value, NotYetValid)


near = st.integers(-2, 2).map(lambda days: days * DAY) | st.sampled_from(
    [-61, -60, -1, 0, 1, 60, 61]
)
situations = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["gate", "other"]),
        "version": st.integers(6, 8),
        "issued": near,
        "expires": near | st.just(40 * DAY),
        "not_before": near,
        "not_after": near | st.just(40 * DAY),
        "area": st.sampled_from([None, ZURICH]),
        "devices": st.sampled_from([["camera-1"], ["camera-2"], ["camera-2", "camera-1"]]),
        "profile": st.sampled_from(["fixed", "body-worn"]),
        "max_entries": st.integers(1, 4),
        "count": st.integers(0, 4),
        "fpir_target": st.sampled_from([1e-6, 0.01, 0.010001, 0.5]),
        "embedder": st.sampled_from(["e", "f"]),
        "position": st.sampled_from([None, (47.3780, 8.5402), (0.0, 0.0)]),
        "worn": st.booleans(),
        "digest": st.sampled_from(["d", "x"]),
        "ended": st.booleans(),
        "signers": st.integers(0, 3),
        "urgent": st.booleans(),
        "doubt": st.sampled_from(["", "no NTP"]),
    }
)
# Every value that the configuration has, and more than it allows.
tightenings = st.fixed_dictionaries(
    {},
    optional={
        "purposes": st.frozensets(st.sampled_from(Purpose)),
        "max_entries": st.integers(0, 10 * limits.MAX_LIST_SIZE),
        "max_validity_s": st.floats(0, 1e9),
    },
)


@given(st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_the_stricter_rate_counts(signed, configured):
    used = strictest_fpir_target(replace(AUTHORISATION, fpir_target=signed), configured)
    assert used == min(signed, configured)


# Each value alone may be changed for one that breaks a rule.
IN_ORDER = {
    "id": "gate", "version": 7, "issued": 0, "expires": DAY, "not_before": 0, "not_after": 40 * DAY,
    "area": ZURICH, "devices": ["camera-1"], "profile": "fixed", "max_entries": 2, "count": 2,
    "fpir_target": 0.01, "embedder": "e", "position": (47.3780, 8.5402), "worn": False,
    "digest": "d", "ended": False, "signers": 2, "urgent": False, "doubt": "",
}  # fmt: skip


def keeps_every_rule(s):
    """The rules a second time, as plain conditions; times are relative to now."""
    end = min(s["expires"], s["not_after"])
    dies = min(end, s["issued"] + DAY) if s["urgent"] else end
    longest = (1 if s["worn"] else 30) * DAY
    return all(
        [
            s["id"] == "gate",
            s["version"] > 7 or (s["version"] == 7 and s["digest"] == "d" and not s["ended"]),
            s["signers"] >= (1 if s["urgent"] else 2),
            not s["doubt"],
            s["issued"] <= limits.CLOCK_SKEW_S,
            s["not_before"] <= 0 < dies,
            end - max(s["issued"], s["not_before"]) <= longest,
            "camera-1" in s["devices"],
            s["profile"] == ("body-worn" if s["worn"] else "fixed"),
            s["count"] <= s["max_entries"],
            s["area"] is not None
            if s["worn"]
            else s["area"] is None or s["position"] == (47.3780, 8.5402),
            s["fpir_target"] <= 0.01,
            s["embedder"] == "e",
        ]
    )


@pytest.mark.parametrize("field", IN_ORDER)
@settings(max_examples=40, deadline=None)
@given(st.data(), situations, st.sets(st.sampled_from([*IN_ORDER]), max_size=2))
def test_a_list_is_taken_exactly_if_it_keeps_every_rule(field, data, drawn, others):
    s = IN_ORDER | {name: drawn[name] for name in {field, *others}}
    watchlist = replace(
        authorised(
            area=s["area"], devices=s["devices"], profile=s["profile"],
            max_entries=s["max_entries"], fpir_target=s["fpir_target"],
            not_before=NOW + s["not_before"], not_after=NOW + s["not_after"],
        ),
        id=s["id"], version=s["version"], embedder=s["embedder"], entries=entries(s["count"]),
        issued=NOW + s["issued"], expires=NOW + s["expires"],
    )  # fmt: skip
    provenance = Provenance(
        role="urgent" if s["urgent"] else "regular",
        signers=tuple("abc"[: s["signers"]]),
        threshold=1 if s["urgent"] else 2,
    )
    place = placed(position=s["position"], profile="body-worn" if s["worn"] else "fixed")
    floor = Floor(7, "d", ended=s["ended"])
    options = {"floor": floor, "digest": s["digest"], "provenance": provenance}

    def taken(place):
        try:
            judge(watchlist, place, time=at(NOW, doubt=s["doubt"]), **options)
        except ListRefused:
            return False
        return True

    assert taken(place) == keeps_every_rule(s)
    tighter = msgspec.structs.replace(place, tightening=Tightening(**data.draw(tightenings)))
    if taken(tighter):  # whatever is configured, what the rules refuse stays refused
        assert taken(place)
