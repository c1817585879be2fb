"""What a miniature says of a scene."""

import numpy as np
import pytest

from edge import limits
from edge.vision.motion import Scene

RANDOM = np.random.default_rng(3)
PICTURE = RANDOM.integers(40, 200, (360, 640, 3), np.uint8)


def test_the_first_frame_moves_and_is_no_cut():
    change = Scene().change(PICTURE)
    assert (change.cut, change.moved) == (False, True)


def test_noise_of_a_sensor_does_not_move():
    scene = Scene()
    scene.change(PICTURE)
    for _ in range(20):
        noise = np.clip(RANDOM.normal(0, 2.0, PICTURE.shape), -9, 9).astype(np.int16)
        change = scene.change((PICTURE + noise).astype(np.uint8))
        assert (change.cut, change.moved) == (False, False)


@pytest.mark.parametrize("size", [30, 60, 120])
def test_whatever_is_large_enough_to_be_a_near_face_moves(size):
    scene = Scene()
    scene.change(PICTURE)
    there = PICTURE.copy()
    there[100 : 100 + size, 200 : 200 + size] = 0
    assert scene.change(there).moved


def test_slow_motion_adds_up_until_it_was_looked_at():
    scene = Scene()
    scene.change(PICTURE)
    moved = []
    for step in range(1, 9):
        brighter = np.clip(PICTURE.astype(np.int16) + 2 * step, 0, 255).astype(np.uint8)
        moved.append(scene.change(brighter).moved)
    assert moved == [2 * step > limits.MOTION_DIFFERENCE for step in range(1, 9)]
    scene.rest()
    assert not scene.change(brighter).moved


def test_another_scene_is_a_cut_and_a_passer_by_is_not():
    scene = Scene()
    scene.change(PICTURE)
    passing = PICTURE.copy()
    passing[:, 100:180] = 40
    assert not scene.change(passing).cut
    assert scene.change(255 - PICTURE // 2).cut
