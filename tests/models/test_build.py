"""The build: what it writes computes what it read."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ai_edge_litert", reason="the build needs ai-edge-litert's schema")

from models.build import bias
from models.build.calibrate import choose_ranges, observe
from models.build.emit import emit, range_to_quant
from models.build.equalise import choose_steps, equalise
from models.build.runtime import Trial
from models.build.steep import flip_steep
from tests.models.small import SIDE, by_hand, pictures, small_graph

REACH = st.floats(-1e4, 1e4, allow_nan=False)


@given(REACH, REACH)
def test_a_range_holds_zero_exactly_and_reaches_its_ends(one, two):
    low, high = min(one, two), max(one, two)
    quant = range_to_quant(low, high)
    scale = float(quant.scale[0])
    assert -128 <= quant.zero_point <= 127
    assert scale * (-128 - quant.zero_point) <= min(low, 0) + scale
    assert scale * (127 - quant.zero_point) >= max(high, 0) - scale


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_float_file_computes_the_graph(seed):
    graph, (image, *_) = small_graph(seed), pictures(seed)
    found = Trial(emit(graph, SIDE, SIDE), graph.outputs, threads=1).run(image[None])
    for name, expected in by_hand(graph, image).items():
        np.testing.assert_allclose(found[name][0], expected, atol=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_int8_file_is_near_the_graph(seed):
    graph, images = small_graph(seed), pictures(seed, 12)
    ranges = choose_ranges(graph, observe(graph, images, 64))
    network = Trial(emit(graph, SIDE, SIDE, ranges), graph.outputs, threads=1)
    expected = [by_hand(graph, image) for image in images]
    for name in graph.outputs:
        found = np.stack([network.run(image[None])[name][0] for image in images])
        wanted = np.stack([values[name] for values in expected])
        assert np.abs(found - wanted).mean() < 0.04 * np.ptp(wanted)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_steep_slope_is_turned_round_without_changing_the_function(seed):
    graph, (image, *_) = small_graph(seed, steepest=3.0), pictures(seed)
    turned = copy.deepcopy(graph)
    flipped = flip_steep(turned)
    steep = [x.slope > 1 for x in graph.layers if x.slope is not None]
    assert flipped == np.sum(steep)
    assert all(x.slope.max() <= 1 for x in turned.layers if x.slope is not None)
    wanted = by_hand(graph, image)
    for name, found in by_hand(turned, image).items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_equalising_evens_out_channels_without_changing_the_function(seed):
    graph, images = small_graph(seed), pictures(seed)
    seen = observe(graph, images, 64)
    evened = copy.deepcopy(graph)
    steps = choose_steps(graph, seen)
    assert set(steps) == {"c1", "d1"}  # what only convolutions read: depthwise, pointwise
    equalise(evened, steps)
    wanted = by_hand(graph, images[0])
    for name, found in by_hand(evened, images[0]).items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-9)


def test_steps_of_another_graph_are_refused():
    with pytest.raises(ValueError, match="another graph"):
        equalise(small_graph(1), {"nowhere": [1, 2]})


def test_a_slope_that_the_spelling_cannot_express_is_refused():
    graph = small_graph(1, steepest=3.0)
    ranges = choose_ranges(graph, observe(graph, pictures(1), 16))
    with pytest.raises(ValueError, match="a <= 1"):
        emit(graph, SIDE, SIDE, ranges)


def test_the_same_numbers_give_the_same_bytes():
    ranges = choose_ranges(small_graph(1), observe(small_graph(1), pictures(1), 16))
    assert emit(small_graph(1), SIDE, SIDE, ranges) == emit(small_graph(1), SIDE, SIDE, ranges)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_corrected_biases_bring_the_means_nearer(seed):
    graph, images = small_graph(seed), pictures(seed, 12)
    ranges = choose_ranges(graph, observe(graph, images, 64))
    # A range too narrow shifts the mean of what it clips.
    ranges["c1"] = (ranges["c1"][0] / 3, ranges["c1"][1] / 3)
    wanted = np.stack([by_hand(graph, image)["vector"] for image in images])

    def off():
        network = Trial(emit(graph, SIDE, SIDE, ranges), graph.outputs, threads=1)
        found = np.stack([network.run(image[None])["vector"][0] for image in images])
        return np.abs((found - wanted).mean(axis=(0, 1))).mean()

    before = off()
    plain = copy.deepcopy(graph)
    corrections = bias.correct(graph, ranges, images)
    assert off() < before
    bias.shift(plain, ranges, corrections)  # what a build does with the numbers
    assert emit(plain, SIDE, SIDE, ranges) == emit(graph, SIDE, SIDE, ranges)


def test_corrections_of_another_graph_are_refused():
    with pytest.raises(ValueError, match="another graph"):
        bias.shift(small_graph(1), {}, {"nowhere": [1, 2]})
