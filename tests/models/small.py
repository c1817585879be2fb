"""A network with every kind of layer, and what it computes: small enough to be done by hand."""

import numpy as np

from models.build.graph import Graph, Layer

SIDE = 16


def conv(rng, output, source, outs, ins, *, kernel=1, stride=1, depthwise=False):
    shape = (outs, kernel, kernel, 1 if depthwise else ins)
    return Layer(
        "conv", output, (source,),
        weight=rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape),
        bias=rng.normal(0, 0.2, outs), stride=stride, pad=(kernel // 2,) * 2, depthwise=depthwise,
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
                x = np.pad(x, (layer.pad, layer.pad, (0, 0)))
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
