"""A poor photo is refused, naming the measure and the limit."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from demo import scene
from edge import limits
from edge.errors import EnrolmentRefused
from edge.vision.engine import Vision
from edge.vision.faces import Face
from edge.vision.quality import Quality
from fleet.enrol import enrol
from tests.kit import DATA

GOOD = {
    "eye_distance": 60.0, "size": 60.0, "sharpness": 0.6, "brightness": 0.5, "contrast": 0.4,
    "frontality": 0.9, "score": 0.9,
}  # fmt: skip


def face(width):
    marks = np.array([[0, 0], [10, 0], [5, 5], [0, 10], [10, 10]], np.float32)
    return Face((0.0, 0.0, width, width), marks, 0.9)


class Eye:
    """Sees what the test says."""

    def __init__(self, widths=(100.0,), templates=((1.0, 0.0),), **quality):
        self.widths, self.templates = widths, list(templates)
        self.measured = Quality(**(GOOD | quality))
        self.looked_at = []

    def detect(self, image, min_score=None):
        self.looked_at.append(image.shape)
        return [face(w) for w in self.widths]

    def quality(self, image, face):
        return self.measured

    def embed(self, image, face):
        return np.array(self.templates.pop(0), np.float32)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "anna.png"
    cv2.imwrite(str(path), np.full((80, 60, 3), 128, np.uint8))
    return path


def test_a_good_photo_is_taken(photo):
    (embedding,) = enrol(Eye(), [photo])
    assert embedding.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("quality", "says"),
    [
        ({"size": limits.ENROL_MIN_SIZE - 1}, "distance between the eyes .* at least 24"),
        ({"frontality": 0.3}, "frontality is 0.30, at least 0.5"),
        ({"sharpness": 0.1}, "sharpness is 0.10, at least 0.15"),
        ({"brightness": 0.05}, "brightness is 0.05, at least 0.12"),
        ({"brightness": 0.95}, "brightness is 0.95, at most 0.92"),
        ({"contrast": 0.01}, "contrast is 0.01, at least 0.1"),
        ({"contrast": float("nan")}, "contrast is nan"),
    ],
)
def test_a_poor_face_is_refused_by_measure_and_limit(photo, quality, says):
    with pytest.raises(EnrolmentRefused, match=says):
        enrol(Eye(**quality), [photo])


def test_no_face_is_looked_for_again_with_a_border_then_refused(photo):
    eye = Eye(widths=())
    with pytest.raises(EnrolmentRefused, match=r"anna\.png: no face found"):
        enrol(eye, [photo])
    assert eye.looked_at == [(80, 60, 3), (160, 140, 3)]


def test_several_faces_are_refused_unless_one_is_by_far_the_largest(photo):
    with pytest.raises(EnrolmentRefused, match="2 faces, exactly 1"):
        enrol(Eye(widths=(100.0, 90.0)), [photo])
    with pytest.raises(EnrolmentRefused, match="crop it"):
        enrol(Eye(widths=(100.0, 90.0)), [photo], largest=True)
    with pytest.raises(EnrolmentRefused, match="use --largest"):
        enrol(Eye(widths=(100.0, 20.0)), [photo])
    assert enrol(Eye(widths=(20.0, 100.0)), [photo], largest=True)


def test_photos_of_another_person_are_refused_by_name(photo, tmp_path):
    photos = [photo, tmp_path / "again.png", tmp_path / "ben.png"]
    for path in photos[1:]:
        path.write_bytes(photo.read_bytes())
    alike = [(1, 0), (0.9, 0.43), (0, 1)]
    with pytest.raises(EnrolmentRefused, match=r"ben\.png: likeness .* at least 0\.3"):
        enrol(Eye(templates=alike), photos)
    assert len(enrol(Eye(templates=alike), photos[:2])) == 2


def test_too_many_or_no_photos_are_refused(photo):
    for photos in ([], [photo] * (limits.MAX_TEMPLATES_PER_ENTRY + 1)):
        with pytest.raises(EnrolmentRefused, match="photos given"):
            enrol(Eye(), photos)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_picture_is_refused(photo, content):
    photo.write_bytes(content)
    with pytest.raises(EnrolmentRefused, match=r"anna\.png: not a picture"):
        enrol(Eye(), [photo])


def png(width, height):
    """A whole file whose header promises more than there is."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (limits.MAX_FRAME_SIDE + 1, 1)])
def test_a_picture_of_hostile_size_is_refused(photo, size):
    photo.write_bytes(png(*size))
    with pytest.raises(EnrolmentRefused, match=r"anna\.png: "):
        enrol(Eye(), [photo])


def test_a_file_of_hostile_size_is_refused_unread(photo, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 99)
    with pytest.raises(EnrolmentRefused, match=r"anna\.png: .*larger than 99"):
        enrol(Eye(), [photo])


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(EnrolmentRefused, match="No such file"):
        enrol(Eye(), [tmp_path / "nobody.jpg"])


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


def test_real_portraits_are_taken_and_differ(vision):
    a, b = (enrol(vision, [p])[0] for p in (scene.ENROLLED, scene.BYSTANDER))
    assert float(a @ b) < 0.3
    assert float(a @ a) == pytest.approx(1.0, abs=1e-5)


def test_a_real_face_that_fills_the_picture_is_found(vision, tmp_path):
    image = cv2.imread(str(scene.BYSTANDER))
    x, y, w, h = 182, 120, 170, 212
    cv2.imwrite(str(tmp_path / "close.png"), image[y : y + h, x : x + w])
    (close,) = enrol(vision, [tmp_path / "close.png"])
    (whole,) = enrol(vision, [scene.BYSTANDER])
    assert float(close @ whole) > 0.8


@pytest.mark.parametrize(
    ("worsen", "says"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 8), "sharpness"),
        (lambda image: image // 12, "brightness|no face"),
        (lambda image: cv2.resize(image, None, fx=0.12, fy=0.12), "distance between the eyes"),
        (lambda image: np.hstack([image, image]), "2 faces"),
        (lambda image: image[300:], "no face found"),
    ],
)
def test_a_real_portrait_made_worse_is_refused_for_that(vision, tmp_path, worsen, says):
    path = tmp_path / "worse.png"
    cv2.imwrite(str(path), worsen(cv2.imread(str(scene.BYSTANDER))))
    with pytest.raises(EnrolmentRefused, match=says):
        enrol(vision, [path])


needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the research data is not in ../shared/data"
)
PORTRAITS = ("alex-lacamoire.png", "biden.jpg", "lin-manuel-miranda.png", "obama.jpg", "obama2.jpg")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", PORTRAITS)
def test_a_portrait_from_the_world_is_taken(vision, name):
    (embedding,) = enrol(vision, [DATA / "photos" / name])
    assert embedding.shape == (vision.dimension,)


@pytest.mark.data
@needs_data
def test_photos_of_one_person_are_alike_and_of_two_are_refused(vision):
    one, again, other = (DATA / "photos" / n for n in ("obama.jpg", "obama2.jpg", "biden.jpg"))
    assert len(enrol(vision, [one, again])) == 2
    with pytest.raises(EnrolmentRefused, match=r"biden\.jpg: likeness"):
        enrol(vision, [one, again, other])


@pytest.mark.data
@needs_data
def test_a_photo_of_two_people_is_refused(vision):
    with pytest.raises(EnrolmentRefused, match="2 faces, exactly 1"):
        enrol(vision, [DATA / "photos" / "two_people.jpg"])
