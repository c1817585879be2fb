"""The models that come with the software: the files are the manifest's, and they see."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.inference.litert import LiteRtNetwork, find_runtime
from edge.inference.manifest import (
    CROWD,
    SHIPPED,
    DetectorModel,
    EmbedderModel,
    load_manifest,
)
from edge.vision.align import align
from edge.vision.detect import Detector
from edge.vision.embed import Embedder
from edge.vision.pictures import read_picture
from tests.kit import DATA

MODELS = load_manifest().models()
EMBEDDERS = [name for name, model in MODELS.items() if isinstance(model, EmbedderModel)]
DETECTORS = [name for name, model in MODELS.items() if isinstance(model, DetectorModel)]
PORTRAITS = Path(__file__).parents[2] / "demo" / "assets"


def network(name):
    return LiteRtNetwork(load_manifest().read(MODELS[name]), MODELS[name], threads=1)


@pytest.fixture(scope="module")
def portraits():
    detector = Detector(network(DETECTORS[0]), MODELS[DETECTORS[0]])
    found = {}
    for file in ("grace-hopper.jpg", "eileen-collins.png"):
        image = read_picture(PORTRAITS / file)
        found[file] = image, detector.detect(image)
    return found


def test_every_file_is_the_manifests_and_none_is_left_over():
    for model in MODELS.values():
        load_manifest().read(model)
    assert {p.name for p in SHIPPED.glob("*.tflite")} == {m.file for m in MODELS.values()}


def test_the_licence_of_every_model_is_there():
    texts = {p.name.split("-")[0]: p.read_text("utf-8") for p in SHIPPED.glob("LICENSES/*.txt")}
    assert {m.licence.split("-")[0] for m in MODELS.values()} == set(texts)
    assert "Copyright (c) 2020 Shiqi Yu" in texts["MIT"]


@pytest.mark.parametrize("name", MODELS)
def test_runs_and_gives_what_the_manifest_says(name):
    model = MODELS[name]
    pixels = np.random.default_rng(1).integers(0, 256, model.input.shape, np.uint8)
    net = network(name)
    outputs, again = net.run(pixels), net.run(pixels)
    assert set(outputs) == set(model.outputs)
    for key, values in outputs.items():
        assert values.shape == model.outputs[key].shape
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, again[key])
        if key.startswith(("cls_", "obj_")):
            assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("name", MODELS)
def test_holds_whole_numbers_only(name):
    interpreter = find_runtime()[0](model_content=load_manifest().read(MODELS[name]))
    kinds = {np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    assert kinds <= {"uint8", "int8", "int32"}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_one_partition(name):
    """An operator that XNNPACK leaves out would make int8 slower than float."""
    pytest.importorskip("ai_edge_litert", reason="tflite-runtime does not delegate int8")
    interpreter = find_runtime()[0](model_content=load_manifest().read(MODELS[name]))
    interpreter.allocate_tensors()
    operators = [d["op_name"] for d in interpreter._get_ops_details()]
    assert operators.count("DELEGATE") == 1


def test_finds_one_face_in_a_portrait(portraits):
    for image, faces in portraits.values():
        assert len(faces) == 1
        (right_eye, left_eye, nose, right_mouth, left_mouth) = faces[0].landmarks
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
        left, top, right, bottom = faces[0].box
        assert 0 <= left < right <= image.shape[1]
        assert 0 <= top < bottom <= image.shape[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_landmarks_agree_between_input_sizes(name, portraits):
    """Other int8 versions of this network lose the landmarks of large faces altogether."""
    detector = Detector(network(name), MODELS[name])
    for image, (expected,) in portraits.values():
        (face,) = detector.detect(image)
        error = np.linalg.norm(face.landmarks - expected.landmarks, axis=1).mean()
        assert error < 0.25 * expected.eye_distance


def test_no_face_in_noise_or_darkness():
    detector = Detector(network(DETECTORS[0]), MODELS[DETECTORS[0]])
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros_like(noise)) == []


@pytest.mark.parametrize("name", EMBEDDERS)
def test_one_person_is_near_another_far(name, portraits):
    model = MODELS[name]
    embedder = Embedder(network(name), model)
    templates, changed = [], []
    for image, (face,) in portraits.values():
        aligned = align(image, face.landmarks)
        templates.append(embedder.embed(aligned))
        worse = cv2.convertScaleAbs(cv2.GaussianBlur(aligned, (0, 0), 1.2), alpha=0.6)
        changed.append(embedder.embed(worse[:, ::-1]))
    tail = model.impostor_tail.single
    same = [float(a @ b) for a, b in zip(templates, changed, strict=True)]
    assert min(same) > tail.score[-1]
    assert float(templates[0] @ templates[1]) < tail.score[0]
    for template in templates:
        assert template.shape == (model.dimension,)
        assert np.linalg.norm(template) == pytest.approx(1, abs=1e-5)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the research data is not in ../shared/data")
def test_the_crowds_detector_finds_the_small_faces_of_a_parade():
    """A photograph of WIDER FACE with 132 labelled faces, most of them a few pixels high."""
    (path,) = (DATA / "wider_dev" / "images").rglob("0_Parade_marchingband_1_765.jpg")
    image = read_picture(path)
    counts = {}
    for wanted in ("", CROWD):
        name, model = load_manifest().detector(wanted)
        counts[wanted] = len(Detector(network(name), model).detect(image))
    assert counts[CROWD] > 2.5 * counts[""]
    assert counts[CROWD] > 110
