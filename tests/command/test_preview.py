"""The preview: on one interface, for a while, and nobody can be recognised in it."""

import socket
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge import limits
from edge.camera.base import Frame
from edge.command import preview as module
from edge.command.preview import Preview, find_all, render
from edge.command.preview_server import PreviewServer, address_of
from edge.config import AimConfig
from edge.errors import (
    CommandRefused,
    ConfigError,
    IndicatorUnavailable,
    ModelError,
    Unavailable,
)
from edge.vision.engine import Vision
from edge.vision.faces import Face
from edge.vision.pictures import read_picture
from edge.watchlist.decide import threshold
from tests.kit import DATA

LOOPBACK = AimConfig(interface="lo", port=0)
NOBODY = lambda _image, _score: []  # noqa: E731
SCENE = np.random.default_rng(4).integers(0, 255, (180, 320, 3), np.uint8)


def get(address):
    """What a browser would get: status and content."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def until(condition):
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("in vain")


class Stage:
    """A preview with a clock of the test's."""

    def __init__(self, config=LOOPBACK, find=NOBODY):
        self.now, self.ended, self.shown, self.lamp = 0.0, 0, [], None
        self.preview = Preview(
            config,
            find=lambda: find,
            show=self.show,
            on_end=self.end,
            steady=lambda: self.now,
            now=lambda: 1000.0,
        )

    def show(self, armed):
        if self.lamp:
            raise self.lamp
        self.shown.append(armed)

    def end(self):
        self.ended += 1

    def picture(self, address, image=SCENE):
        """The first picture that is served after this one was offered."""
        self.now += limits.AIM_PERIOD_S
        self.preview.offer(Frame(image, 0, self.now))
        return until(lambda: get(address + "picture.jpg")[1])


@pytest.fixture
def stage():
    made = Stage()
    yield made
    made.preview.end()


def test_it_is_off_and_nothing_of_the_stream_is_kept(stage):
    assert not stage.preview.on
    stage.preview.offer(Frame(SCENE, 0, 0.0))
    assert stage.preview._frame is None


def test_it_is_served_to_whoever_knows_the_path(stage):
    address, ends = stage.preview.begin(10)
    assert ends == 1000 + 600
    assert stage.preview.on
    assert stage.shown == [True], "people see that they are looked at"
    assert get(address + "picture.jpg")[0] == 404, "nothing to show yet"
    jpeg = stage.picture(address)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1).shape[1] % limits.AIM_COLUMNS == 0
    status, page = get(address)
    assert (status, b"picture.jpg" in page) == (200, True)
    base = address.rsplit("/", 2)[0]
    for path in ("/", "/x/", "/x/picture.jpg", "//", f"/{address.split('/')[3]}x/", "/%00"):
        assert get(base + path)[0] == 404


def test_each_session_has_a_path_of_its_own(stage):
    first, _ = stage.preview.begin(1)
    second, _ = stage.preview.begin(1)
    assert first.split("/")[3] != second.split("/")[3]
    assert stage.ended == 1
    with pytest.raises(urllib.error.URLError):
        get(first)


def test_it_ends_by_itself(stage):
    address, _ = stage.preview.begin(2)
    stage.now += 2 * 60
    until(lambda: stage.ended)
    assert not stage.preview.on
    with pytest.raises(urllib.error.URLError):
        get(address)
    stage.preview.end()
    assert stage.ended == 1


def test_whoever_ends_it_while_it_is_being_opened_is_not_overtaken(stage):
    opening, go = threading.Event(), threading.Event()

    def slow():
        opening.set()
        assert go.wait(60)
        return lambda _image, _score: []

    stage.preview._open = slow
    said = []

    def begin():
        try:
            stage.preview.begin(10)
        except Unavailable as error:
            said.append(str(error))

    beginning = threading.Thread(target=begin)
    beginning.start()
    assert opening.wait(60)
    stage.preview.end()
    go.set()
    beginning.join(60)
    assert said == ["it was ended before it had begun"]
    assert not stage.preview.on
    assert stage.preview.begin(1)[0], "the port is free again"


def test_it_listens_on_the_interface_only():
    server = PreviewServer("lo", 0)
    sock = server._server.socket
    try:
        assert sock.getsockname()[0] == "127.0.0.1"
        bound = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        assert bound.rstrip(b"\0") == b"lo"
    finally:
        server.close()


def test_without_an_interface_there_is_none():
    with pytest.raises(CommandRefused, match=r"aim\.interface"):
        Stage(AimConfig()).preview.begin(1)
    with pytest.raises(ConfigError, match="no IPv4 address"):
        Stage(AimConfig(interface="nowhere0")).preview.begin(1)
    with pytest.raises(ConfigError, match="no IPv4 address"):
        address_of("x" * 15)


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = AimConfig(interface="lo", port=taken.getsockname()[1])
        stage = Stage(config)
        with pytest.raises(ConfigError, match="cannot be listened on"):
            stage.preview.begin(1)
        assert not stage.preview.on


def test_without_the_lamp_there_is_none():
    stage = Stage()
    stage.lamp = IndicatorUnavailable("lamp red stays at 0")
    with pytest.raises(IndicatorUnavailable):
        stage.preview.begin(1)
    assert not stage.preview.on


def test_what_cannot_be_looked_through_is_not_shown():
    def fails(_image, _score):
        raise ModelError("the detector failed")

    stage = Stage(find=fails)
    address, _ = stage.preview.begin(1)
    stage.now = 1.0
    stage.preview.offer(Frame(SCENE, 0, 0.0))
    until(lambda: stage.ended)
    with pytest.raises(urllib.error.URLError):
        get(address + "picture.jpg")


def test_whoever_connects_and_says_nothing_is_let_go(stage, monkeypatch):
    monkeypatch.setattr(limits, "AIM_REQUEST_S", 0.2)
    address, _ = stage.preview.begin(1)
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as dawdler:
        assert get(address)[0] == 200
        dawdler.settimeout(60)
        assert dawdler.recv(100) == b""


def test_a_face_stays_covered_while_the_detector_loses_it():
    face = Face((100, 40, 160, 120), np.zeros((5, 2), np.float32), 0.9)
    seen = [face]
    stage = Stage(find=lambda image, _score: list(seen) if image.shape[1] == 320 else [])
    rendered, real = [], module.render

    def observed(image, covered):
        rendered.append(len(covered))
        return real(image, covered)

    module.render = observed
    try:
        address, _ = stage.preview.begin(1)
        for number in range(limits.AIM_MEMORY + 2):
            stage.picture(address)
            until(lambda number=number: len(rendered) > number)
            seen.clear()
    finally:
        module.render = real
        stage.preview.end()
    assert rendered == [*[1] * limits.AIM_MEMORY, 0, 0]


def test_what_is_covered_leaves_nothing_and_changes_nothing_else():
    covered = [(0.25, 0.25, 0.5, 0.75)]
    first, other = SCENE.copy(), SCENE.copy()
    other[45:135, 80:160] = 255
    assert (render(first, covered) == render(other, covered)).all()
    assert (render(first, []) != render(other, [])).any()


@pytest.mark.parametrize("shape", [(16, 16), (17, 800), (800, 17), (1080, 1920)])
@pytest.mark.parametrize("covered", [[], [(-9.0, -9.0, 9.0, 9.0)], [(2.0, 2.0, 3.0, 3.0)]])
def test_any_picture_can_be_shown(shape, covered):
    image = np.zeros((*shape, 3), np.uint8)
    picture = render(image, covered)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(np.unique(render(SCENE, []).reshape(-1, 3), axis=0)) <= limits.AIM_GREYS


# --- Nobody can be recognised --------------------------------------------------------------------


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


def faces_of(vision, count):
    files = sorted((DATA / "lfw_dev").rglob("*.jpg"))
    if not files:
        pytest.skip("needs the research data in ../shared/data")
    for file in files[:: len(files) // count]:
        image = read_picture(file)
        found = vision.detect(image)
        if found:
            face = max(found, key=lambda each: each.width)
            yield image, face, vision.embed(image, face)


def judged(vision, shown_of, count):
    """Scores in the preview: people with their own pictures, with others'; how many were found."""
    rows = list(faces_of(vision, count))
    templates = np.array([template for *_, template in rows])
    scores = np.array(
        [likeness(vision, *shown_of(image, face), templates) for image, face, _ in rows]
    )
    same = np.eye(len(rows), dtype=bool)
    assert len(rows) > 0.9 * count
    found = int((scores.argmax(1) == np.arange(len(rows))).sum())
    return scores[same], scores[~same], found


def likeness(vision, shown, image, face, templates):
    """What the embedder makes of a face in a served picture, by somebody who knows where it is."""
    at = face.scaled(shown.shape[1] / image.shape[1])
    # The cells' edges are in the way: whoever wants to know smooths them.
    columns = limits.AIM_COLUMNS
    cells = cv2.resize(shown, (columns, columns * shown.shape[0] // shown.shape[1]))
    soft = np.asarray(cv2.resize(cells, shown.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    return np.maximum(templates @ vision.embed(shown, at), templates @ vision.embed(soft, at))


def served(picture):
    return cv2.imdecode(cv2.imencode(".jpg", picture)[1], 1)


MANY = pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])


@pytest.mark.data
@MANY
def test_no_face_of_lfw_can_be_recognised_in_the_preview(vision, count):
    """As it is served: what the detector finds is covered."""
    tail = vision.embedder_model.impostor_tail
    least = threshold(tail, 1, limits.FPIR_TARGET_LAXEST, fused=True)

    def shown(image, face):
        return served(render(image, find_all(image, vision.detect))), image, face

    own, _, found = judged(vision, shown, count)
    assert own.max() < least, "the lowest threshold there is: one person, laxest fpir_target"
    assert found <= 4, "of all, about as many as by chance: one"


@pytest.mark.data
@MANY
def test_nor_a_small_one_that_nothing_covers(vision, count):
    """Every face missed by the detector, an eighth of the picture wide: like anybody else's.

    Cells resemble some faces, whoever they are: a part in a hundred reaches a threshold.
    """
    tail = vision.embedder_model.impostor_tail
    least = threshold(tail, 1, limits.FPIR_TARGET_DEFAULT, fused=True)
    random = np.random.default_rng(5)

    def shown(image, face):
        side = round(8 * face.width)
        scene = np.full((side * 9 // 16, side, 3), 127, np.uint8)
        left = int(random.integers(0, side - 250))
        top = int(random.integers(0, max(1, scene.shape[0] - 250)))
        part = image[: scene.shape[0] - top]
        scene[top : top + part.shape[0], left : left + 250] = part
        return served(render(scene, [])), scene, face.moved(left, top)

    own, others, found = judged(vision, shown, count)
    assert (own >= least).mean() <= (others >= least).mean() + 0.01
    assert own.mean() <= others.mean() + 0.05
    assert found <= 4, "of all, about as many as by chance: one"


def test_the_detector_is_asked_for_weak_and_for_large_faces():
    asked = []

    def find(image, score):
        asked.append((image.shape[1], score))
        return []

    find_all(SCENE, find)
    assert asked == [(320, limits.AIM_FACE_SCORE), (160, limits.AIM_FACE_SCORE)]


def test_frames_that_come_while_it_is_looked_through_are_not_waited_for(stage):
    """The stream goes on, whatever the preview does."""
    busy, go = threading.Event(), threading.Event()

    def slow(_image, _score):
        busy.set()
        go.wait(60)
        return []

    stage.preview._open = lambda: slow
    stage.preview.begin(1)
    frames = [SimpleNamespace(image=SCENE) for _ in range(5)]
    stage.now = 1.0
    stage.preview.offer(frames[0])
    assert busy.wait(60)
    for frame in frames[1:]:
        stage.now += 1.0
        stage.preview.offer(frame)
    go.set()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError()])
def test_it_ends_whatever_happens_while_a_picture_is_made(error):
    def find(_image, _score):
        raise error

    stage = Stage(find=find)
    address, _ = stage.preview.begin(10)
    stage.now += limits.AIM_PERIOD_S
    stage.preview.offer(Frame(SCENE, 0, stage.now))
    until(lambda: stage.ended)
    assert not stage.preview.on
    with pytest.raises(urllib.error.URLError):
        get(address)


def test_it_ends_where_people_are_no_longer_shown_that_they_are_looked_at(stage):
    address, _ = stage.preview.begin(10)
    stage.picture(address)
    stage.lamp = IndicatorUnavailable("the lamp does not obey")
    stage.now += limits.AIM_PERIOD_S
    stage.preview.offer(Frame(SCENE, 1, stage.now))
    until(lambda: stage.ended)
    assert not stage.preview.on


def test_a_picture_that_was_under_way_at_the_end_is_not_kept(stage):
    class Image:
        def copy(self):
            stage.preview.end()
            return SCENE

    stage.preview.begin(10)
    stage.now += limits.AIM_PERIOD_S
    stage.preview.offer(SimpleNamespace(image=Image()))
    assert stage.ended == 1
    assert stage.preview._frame is None


def test_whoever_sends_a_letter_now_and_then_does_not_hold_up_the_end(stage):
    """A timeout of each read alone would let one client keep the server, and the device's end."""
    address, _ = stage.preview.begin(10)
    port = int(address.split(":")[2].split("/")[0])
    over, gone = threading.Event(), threading.Event()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /")

        def dawdle():
            try:
                while not over.wait(limits.AIM_REQUEST_S / 8):
                    slow.sendall(b"x")
            except OSError:
                gone.set()

        thread = threading.Thread(target=dawdle)
        thread.start()
        try:
            assert gone.wait(60), "it was let go"
        finally:
            over.set()
            thread.join()
    stage.preview.end()
