"""Live sources: the latest frame wins, a lost device comes back, nothing hangs."""

import logging
import queue
import threading
import time
import weakref

import numpy as np
import pytest

from edge import limits
from edge.camera.latest import LiveCamera
from edge.errors import CameraUnavailable


class Script:
    """A device that does what the test tells it: pictures, failures, silence."""

    def __init__(self):
        self.todo = queue.Queue()
        self.opened = self.released = 0
        self.openable = True

    def connect(self):
        if not self.openable:
            raise CameraUnavailable("nothing at the port")
        self.opened += 1
        return self

    def grab(self):
        item = self.todo.get()
        if isinstance(item, Exception):
            raise item
        return item if isinstance(item, np.ndarray) else np.full((20, 30, 3), item, np.uint8)

    def release(self):
        self.released += 1


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(limits, "CAMERA_RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(limits, "CAMERA_RETRY_MAX_S", 0.02)
    monkeypatch.setattr(limits, "CAMERA_CLOSE_S", 0.2)
    return Script()


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def camera(script, clock):
    camera = LiveCamera("test", script.connect, clock=clock)
    yield camera
    script.todo.put(CameraUnavailable("end of the test"))
    camera.close()


def until(condition):
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.002)


def test_who_is_slow_sees_the_newest_frame_and_a_gap(camera, script, clock):
    frames = camera.frames()
    script.todo.put(0)
    assert next(frames).index == 0
    clock.now += 2
    for value in range(1, 6):
        script.todo.put(value)
    until(lambda: camera._captured == 6)
    frame = next(frames)
    assert (frame.index, frame.image[0, 0, 0], frame.seconds) == (5, 5, 2.0)
    assert camera.live
    assert camera.state == "ok"


def test_no_more_than_one_frame_is_kept(camera, script):
    pictures = [np.zeros((20, 30, 3), np.uint8) for _ in range(100)]
    alive = [weakref.ref(picture) for picture in pictures]
    while pictures:
        script.todo.put(pictures.pop())
    script.todo.put(7)
    until(lambda: camera._captured == 101)
    assert camera._slot.index == 100
    assert not any(picture() is not None for picture in alive)


def test_a_camera_that_is_gone_is_opened_again(camera, script, caplog):
    caplog.set_level(logging.INFO)
    frames = camera.frames()
    script.todo.put(1)
    next(frames)
    script.openable = False
    script.todo.put(CameraUnavailable("unplugged"))
    until(lambda: camera.state == "nothing at the port")
    assert script.released == 1
    script.openable = True
    script.todo.put(2)
    frame = next(frames)
    assert (frame.index, frame.image[0, 0, 0]) == (1, 2)
    assert camera.state == "ok"
    assert script.opened == 2
    assert "unplugged; trying again" in caplog.text
    assert caplog.messages[-1] == "camera test: frames arrive"
    assert caplog.text.count("nothing at the port") == 1, "said once, however often it is tried"


def test_whatever_a_driver_raises_the_camera_is_opened_again(camera, script, caplog):
    frames = camera.frames()
    script.todo.put(1)
    next(frames)
    script.todo.put(KeyError("undocumented"))
    script.todo.put(2)
    assert next(frames).image[0, 0, 0] == 2
    assert "failed unexpectedly: KeyError: 'undocumented'; trying again" in caplog.text


def test_a_camera_that_was_never_there_may_come(script):
    script.openable = False
    camera = LiveCamera("test", script.connect)
    until(lambda: camera.state == "nothing at the port")
    script.openable = True
    script.todo.put(7)
    assert next(camera.frames()).image[0, 0, 0] == 7
    script.todo.put(CameraUnavailable("end"))
    camera.close()


def test_silence_shows_in_the_state(camera, script, clock):
    script.todo.put(1)
    until(lambda: camera.state == "ok")
    clock.now += limits.CAMERA_STALL_S + 1
    assert camera.state == f"no frame for more than {limits.CAMERA_STALL_S:.0f} s"


def test_closing_from_another_thread_ends_the_frames(camera, script):
    script.todo.put(1)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(camera.frames()))
    thread.start()
    until(lambda: seen)
    script.todo.put(CameraUnavailable("closing"))
    camera.close()
    camera.close()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert script.released == script.opened


def test_a_device_that_hangs_does_not_hold_up_the_end(camera, script):
    until(lambda: script.opened)
    camera.close()  # the device is in a read that does not return
    assert camera._thread.is_alive()
    assert list(camera.frames()) == []
