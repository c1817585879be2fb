"""What is checked of a model file, and that what is wrong is seen."""

import json
import shutil
from collections import Counter

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("ai_edge_litert", reason="verify reads files through ai-edge-litert")

from ai_edge_litert.interpreter import Interpreter

from edge.inference.manifest import SHIPPED, load_manifest
from models.build.calibrate import choose_ranges, observe
from models.build.emit import emit
from models.build.flatbuffer import Quant, TfliteWriter
from models.build.operators import beyond_edge_tpu, delegation, parse
from models.build.verify import quantisation_problems, verify
from tests.models.small import SIDE, pictures, small_graph


@pytest.fixture(scope="module")
def shipped():
    return {report.file: report for report in verify()}


def test_everything_shipped_is_well(shipped):
    assert len(shipped) == len(load_manifest().models())
    for report in shipped.values():
        assert report.problems == []
        assert (report.partitions, report.beyond_edge_tpu) == (1, {})


def test_embedders_run_in_the_delegate_alone_and_detectors_but_for_the_sign_of_pixels(shipped):
    for model in load_manifest().models().values():
        outside = shipped[model.file].outside_xnnpack
        assert outside == ({} if "embedding" in model.outputs else {"QUANTIZE": 1})


def test_the_compact_embedder_leaves_an_edge_tpu_room_for_detectors():
    manifest = load_manifest()
    _, compact = manifest.embedder("mobilefacenet-192")
    assert compact.bytes < 2_000_000


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped folder that holds the smallest model only."""
    document = json.loads((SHIPPED / "manifest.json").read_text("utf-8"))
    name = document["defaults"]["detector"]
    document["models"] = {name: document["models"][name]}
    (tmp_path / "manifest.json").write_text(json.dumps(document), "utf-8")
    shutil.copy(SHIPPED / document["models"][name]["file"], tmp_path)
    return tmp_path


def run(folder):
    from cli.models import app

    return CliRunner().invoke(app, ["verify", "--models", str(folder), "--json"])


def test_the_command_says_what_is_wrong_and_fails(folder):
    assert run(folder).exit_code == 0
    (path,) = folder.glob("*.tflite")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    result = run(folder)
    assert result.exit_code == 1
    (report,) = msgspec.json.decode(result.output)
    assert "SHA-256" in report["problems"][0]


def test_a_variant_that_is_there_is_checked_too(folder):
    (model,) = load_manifest(folder).models().values()
    (folder / model.variants["qdq-onnx"].file).write_bytes(b"something else")
    (report,) = verify(folder)
    assert "qdq-onnx" in report.problems[0]


def test_float_is_no_quantised_file():
    problems = quantisation_problems(parse(emit(small_graph(1), SIDE, SIDE)))
    assert any("FLOAT32" in problem for problem in problems)


def test_an_int8_file_is_in_order():
    graph = small_graph(1)
    ranges = choose_ranges(graph, observe(graph, pictures(1), 16))
    for signed in (False, True):
        content = emit(graph, SIDE, SIDE, ranges, signed=signed)
        assert quantisation_problems(parse(content)) == []
        assert beyond_edge_tpu(parse(content)) == Counter()


def convolutions_around(kind, *, scales=4, options=None, **values):
    """A file with one operator between two convolutions."""
    writer, step = TfliteWriter("odd", "odd"), Quant.of(0.1, 0)
    shape = (1, 8, 8, 4)
    tensors = [writer.tensor(f"t{i}", shape, "int8", step) for i in range(4)]

    def conv(source, target):
        weight = writer.tensor(
            "w",
            (4, 1, 1, 4),
            "int8",
            Quant(np.full(scales, 0.01, np.float32)),
            np.ones((4, 1, 1, 4)),
        )
        bias = writer.tensor(
            "b", (4,), "int32", Quant(np.full(scales, 0.001, np.float32)), np.zeros(4)
        )
        writer.operator(
            "CONV_2D", [source, weight, bias], [target], "Conv2D",
            padding=1, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1,
        )  # fmt: skip

    conv(tensors[0], tensors[1])
    inputs = [tensors[1]]
    if kind == "PRELU":
        inputs.append(writer.tensor("a", (1, 1, 4), "int8", step, np.ones((1, 1, 4))))
    writer.operator(kind, inputs, [tensors[2]], options, **values)
    conv(tensors[2], tensors[3])
    return writer.finish([tensors[0]], [tensors[3]])


def test_an_operator_that_the_delegate_leaves_out_is_found():
    interpreter = Interpreter(model_content=convolutions_around("PRELU"), num_threads=1)
    interpreter.allocate_tensors()
    found = delegation(interpreter)
    assert (found.partitions, found.outside) == (2, Counter(PRELU=1))


def test_an_operator_that_is_not_on_the_edge_tpus_list_is_found():
    content = convolutions_around("DEQUANTIZE")
    assert beyond_edge_tpu(parse(content)) == Counter(DEQUANTIZE=1)
    pooled = convolutions_around(
        "MAX_POOL_2D", options="Pool2D", padding=0, strideH=1, strideW=1,
        filterHeight=2, filterWidth=2, fusedActivationFunction=1,
    )  # fmt: skip
    assert list(beyond_edge_tpu(parse(pooled))) == ["MAX_POOL_2D with a fused activation"]


def test_one_scale_for_all_channels_is_found():
    problems = quantisation_problems(parse(convolutions_around("LOGISTIC", scales=1)))
    assert problems == ["w: 1 scales for 4 channels"] * 2
