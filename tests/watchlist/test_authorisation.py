"""Every rule refuses with its own reason; local configuration can only tighten."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import ListRefused
from edge.protocol.watchlist import Area, Authorisation, Entry, Purpose, Template, Watchlist
from edge.watchlist.authorisation import Floor, NotYetValid, Place, check, distance_m

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


def judge(watchlist=LIST, place=PLACE, now=NOW, floor=Floor(), digest="d"):  # noqa: B008
    check(watchlist, place, now=now, floor=floor, digest=digest)


def authorised(**changes):
    return replace(LIST, authorisation=replace(AUTHORISATION, **changes))


def placed(**changes):
    fields = {name: getattr(PLACE, name) for name in Place.__slots__}
    return Place(**(fields | changes))


def test_a_list_in_order_is_taken():
    judge()
    judge(replace(LIST, entries=entries(3)))
    judge(floor=Floor(7, "d"))
    judge(floor=Floor(6, "other"))


ZURICH = Area(latitude=47.3769, longitude=8.5417, radius_m=1000)


@pytest.mark.parametrize(
    ("watchlist", "options", "reason"),
    [
        (replace(LIST, id="other"), {}, "obeys 'gate'"),
        (LIST, {"floor": Floor(8, "d")}, "version 7 is older than 8"),
        (LIST, {"floor": Floor(7, "x")}, "other content"),
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


def test_a_body_worn_camera_takes_shorter_and_smaller_lists():
    worn = placed(profile="body-worn")
    issued_for = replace(authorised(profile="body-worn"), expires=NOW + DAY - 200)
    judge(issued_for, worn)
    longer = replace(
        issued_for,
        expires=NOW + 3 * DAY,
        authorisation=replace(issued_for.authorisation, not_after=NOW + 3 * DAY),
    )
    with pytest.raises(ListRefused, match="at most 24 hours for a body-worn"):
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
    }
)
# Each value alone may be changed for one that breaks a rule.
IN_ORDER = {
    "id": "gate", "version": 7, "issued": 0, "expires": DAY, "not_before": 0, "not_after": 40 * DAY,
    "area": ZURICH, "devices": ["camera-1"], "profile": "fixed", "max_entries": 2, "count": 2,
    "fpir_target": 0.01, "embedder": "e", "position": (47.3780, 8.5402), "worn": False,
    "digest": "d",
}  # fmt: skip


def keeps_every_rule(s):
    """The rules a second time, as plain conditions; times are relative to now."""
    end = min(s["expires"], s["not_after"])
    longest = (1 if s["worn"] else 30) * DAY
    return all(
        [
            s["id"] == "gate",
            s["version"] > 7 or (s["version"] == 7 and s["digest"] == "d"),
            s["issued"] <= limits.CLOCK_SKEW_S,
            s["not_before"] <= 0 < end,
            end - max(s["issued"], s["not_before"]) <= longest,
            "camera-1" in s["devices"],
            s["profile"] == ("body-worn" if s["worn"] else "fixed"),
            s["count"] <= s["max_entries"],
            s["area"] is None or s["position"] == (47.3780, 8.5402),
            s["fpir_target"] <= 0.01,
            s["embedder"] == "e",
        ]
    )


@pytest.mark.parametrize("field", IN_ORDER)
@settings(max_examples=40, deadline=None)
@given(situations, st.sets(st.sampled_from([*IN_ORDER]), max_size=2))
def test_a_list_is_taken_exactly_if_it_keeps_every_rule(field, drawn, others):
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
    place = placed(position=s["position"], profile="body-worn" if s["worn"] else "fixed")
    try:
        judge(watchlist, place, floor=Floor(7, "d"), digest=s["digest"])
        taken = True
    except ListRefused:
        taken = False
    assert taken == keeps_every_rule(s)
