"""Decoding, with a network that says what the test wants."""

import msgspec
import numpy as np
import pytest

from demo import scene
from edge import limits
from edge.errors import FrameError
from edge.inference.manifest import DetectorModel
from edge.vision.detect import Detector
from edge.vision.engine import Vision
from edge.vision.quality import frontality, measure

WIDTH, HEIGHT, STRIDES = 64, 32, (8, 16, 32)


def model():
    hash_ = "0" * 64
    return msgspec.convert(
        {
            "role": "detector", "file": "x.tflite", "sha256": hash_, "bytes": 1, "licence": "MIT",
            "origin": "x", "outputs": {}, "decode": "yunet-anchor-free", "strides": STRIDES,
            "source": {"registry": "x", "package": "x", "version": "1", "file": "x",
                       "sha256": hash_},
            "input": {"shape": (1, HEIGHT, WIDTH, 3), "dtype": "uint8", "colour": "BGR",
                      "range": (0, 255)},
            "nms_iou": 0.3, "score_threshold": 0.6,
        },
        DetectorModel,
    )  # fmt: skip


class Scripted:
    """A network whose cells are all empty but those named."""

    runtime = "scripted"

    def __init__(self):
        self.cells = {}
        self.pixels = None

    def put(self, stride, column, row, score, size, landmarks=None):
        self.cells[stride, column, row] = (score, size, landmarks)

    def run(self, pixels):
        self.pixels = pixels.copy()
        outputs = {}
        for stride in STRIDES:
            columns, rows = WIDTH // stride, HEIGHT // stride
            shapes = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
            for name, depth in shapes.items():
                outputs[f"{name}_{stride}"] = np.zeros((1, rows * columns, depth), np.float32)
        for (stride, column, row), (score, size, landmarks) in self.cells.items():
            cell = row * (WIDTH // stride) + column
            outputs[f"cls_{stride}"][0, cell] = outputs[f"obj_{stride}"][0, cell] = score
            outputs[f"bbox_{stride}"][0, cell] = [0.5, 0.5, *np.log(np.array(size) / stride)]
            marks = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1] if landmarks is None else landmarks
            outputs[f"kps_{stride}"][0, cell] = marks
        return outputs


@pytest.fixture
def network():
    return Scripted()


@pytest.fixture
def detector(network):
    return Detector(network, model())


def frame(width, height):
    return np.full((height, width, 3), 200, np.uint8)


def test_boxes_and_landmarks_come_back_in_pixels_of_the_frame(network, detector):
    network.put(8, 3, 1, 0.9, (16, 24))
    (face,) = detector.detect(frame(WIDTH * 2, HEIGHT * 2))
    # centre (3.5, 1.5) cells of 8 pixels, doubled by the scale
    assert np.allclose(face.box, [(28 - 8) * 2, (12 - 12) * 2, (28 + 8) * 2, (12 + 12) * 2])
    assert np.allclose(face.landmarks[1], [(3 + 1) * 8 * 2, 1 * 8 * 2])
    assert face.score == pytest.approx(0.9)


def test_the_strongest_of_overlapping_boxes_is_kept(network, detector):
    network.put(8, 3, 1, 0.7, (16, 16))
    network.put(16, 1, 0, 0.9, (24, 24))
    network.put(8, 7, 3, 0.8, (16, 16))
    scores = [round(f.score, 2) for f in detector.detect(frame(WIDTH, HEIGHT))]
    assert scores == [0.9, 0.8]


def test_weak_ones_are_there_for_who_asks(network, detector):
    network.put(8, 3, 1, 0.5, (16, 16))
    assert detector.detect(frame(WIDTH, HEIGHT)) == []
    assert len(detector.detect(frame(WIDTH, HEIGHT), 0.4)) == 1
    assert detector.strong_score == 0.6


def test_landmarks_in_one_spot_are_no_face(network, detector):
    network.put(8, 3, 1, 0.9, (16, 16), landmarks=[0.5] * 10)
    assert detector.detect(frame(WIDTH, HEIGHT)) == []


@pytest.mark.parametrize("size", [(64, 32), (640, 64), (33, 500), (8000, 16), (16, 16)])
def test_any_shape_is_fitted_in_and_the_rest_is_black(network, detector, size):
    detector.detect(frame(*size))
    seen = network.pixels[0]
    scale = min(WIDTH / size[0], HEIGHT / size[1])
    w, h = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    assert (seen[:h, :w] == 200).all()
    assert not seen[h:].any()
    assert not seen[:, w:].any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((100, 100), np.uint8),
        np.zeros((100, 100, 4), np.uint8),
        np.zeros((100, 100, 3), np.float32),
        np.zeros((limits.MIN_FRAME_SIDE - 1, 100, 3), np.uint8),
        np.zeros((16, limits.MAX_FRAME_SIDE + 1, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(detector, image):
    with pytest.raises(FrameError, match="picture"):
        detector.detect(image)


def test_frontality_falls_as_a_head_turns():
    frontal = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)
    turned = frontal.copy()
    turned[2, 0] += 10
    profile = frontal.copy()
    profile[:, 0] = [56, 60, 74, 58, 62]
    assert frontality(frontal) > 0.9
    assert frontality(frontal) > frontality(turned) > frontality(profile)
    assert frontality(np.zeros((5, 2), np.float32)) == 0.0


def test_blur_and_darkness_lower_the_quality(network, detector):
    import cv2

    network.put(8, 3, 1, 0.9, (16, 16))
    (face,) = detector.detect(frame(WIDTH, HEIGHT))
    noise = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    sharp = measure(face, noise)
    blurred = measure(face, cv2.GaussianBlur(noise, (0, 0), 6))
    dark = measure(face, noise // 20)
    assert sharp.sharpness > blurred.sharpness
    assert sharp.overall > blurred.overall
    assert sharp.overall > dark.overall


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


@pytest.fixture(scope="module")
def both():
    """A frame of the demonstration's scene with two faces in it."""
    return next(frame for i, frame in enumerate(scene.frames()) if i == 190)


def test_a_part_of_a_frame_shows_the_faces_as_the_whole_does(vision, both):
    """The small detector, given a part at the large one's scale, sees what the large one sees."""
    whole = vision.detect(both)
    assert len(whole) == 2
    for face in whole:
        near = vision.detect_near(both, [face.box], 0.6)
        found = min(near, key=lambda f: abs(f.box[0] - face.box[0]))
        assert np.abs(np.array(found.box) - face.box).max() < 0.1 * face.width
        assert np.abs(found.landmarks - face.landmarks).max() < 0.1 * face.width


def test_places_far_apart_are_not_looked_at_in_part(vision, both):
    corners = [(0.0, 0.0, 20.0, 25.0), (610.0, 330.0, 630.0, 355.0)]
    assert vision.detect_near(both, corners, 0.6) is None


def test_a_place_over_the_edge_is_looked_at_as_far_as_the_frame_goes(vision, both):
    assert vision.detect_near(both, [(900.0, 900.0, 950.0, 950.0)], 0.6) == []
    for face in vision.detect_near(both, [(-90.0, -80.0, 20.0, 10.0)], 0.6):
        assert face.box[2] < 320  # from the upper left part of the frame
