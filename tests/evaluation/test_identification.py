"""Open-set search and the knob, on people made up so that the right answer is known."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from edge.errors import EvaluationError
from edge.inference.manifest import ImpostorTail
from edge.vision.faces import Face
from edge.vision.quality import Quality
from evaluation import discard, identification, knob, verification
from evaluation.acquire import NO_FACE, Acquired
from evaluation.data import Pair, People, Picture
from evaluation.metrics import NO_TEMPLATE
from evaluation.people import Crowd
from evaluation.systems import Capture
from models.build import tail as fitting

DIMENSION = 32
GOOD = Quality(40.0, 40.0, 0.7, 0.5, 0.4, 0.95, 0.93)


def capture(vector, quality=GOOD):
    face = Face((0, 0, 50, 50), np.zeros((5, 2), np.float32), quality.score)
    return Capture(face, quality, (vector / np.linalg.norm(vector)).astype(np.float32))


def crowd(people, noise, *, seed=1, pictures=2):
    """Random people with several pictures each, and what a system made of them."""
    rng = np.random.default_rng(seed)
    listed, captures = [], {}
    for i in range(people):
        centre = rng.normal(size=DIMENSION)
        for k in range(pictures):
            name = f"p{i}/{k}.jpg"
            listed.append(Picture(name, f"p{i}", Path(name)))
            captures[name] = capture(centre + noise * rng.normal(size=DIMENSION))
    return listed, Acquired("int8", captures, {})


def test_people_who_look_alike_in_every_picture_are_always_found():
    pictures, acquired = crowd(300, 0.01)
    found = identification.measure(pictures, {"int8": acquired}, [50])
    (search,) = found.searched
    assert [p.fnir.value for p in search.systems["int8"]] == [0, 0]
    assert search.mated == 50 * 40
    assert search.unmated == 250 * 40
    assert search.loss is None


def test_what_each_probe_comes_to():
    """A stranger who is nearer than the mate makes a miss, not a find."""
    pictures = [Picture(f"p{i}/{k}.jpg", f"p{i}", Path()) for i in range(4) for k in range(2)]
    table = np.full((8, 4), 0.0)  # pictures against the first picture of each person
    table[1] = [0.7, 0.2, 0.9, 0.0]  # p0: its mate is best of those enrolled
    table[3] = [0.6, 0.4, 0.0, 0.0]  # p1: somebody else is nearer
    table[4] = [0.3, 0.5, 0.0, 0.0]  # p2, not enrolled
    table[6] = NO_TEMPLATE  # p3, not enrolled, no template
    drawn = SimpleNamespace(enrolled=[np.array([0, 1])])
    hits, of, tops, others = identification.pool(Crowd(pictures), table, drawn)
    assert (hits.tolist(), of.tolist()) == ([0.7, NO_TEMPLATE], [0, 1])
    assert (tops.tolist(), others.tolist()) == ([0.5, NO_TEMPLATE], [2, 3])


def test_noisy_people_are_missed_more_often_the_longer_the_list():
    pictures, acquired = crowd(700, 1.0)
    found = identification.measure(pictures, {"int8": acquired}, [10, 500])
    short, long = (s.systems["int8"][0] for s in found.searched)
    assert short.fnir.value < long.fnir.value
    assert short.threshold < long.threshold
    for point in (short, long):
        assert point.fnir.low <= point.fnir.value <= point.fnir.high


def test_pictures_without_a_template_are_misses_never_left_out():
    pictures, acquired = crowd(300, 0.01)
    gone = {p.name for p in pictures if p.name.endswith("/1.jpg") and int(p.person[1:]) % 4 == 0}
    less = Acquired(
        "int8",
        {n: c for n, c in acquired.captures.items() if n not in gone},
        dict.fromkeys(gone, NO_FACE),
    )
    (search,) = identification.measure(pictures, {"int8": less}, [100]).searched
    assert search.mated == 100 * 20
    assert search.systems["int8"][0].fnir.value == pytest.approx(0.25, abs=0.04)


def test_who_could_not_be_enrolled_is_missed():
    pictures, acquired = crowd(300, 0.01)
    less = {n: c for n, c in acquired.captures.items() if n != "p0/0.jpg"}
    found = identification.measure(pictures, {"int8": Acquired("int8", less, {})}, [200])
    assert found.searched[0].systems["int8"][0].fnir.value > 0


def test_gates_refuse_poor_views_and_they_count_as_misses():
    pictures, acquired = crowd(300, 0.01)
    dark = Quality(40.0, 40.0, 0.7, 0.01, 0.4, 0.95, 0.9)
    poor = {
        n: capture(c.template, dark if n.endswith("/1.jpg") else GOOD)
        for n, c in acquired.captures.items()
    }
    both = {"int8": Acquired("int8", poor, {})}
    free = identification.measure(pictures, both, [50])
    gated = identification.measure(pictures, both, [50], gates=True)
    assert free.searched[0].systems["int8"][0].fnir.value == 0
    assert gated.searched[0].systems["int8"][0].fnir.value == 1
    assert gated.gated["int8"] == {"views": 300, "photos": 0}


def test_the_same_system_twice_differs_by_nothing():
    pictures, acquired = crowd(300, 1.0)
    (search,) = identification.measure(
        pictures, {"int8": acquired, "float": acquired}, [50]
    ).searched
    assert search.loss is not None
    assert all((loss.value, loss.low, loss.high) == (0, 0, 0) for loss in search.loss)


def test_too_few_people_are_refused_and_too_long_lists_named():
    pictures, acquired = crowd(120, 0.1)
    found = identification.measure(pictures, {"int8": acquired}, [10, 1000])
    assert found.skipped == [1000]
    with pytest.raises(EvaluationError, match="too few"):
        identification.measure(pictures[:20], {"int8": acquired}, [10])


# --- The knob ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    """Half of the people took part in the fit."""
    pictures, acquired = crowd(1600, 0.8, seed=4)
    people = People(Path("x/images"), pictures, None)
    found = knob.Bench(people, acquired)
    found.unseen[::2] = False
    mine = [p for p in pictures if int(p.person[1:]) % 2 == 0]
    fit = fitting.fit(
        np.stack([acquired.captures[p.name].template for p in mine]),
        [p.person for p in mine],
        "made up",
    )
    return found, msgspec.convert(fit, ImpostorTail)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("entries", [10, 100, 500])
def test_the_target_is_kept_on_people_not_in_the_fit(bench, entries, fused):
    """Random directions end sooner than an exponential: long lists come out on the strict side."""
    found, tail = bench
    reached = found.reached(tail, entries, fused=fused)
    assert reached is not None
    assert reached.disjoint
    assert (0.003 if entries < 500 else 0.0) <= reached.fpir.value <= 0.03


def test_a_list_longer_than_the_unseen_takes_people_of_the_fit_and_says_so(bench):
    found, tail = bench
    reached = found.reached(tail, 1000)
    assert reached is not None
    assert not reached.disjoint
    assert found.reached(tail, 100_000) is None


def test_refitting_reaches_the_target_too(bench):
    for row in bench[0].refitted([10, 100]):
        assert row.fpir.low <= row.fpir.value <= row.fpir.high
        assert 0.003 <= row.fpir.value <= 0.03


def test_growth_rises_with_the_list_and_with_strictness(bench):
    rows = knob.growth(bench[1], (0.01, 0.001))
    assert all(a < b for a, b in (row.single for row in rows if row.entries > 1))
    single = [row.single[0] for row in rows]
    assert single == sorted(single)


# --- Comparing two pictures ----------------------------------------------------------------------


def test_verification_of_people_who_are_easy_to_tell_apart():
    pictures, acquired = crowd(200, 0.1)
    found = verification.measure(pictures, verification.make_pairs(pictures), {"int8": acquired})
    system = found.systems["int8"]
    assert (found.same, found.different, found.people) == (200, 200, 200)
    assert system.accuracy > 0.99
    assert [t.tar.value for t in system.tar] == [1, 1, 1]
    assert system.tar[2].tar_pairs is None, "200 pairs say nothing about one in ten thousand"


def test_a_pair_that_could_not_be_compared_is_no_match():
    pictures, acquired = crowd(100, 0.05)
    less = {n: c for n, c in acquired.captures.items() if n != "p0/0.jpg"}
    pairs = [Pair(f"p{i}/0.jpg", f"p{i}/1.jpg", True) for i in range(10)]
    pairs += [Pair(f"p{i}/0.jpg", f"p{i + 1}/0.jpg", False) for i in range(10)]
    found = verification.measure(
        pictures, pairs, {"int8": Acquired("int8", less, {"p0/0.jpg": NO_FACE})}
    )
    system = found.systems["int8"]
    assert system.tar[0].tar.value == pytest.approx(0.9)
    assert system.accuracy <= 0.95
    assert system.failed == {"p0/0.jpg": NO_FACE}


def test_discarding_by_a_measure_that_knows_lowers_the_error():
    """Noise grows as the detector's score falls: the overall measure must see it."""
    rng = np.random.default_rng(2)
    pairs = []
    for _ in range(600):
        centre, noise = rng.normal(size=DIMENSION), rng.uniform(0.1, 2.0)
        quality = Quality(40.0, 40.0, 0.7, 0.5, 0.4, 0.95, 0.95 - 0.2 * noise)
        pairs.append(
            (capture(centre), capture(centre + noise * rng.normal(size=DIMENSION), quality))
        )
    kind = fitting.fit_one(fitting.between(np.stack([a.template for a, _ in pairs])))
    tail = msgspec.convert({"data": "", "single": kind, "fused": kind}, ImpostorTail)
    found = discard.curves("made up", pairs, tail, both=False)
    curves = {c.measure: c.fnmr for c in found.curves}
    assert curves["overall"][0] == curves["ideal"][0] > 0.2
    assert curves["overall"][-1] < 0.5 * curves["overall"][0]
    assert curves["sharpness"][0] == curves["overall"][0]
    assert all(i <= o + 1e-12 for i, o in zip(curves["ideal"], curves["overall"], strict=True))
