"""A frame is decoded when it is needed, and only as large as it is needed."""

import cv2
import numpy as np
import pytest

from edge.camera.base import Frame
from edge.camera.picture import Jpeg
from edge.camera.v4l2 import CaptureGrabber
from edge.errors import CameraUnavailable, FrameError

PICTURE = cv2.resize(np.random.default_rng(1).integers(0, 256, (9, 16, 3), np.uint8), (1280, 720))


def jpeg(picture=PICTURE):
    return cv2.imencode(".jpg", picture)[1].ravel()


class Capture:
    """An opened cv2.VideoCapture that gives its pictures as they are."""

    def __init__(self, *pictures):
        self.pictures = list(pictures)

    def isOpened(self):
        return True

    def read(self):
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)


@pytest.mark.parametrize(
    ("wanted", "width"), [(64, 160), (160, 160), (161, 320), (320, 320), (640, 640), (641, 1280)]
)
def test_a_jpeg_is_decoded_as_small_as_suffices(wanted, width):
    frame = Frame(Jpeg(jpeg(), 1280), 0, 0.0)
    small = frame.reduced(wanted)
    assert small.shape == (width * 9 // 16, width, 3)
    shrunk = cv2.resize(PICTURE, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - shrunk).mean() < 3
    assert frame.width == 1280


def test_the_whole_of_a_jpeg_is_decoded_once():
    frame = Frame(Jpeg(jpeg(), 1280), 0, 0.0)
    assert frame.image is frame.image
    assert frame.image.shape == (720, 1280, 3)
    assert frame.reduced(64) is frame.image, "what is decoded anyway is not decoded again"


@pytest.mark.parametrize("content", [b"", b"no picture", jpeg().tobytes()[:100]])
def test_what_is_no_jpeg_is_refused(content):
    frame = Frame(Jpeg(np.frombuffer(content, np.uint8), 1280), 0, 0.0)
    for decode in (lambda: frame.reduced(64), lambda: frame.image):
        with pytest.raises(FrameError):
            decode()


def test_a_camera_that_gives_jpeg_is_not_decoded_by_its_reader():
    grabber = CaptureGrabber(Capture(jpeg()[None]), "camera", jpeg_width=1280)
    assert Frame(grabber.grab(), 0, 0.0).reduced(100).shape == (90, 160, 3)
    with pytest.raises(CameraUnavailable, match="no more frames"):
        grabber.grab()


def test_a_decoded_picture_is_given_as_it_is():
    frame = Frame(PICTURE, 3, 0.1)
    assert frame.image is PICTURE
    assert frame.reduced(64) is PICTURE
    assert (frame.index, frame.seconds, frame.width) == (3, 0.1, 1280)
