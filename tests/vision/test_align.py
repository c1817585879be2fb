"""Alignment against OpenCV's own."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import FrameError
from edge.vision.align import REFERENCE, SIZE, align, transform

# alignCrop belongs to OpenCV's recogniser, which wants a network; this one does nothing.
NOTHING = b"""
input: "data" input_dim: 1 input_dim: 3 input_dim: 112 input_dim: 112
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
"""


@pytest.fixture(scope="module")
def opencv():
    return cv2.FaceRecognizerSF.create(
        "caffe", np.zeros(0, np.uint8), np.frombuffer(NOTHING, np.uint8)
    )


def picture(width=640, height=360):
    random = np.random.default_rng(7)
    coarse = random.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def placed(scale, degrees, x, y, jitter=0.0):
    """Landmarks of a face of a given size, turn and place."""
    a = scale * np.exp(1j * np.deg2rad(degrees))
    points = (REFERENCE - REFERENCE.mean(0)) @ np.array([[a.real, a.imag], [-a.imag, a.real]])
    noise = np.random.default_rng(3).normal(0, jitter, points.shape)
    return (points + [x, y] + noise * scale).astype(np.float32)


@pytest.mark.parametrize(
    ("scale", "degrees", "x", "y"),
    [
        (1.0, 0, 320, 180),
        (0.25, 10, 100, 90),
        (0.2, -35, 600, 300),
        (2.5, 5, 320, 180),
        (1.3, 170, 200, 200),
        (1.0, 0, 20, 15),  # reaches over the frame's edge
    ],
)
def test_equals_opencv_to_a_grey_level_or_two(opencv, scale, degrees, x, y):
    image, landmarks = picture(), placed(scale, degrees, x, y, jitter=2.0)
    face = np.concatenate([[0, 0, 1, 1], landmarks.ravel(), [0.9]]).astype(np.float32)
    theirs, ours = opencv.alignCrop(image, face[None]), align(image, landmarks)
    difference = cv2.absdiff(theirs, ours)
    assert ours.shape == (SIZE, SIZE, 3)
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def test_writes_into_the_buffer_given():
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert np.array_equal(align(picture(), placed(1, 0, 300, 200), out), out)
    assert out.any()


@given(st.floats(0.1, 20), st.floats(-180, 180), st.floats(-1000, 9000), st.floats(-1000, 9000))
def test_brings_any_similar_face_onto_the_reference(scale, degrees, x, y):
    landmarks = placed(scale, degrees, x, y)
    found = landmarks @ transform(landmarks)[:, :2].T + transform(landmarks)[:, 2]
    assert np.abs(found - REFERENCE).max() < 0.2


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_refuses_landmarks_that_say_nothing(value):
    with pytest.raises(FrameError, match="landmarks"):
        transform(np.full((5, 2), value, np.float32))
