"""The build: what it writes computes what it read."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ai_edge_litert", reason="the build needs ai-edge-litert's schema")

from models.build.calibrate import choose_ranges, observe
from models.build.emit import emit, range_to_quant
from models.build.equalise import choose_steps, equalise
from models.build.graph import Graph, Layer
from models.build.runtime import Trial
from models.build.steep import flip_steep

SIDE = 16
REACH = st.floats(-1e4, 1e4, allow_nan=False)


def conv(rng, output, source, outs, ins, *, kernel=1, stride=1, depthwise=False):
    shape = (outs, kernel, kernel, 1 if depthwise else ins)
    return Layer(
        "conv", output, (source,),
        weight=rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape),
        bias=rng.normal(0, 0.2, outs), stride=stride, pad=kernel // 2, depthwise=depthwise,
    )  # fmt: skip


def small_graph(seed, steepest=0.9):
    """Every kind of layer once or more."""
    rng = np.random.default_rng(seed)
    layers = [
        Layer("normalise", "n", ("image",), mean=127.5, scale=1 / 128),
        conv(rng, "c1", "n", 8, 3, kernel=3, stride=2),
        Layer("prelu", "p1", ("c1",), slope=rng.uniform(0, steepest, 8)),
        conv(rng, "d1", "p1", 8, 8, kernel=3, depthwise=True),
        Layer("prelu", "p2", ("d1",), slope=rng.uniform(0, steepest, 8)),
        conv(rng, "c2", "p2", 4, 8),
        Layer("relu", "r2", ("c2",)),
        Layer("maxpool", "m", ("r2",)),
        Layer("upsample", "u", ("m",)),
        Layer("add", "a", ("r2", "u")),
        conv(rng, "c3", "a", 1, 4),
        Layer("flatten", "f", ("c3",)),
        Layer("sigmoid", "score", ("f",)),
        conv(rng, "c4", "a", 10, 4, kernel=3),
        Layer("flatten", "vector", ("c4",)),
    ]
    return Graph("small", "image", layers, ["score", "vector"])


def pictures(seed, count=6):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8))


def by_hand(graph, image):
    """The graph in numpy, slowly: what the files are compared with."""
    values = {graph.input: image.astype(np.float64)}
    for layer in graph.layers:
        x = values[layer.inputs[0]]
        match layer.kind:
            case "normalise":
                y = (x - layer.mean) * layer.scale
            case "conv":
                k = layer.weight.shape[1]
                x = np.pad(x, ((layer.pad,) * 2, (layer.pad,) * 2, (0, 0)))
                windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), (0, 1))
                windows = windows[:: layer.stride, :: layer.stride]
                how = "ijchw,chw->ijc" if layer.depthwise else "ijchw,ohwc->ijo"
                weight = layer.weight[..., 0] if layer.depthwise else layer.weight
                y = np.einsum(how, windows, weight) + layer.bias
            case "prelu":
                y = np.where(x > 0, x, x * layer.slope)
            case "relu":
                y = np.maximum(x, 0)
            case "maxpool":
                y = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
            case "upsample":
                y = x.repeat(2, axis=0).repeat(2, axis=1)
            case "add":
                y = x + values[layer.inputs[1]]
            case "flatten":
                y = x.reshape(-1, x.shape[-1])
            case "sigmoid":
                y = 1 / (1 + np.exp(-x))
        values[layer.output] = y
    return {name: values[name] for name in graph.outputs}


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
    assert set(steps) == {"c1"}  # the one tensor that a depthwise layer reads
    equalise(evened, steps)
    wanted = by_hand(graph, images[0])
    for name, found in by_hand(evened, images[0]).items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-9)


def test_steps_of_another_graph_are_refused():
    with pytest.raises(ValueError, match="another graph"):
        equalise(small_graph(1), {"nowhere": [1, 2]})


def test_a_slope_that_max_cannot_express_is_refused():
    graph = small_graph(1, steepest=3.0)
    ranges = choose_ranges(graph, observe(graph, pictures(1), 16))
    with pytest.raises(ValueError, match="a <= 1"):
        emit(graph, SIDE, SIDE, ranges)


def test_the_same_numbers_give_the_same_bytes():
    ranges = choose_ranges(small_graph(1), observe(small_graph(1), pictures(1), 16))
    assert emit(small_graph(1), SIDE, SIDE, ranges) == emit(small_graph(1), SIDE, SIDE, ranges)
