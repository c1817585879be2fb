"""Which back end runs which network, in every combination of what is there."""

import itertools
from types import SimpleNamespace

import pytest

from edge import limits
from edge.errors import ModelError
from edge.inference.choice import choose

SMALL, LARGE = 200_000, limits.EDGETPU_MEMORY_BYTES + 1
USABLE = {"edgetpu": "", "tensorrt": ""}


def model(**sizes):
    names = {"edgetpu": "edgetpu", "tensorrt": "qdq-onnx"}
    return SimpleNamespace(
        variants={names[name]: SimpleNamespace(bytes=size) for name, size in sizes.items()}
    )


def chosen(wanted, detector, embedder, obstacles=USABLE):
    choices = choose(wanted, {"detector": detector, "embedder": embedder}, obstacles)
    assert list(choices) == ["detector", "embedder"]
    return tuple(choice.accelerator for choice in choices.values())


BOTH = model(edgetpu=SMALL, tensorrt=SMALL)


@pytest.mark.parametrize(
    ("gpu", "tpu", "expected"),
    [
        ("", "", "tensorrt"),
        ("", "none", "tensorrt"),
        ("none", "", "edgetpu"),
        ("none", "none", None),
    ],
)
def test_auto_goes_by_what_is_there(gpu, tpu, expected):
    obstacles = {"tensorrt": gpu, "edgetpu": tpu}
    assert chosen("auto", BOTH, BOTH, obstacles) == (expected, expected)


def test_the_cpu_stays_the_cpu():
    assert chosen("litert", BOTH, BOTH) == (None, None)


def test_an_embedder_too_large_for_the_edge_tpu_stays_on_the_cpu():
    assert chosen("auto", model(edgetpu=SMALL), model(edgetpu=LARGE)) == ("edgetpu", None)


def test_the_detector_has_the_first_claim_to_the_edge_tpus_memory():
    half = limits.EDGETPU_MEMORY_BYTES // 2
    assert chosen("edgetpu", model(edgetpu=half), model(edgetpu=half)) == ("edgetpu", "edgetpu")
    assert chosen("edgetpu", model(edgetpu=half), model(edgetpu=half + 1)) == ("edgetpu", None)


def test_the_networks_may_go_to_different_accelerators():
    assert chosen("auto", model(edgetpu=SMALL), model(tensorrt=LARGE)) == ("edgetpu", "tensorrt")


def test_a_named_one_is_taken_though_it_is_not_there():
    away = {"edgetpu": "no Edge TPU found", "tensorrt": "no NVIDIA GPU found"}
    for wanted in ("edgetpu", "tensorrt"):
        assert chosen(wanted, BOTH, BOTH, away) == (wanted, wanted)
        assert chosen(wanted, BOTH, model(), {}) == (wanted, None)


@pytest.mark.parametrize("wanted", ["edgetpu", "tensorrt"])
def test_a_named_one_that_can_run_nothing_is_refused(wanted):
    with pytest.raises(ModelError, match=r"vision\.backend.*detector: the manifest has no"):
        chosen(wanted, model(), model())


def test_no_accelerator_runs_a_model_it_has_no_file_of():
    sizes = [{}, {"edgetpu": SMALL}, {"tensorrt": SMALL}, {"edgetpu": LARGE, "tensorrt": LARGE}]
    for wanted, detector, embedder in itertools.product(("auto", "litert"), sizes, sizes):
        choices = choose(
            wanted, {"detector": model(**detector), "embedder": model(**embedder)}, USABLE
        )
        for choice, given in zip(choices.values(), (detector, embedder), strict=True):
            assert choice.accelerator is None or choice.accelerator in given
            assert choice.accelerator not in choice.refused
