"""The fit of the impostor tail, on people made up so that the answer is known."""

import msgspec
import numpy as np
import pytest

from edge.inference.manifest import ImpostorTail
from models.build import tail

DIMENSION = 24


def crowd(people, pictures, seed=3, shared=0.0):
    """Random directions: the cosine of two has a known distribution, with density (1-c²)^((d-3)/2).

    `shared` draws all of them towards one direction, as faces are.
    """
    rng = np.random.default_rng(seed)
    middle = np.zeros(DIMENSION)
    middle[0] = shared
    truth = rng.normal(size=(people, DIMENSION)) / np.sqrt(DIMENSION) + middle
    vectors, names = [], []
    for i, person in enumerate(truth):
        for _ in range(pictures if i % 2 else 1):
            vector = person + rng.normal(size=DIMENSION) * 0.6 / np.sqrt(DIMENSION)
            vectors.append(vector / np.linalg.norm(vector))
            names.append(f"p{i}")
    return np.array(vectors, np.float32), names


def exact_score(fmr):
    """Cosine that random directions exceed so often, by numerical integration."""
    grid = np.linspace(-1, 1, 400_001)
    mass = np.cumsum((1 - grid**2) ** ((DIMENSION - 3) / 2))
    return float(grid[np.searchsorted(mass, (1 - fmr) * mass[-1])])


@pytest.fixture(scope="module")
def fitted():
    vectors, names = crowd(700, 4)
    return msgspec.convert(tail.fit(vectors, names, "made up"), ImpostorTail)


def test_measured_rates_are_those_of_the_known_distribution(fitted):
    for fmr, score in zip(fitted.single.fmr, fitted.single.score, strict=True):
        assert score == pytest.approx(exact_score(fmr), abs=0.012)


def test_beyond_them_it_errs_to_the_strict_side_and_not_by_much(fitted):
    """The true tail falls off a little faster than an exponential: cosines end at 1."""
    for fmr in (1e-4, 1e-5):
        score = fitted.single.score[-1] + fitted.single.scale * np.log(fitted.single.fmr[-1] / fmr)
        assert exact_score(fmr) - 0.005 < score < exact_score(fmr) + 0.06


def test_the_bounds_hold_the_true_score_where_it_is_measured(fitted):
    for bound in fitted.single.bounds:
        assert bound.low < bound.high
        if bound.fmr >= 1e-3:
            assert bound.low - 0.01 < exact_score(bound.fmr) < bound.high + 0.01


def test_counts_people_and_comparisons(fitted):
    assert (fitted.single.people, fitted.single.comparisons) == (700, 700 * 699 // 2)
    assert (fitted.fused.people, fitted.fused.comparisons) == (350, 350 * 699)


def test_fused_strangers_are_nearer_where_faces_share_something():
    vectors, names = crowd(600, 4, shared=0.5)
    found = tail.fit(vectors, names, "")
    assert all(
        a > b for a, b in zip(found["fused"]["score"], found["single"]["score"], strict=True)
    )


def test_people_not_comparisons_decide_how_sure_it_is():
    """Pictures of few people must not count as much as those of many."""
    widths = []
    for people in (220, 880):
        vectors, names = crowd(people, 2)
        bounds = tail.fit(vectors, names, "")["single"]["bounds"]
        widths.append(next(b["high"] - b["low"] for b in bounds if b["fmr"] == 1e-3))
    assert widths[0] > 1.4 * widths[1]


def test_too_few_people_are_refused():
    vectors, names = crowd(150, 2)
    with pytest.raises(ValueError, match="75 with several pictures"):
        tail.fit(vectors, names, "")
