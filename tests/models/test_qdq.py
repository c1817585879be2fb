"""The ONNX files for TensorRT, run by onnx's own reference implementation."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="requirements/models.txt is not installed")

from onnx.reference import ReferenceEvaluator  # noqa: E402

from models.build.calibrate import choose_ranges, observe  # noqa: E402
from models.build.qdq import write_qdq  # noqa: E402
from tests.models.small import SIDE, by_hand, pictures, small_graph  # noqa: E402


@pytest.fixture(scope="module", params=range(4))
def written(request):
    graph, images = small_graph(request.param), pictures(request.param, 8)
    ranges = choose_ranges(graph, observe(graph, images, 64))
    return graph, images, onnx.load_model_from_string(write_qdq(graph, SIDE, SIDE, ranges))


def test_takes_pixels_and_gives_what_the_manifest_names(written):
    graph, images, model = written
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [o.name for o in model.graph.output] == graph.outputs
    results = ReferenceEvaluator(model).run(None, {image.name: images[0][None]})
    shapes = graph.shapes(SIDE, SIDE)
    assert [r.shape for r in results] == [shapes[name] for name in graph.outputs]


def test_computes_the_graph(written):
    graph, images, model = written
    evaluator = ReferenceEvaluator(model)
    found = [evaluator.run(None, {"image": image[None]}) for image in images]
    wanted = [by_hand(graph, image) for image in images]
    for i, name in enumerate(graph.outputs):
        got = np.stack([results[i][0] for results in found])
        expected = np.stack([values[name] for values in wanted])
        assert np.abs(got - expected).mean() < 0.05 * np.ptp(expected)


def test_every_zero_point_is_zero_and_weights_are_int8(written):
    """TensorRT refuses any other zero point."""
    _, _, model = written
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    zeros = [n.input[2] for n in model.graph.node if n.op_type.endswith("izeLinear")]
    assert zeros
    for name in zeros:
        assert constants[name].dtype == np.int8
        assert not constants[name].any()
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    in_float = [n for n in convolutions if n.input[1] in constants]
    assert len(in_float) == 1  # the first
    assert len(convolutions) > 3
