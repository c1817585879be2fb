"""TensorRT's engines: built once, kept for one GPU and one version, never loaded when damaged."""

import contextlib
import hashlib

import numpy as np
import pytest

from edge.errors import AcceleratorUnavailable
from edge.inference.isolated import Isolated
from edge.inference.manifest import load_manifest
from tests.inference.simulated import SimulatedGpu

NAME = "yunet-2023mar-320x192"


@pytest.fixture
def gpu(tmp_path):
    return SimulatedGpu(tmp_path / "gpu")


@pytest.fixture
def load(gpu, tmp_path):
    manifest = load_manifest(gpu.models(tmp_path / "models", NAME))
    model = manifest.models()[NAME]
    content = manifest.read(model.variants["qdq-onnx"])

    def load(content=content, cache=True):
        """Load the model in a fresh process, and run it."""
        options = {"cache": str(tmp_path / "engines") if cache else ""}
        process = Isolated("tensorrt", [model], options, str(gpu.python))
        with contextlib.closing(process):
            process.load([content], 60)
            return process.run(0, np.zeros(model.input.shape, np.uint8), 60)

    return load


def engines(tmp_path):
    return sorted((tmp_path / "engines").iterdir())


def test_an_engine_is_built_once(gpu, load, tmp_path):
    first = load()
    (engine,) = engines(tmp_path)
    assert engine.stat().st_mode & 0o777 == 0o600
    assert engine.parent.stat().st_mode & 0o777 == 0o700
    again = load()
    assert gpu.log() == ["built", "deserialised", "deserialised"]
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("change", [{"gpu": "Xavier"}, {"compute": [7, 2]}, {"version": "11.4.0"}])
def test_another_gpu_or_version_has_its_own_engine(gpu, load, tmp_path, change):
    load()
    (old,) = engines(tmp_path)
    gpu.set(**change)
    load()
    (new,) = engines(tmp_path)
    assert new != old
    assert gpu.log().count("built") == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_a_damaged_engine_is_built_again_and_never_deserialised(gpu, load, tmp_path, damage):
    load()
    (engine,) = engines(tmp_path)
    content = engine.read_bytes()
    if damage == "swap":  # another GPU's engine under this one's name
        gpu.set(gpu="Xavier")
        load()
        (other,) = engines(tmp_path)
        gpu.set(gpu="Orin")
        other.rename(engine)
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        engine.write_bytes({"flip": flipped, "cut": content[:-100], "empty": b""}[damage])
    before = gpu.log()
    load()
    assert gpu.log()[len(before) :] == ["built", "deserialised"]
    assert engine.read_bytes() == content


def test_an_engine_that_tensorrt_takes_no_more_is_built_again(gpu, load, tmp_path):
    """Where TensorRT's own check is stricter than ours: an old engine under a right name."""
    load()
    old = engines(tmp_path)[0].read_bytes()[32:]
    gpu.set(version="10.13.0")
    load()
    (path,) = engines(tmp_path)
    onnx = load_manifest(tmp_path / "models").models()[NAME].variants["qdq-onnx"].sha256
    key = hashlib.sha256(f"TensorRT 10.13.0, Orin (compute 8.7)\0{onnx}".encode()).digest()
    path.write_bytes(hashlib.sha256(key + old).digest() + old)
    before = gpu.log()
    load()
    assert gpu.log()[len(before) :] == ["deserialised", "built", "deserialised"]


def test_without_a_cache_nothing_is_written(gpu, load, tmp_path):
    load(cache=False)
    assert not (tmp_path / "engines").exists()


def test_a_cache_that_cannot_be_written_costs_only_time(gpu, load, tmp_path):
    (tmp_path / "engines").touch()  # a file where the folder should be
    load()
    assert gpu.log() == ["built", "deserialised"]


def test_an_onnx_file_that_tensorrt_does_not_take(load):
    with pytest.raises(AcceleratorUnavailable, match="Failed to parse the ONNX model"):
        load(b"no model")


def test_an_engine_of_another_shape(gpu, load):
    gpu.inject("shape")
    with pytest.raises(AcceleratorUnavailable, match=r"output cls_8 is not \(1, 960, 1\)"):
        load()


def test_a_tensorrt_too_old(gpu, load):
    gpu.set(version="8.6.2")
    with pytest.raises(AcceleratorUnavailable, match="10 or later is needed"):
        load()
