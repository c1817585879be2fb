"""Which source an address means; V4L2, RTSP with a real client, Picamera2 with a simulator."""

import contextlib
import sys
import time
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.broker import free_port
from edge import limits
from edge.camera import rtsp
from edge.camera.open import open_camera
from edge.config import CameraConfig
from edge.errors import CameraUnavailable, ConfigError
from tests.camera import picamera2_simulator
from tests.camera.rtsp_server import RtspServer


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "CAMERA_RETRY_FIRST_S", 0.02)
    monkeypatch.setattr(limits, "CAMERA_RETRY_MAX_S", 0.1)
    monkeypatch.setattr(limits, "CAMERA_STALL_S", 1.0)


def until(condition):
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.01)


def test_an_address_of_no_known_kind_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"http:// is not known; .*rtsp://.*picamera2"):
        open_camera(CameraConfig(source="http://camera/video"))
    with pytest.raises(CameraUnavailable, match="no such file"):
        open_camera(CameraConfig(source="nowhere.mp4"))


def test_a_usb_camera_that_is_not_there_is_waited_for():
    camera = open_camera(CameraConfig(source="/dev/video99"))
    until(lambda: camera.state != "starting")
    assert camera.state == "/dev/video99 is not there; is the camera plugged in?"
    camera.close()


def test_a_device_that_is_no_camera_is_said():
    camera = open_camera(CameraConfig(source="/dev/null"))
    until(lambda: camera.state != "starting")
    assert camera.state == "/dev/null (V4L2) cannot be opened"
    camera.close()


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    path = tmp_path_factory.mktemp("rtsp") / "scene.ts"
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 25, (320, 240))
    assert writer.isOpened()
    for i in range(100):
        image = np.full((240, 320, 3), 60, np.uint8)
        cv2.circle(image, (20 + 2 * i, 120), 20, (0, 200, 255), -1)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def server(stream):
    server = RtspServer(stream, port=free_port(), credentials="user:secret")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def network_camera(server, caplog, capfd):
    """A camera at that server. Whatever happens, nothing that is said anywhere has a secret."""
    address = f"127.0.0.1:{server.port}/scene"
    camera = open_camera(CameraConfig(source=f"rtsp://user:secret@{address}?token=secret"))
    yield camera
    camera.close()
    assert camera.name == f"rtsp://{address}"
    assert "secret" not in caplog.text + "".join(capfd.readouterr())


def test_a_network_camera_that_dies_is_followed_again_when_it_is_back(server, network_camera):
    frames = network_camera.frames()
    assert next(frames).image.shape == (240, 320, 3)
    server.kill()
    until(lambda: network_camera.state.endswith("cannot be opened"))
    assert network_camera.state == f"{network_camera.name} cannot be opened"
    server.start()
    until(lambda: network_camera.state == "ok")
    before = network_camera._captured
    until(lambda: network_camera._captured > before + 5)
    assert next(frames).index >= before


def test_a_network_camera_that_falls_silent_is_opened_again(server, network_camera):
    next(network_camera.frames())
    server.silent.set()
    until(lambda: network_camera.state.startswith(network_camera.name))
    server.silent.clear()
    until(lambda: network_camera.state == "ok")
    assert server.opened >= 2


def test_a_password_is_quoted_in_the_address(stream):
    server = RtspServer(stream, port=free_port(), credentials="user:a/b?c#d@e%f")
    server.start()
    address = f"rtsp://user:a%2Fb%3Fc%23d%40e%25f@127.0.0.1:{server.port}/scene"
    camera = open_camera(CameraConfig(source=address))
    next(camera.frames())
    camera.close()
    server.kill()


def test_a_wrong_password_shows_in_the_state_without_it(server, capfd):
    camera = open_camera(CameraConfig(source=f"rtsp://user:guess@127.0.0.1:{server.port}/scene"))
    until(lambda: "cannot be opened" in camera.state)
    camera.close()
    assert "guess" not in camera.state + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://",
        "rtsp:///path",
        "rtsp://host:port/",
        "rtsp://host:99999/",
        "rtsp://[::1/",
        "rtsp://@",
    ],
)
def test_an_rtsp_address_without_a_host_is_refused(address):
    with pytest.raises(ConfigError, match=r"camera\.source"):
        rtsp.without_credentials(address)


@pytest.mark.parametrize("host", ["camera", "camera:554", "10.0.0.7:8554", "[fe80::1]:554"])
@given(user=st.text("ab1:/?#@[]%\\ ", max_size=6), secret=st.text("cd2:/?#@[]%\\ ", max_size=6))
def test_an_address_shows_host_and_path_or_is_refused_and_never_the_password(host, user, secret):
    address = f"rtsp://{user}:{secret}@{host}/scene?token=d2"
    if set("/?#@[]\\").isdisjoint(user + secret):
        assert rtsp.without_credentials(address) == f"rtsp://{host}/scene"
    else:
        with contextlib.suppress(ConfigError):
            assert rtsp.without_credentials(address) == f"rtsp://{host}/scene"
    quoted = f"rtsp://{quote(user, safe='')}:{quote(secret, safe='')}@{host}/scene"
    assert rtsp.without_credentials(quoted) == f"rtsp://{host}/scene"


@pytest.mark.parametrize("password", ["12/secret", "secret/", "12?secret", "[secret", "@h/secret"])
def test_a_password_that_is_not_quoted_is_refused_without_being_told(password):
    with pytest.raises(ConfigError, match="%2F") as refused:
        open_camera(CameraConfig(source=f"rtsp://user:{password}@camera/scene"))
    assert "secret" not in str(refused.value)
    assert refused.value.__context__ is None


@pytest.fixture
def picamera2(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", picamera2_simulator)
    monkeypatch.setattr(picamera2_simulator, "pictures", [])
    monkeypatch.setattr(picamera2_simulator, "log", [])
    return picamera2_simulator


def test_a_raspberry_pi_camera_gives_blue_green_red(picamera2):
    camera = open_camera(CameraConfig(source="picamera2", width=1280, height=720, fps=10))
    frame = next(camera.frames())
    assert frame.reduced(640).shape == (360, 640, 3), "the small stream, without its padding"
    assert frame.reduced(640)[0, 0].tolist() == pytest.approx([0, 0, 255], abs=4)
    assert frame.reduced(640)[-1, -1].tolist() == [0, 0, 0]
    assert frame.reduced(641).shape == (720, 1280, 3), "the large one where the small is too small"
    assert frame.image.shape == (720, 1280, 3)
    assert frame.image[0, 0].tolist() == [0, 0, 255], "red, in the order that OpenCV expects"
    camera.close()
    assert picamera2.log[:2] == [
        "open 0", "{'size': (1280, 720), 'format': 'RGB888'} {'FrameRate': 10.0}",
    ]  # fmt: skip
    assert picamera2.log[-1] == "close"


@pytest.mark.parametrize(
    "mishap",
    [
        RuntimeError("frontend timeout"),
        OSError("no such device"),
        "silence",
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
    ],
    ids=["fails", "gone", "silent", "grey", "four channels", "16 bits"],
)
def test_a_raspberry_pi_camera_that_fails_is_opened_again(picamera2, monkeypatch, caplog, mishap):
    monkeypatch.setattr(picamera2, "closing_fails", True)
    picamera2.pictures.append(mishap)
    camera = open_camera(CameraConfig(source="picamera2:0"))
    next(camera.frames())
    camera.close()
    assert picamera2.log.count("open 0") == picamera2.log.count("close") == 2
    assert "trying again" in caplog.text


def test_a_raspberry_pi_camera_that_is_unplugged_may_come_back(picamera2, monkeypatch):
    monkeypatch.setattr(picamera2, "attached", [])
    camera = open_camera(CameraConfig(source="picamera2"))
    until(lambda: "camera 0 cannot be opened" in camera.state)
    picamera2.attached.append(0)
    next(camera.frames())
    assert camera.state == "ok"
    camera.close()


def test_a_second_camera_that_is_not_attached_is_said(picamera2):
    camera = open_camera(CameraConfig(source="picamera2:1"))
    until(lambda: "camera 1 cannot be opened" in camera.state)
    camera.close()
    with pytest.raises(ConfigError, match="picamera2:1"):
        open_camera(CameraConfig(source="picamera2:front"))


def test_without_picamera2_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    camera = open_camera(CameraConfig(source="picamera2"))
    until(lambda: "apt-get install python3-picamera2" in camera.state)
    camera.close()


def test_a_picamera2_built_for_another_numpy_is_said(monkeypatch, tmp_path):
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    camera = open_camera(CameraConfig(source="picamera2"))
    until(lambda: "numpy.dtype size changed" in camera.state)
    camera.close()
