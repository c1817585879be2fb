"""A whole frame is written once, where it is decoded, and never copied after that."""

import time
import tracemalloc

import cv2
import numpy as np
import pytest

from benchmarks.stages import list_of
from demo import scene
from edge.camera.base import Frame
from edge.camera.file import VideoFile
from edge.pipeline import Pipeline
from edge.vision.engine import Vision
from edge.vision.pace import EVERY_FRAME, NORMAL, Pace
from edge.watchlist.gallery import Gallery

WHOLE = 1080 * 1920 * 3


@pytest.fixture(scope="module")
def vision():
    return Vision.open(threads=1)


@pytest.fixture(scope="module")
def picture():
    """Full HD, with a face in it."""
    portrait = cv2.imread(str(scene.ENROLLED))
    whole = np.full((1080, 1920, 3), 90, np.uint8)
    height, width = (min(a, b) for a, b in zip(portrait.shape[:2], whole.shape[:2], strict=True))
    whole[:height, :width] = portrait[:height, :width]
    return whole


@pytest.mark.parametrize("intervals", [NORMAL, EVERY_FRAME])
def test_the_frame_path_holds_less_than_half_a_frame_at_any_time(vision, picture, intervals):
    gallery = Gallery(list_of(vision))
    pipeline = Pipeline(vision, lambda: gallery, print, now=time.time, pace=Pace(intervals))
    pipeline.process(Frame(picture, 0, 0.0))
    tracemalloc.start()
    try:
        for index in range(1, 8):
            pipeline.process(Frame(picture, index, index / 25))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pipeline.counters.faces > 0
    assert peak < WHOLE / 2


def test_a_clip_holds_one_frame_at_a_time_and_none_that_nobody_reads(tmp_path, picture):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (1920, 1080)
    )
    for _ in range(6):
        writer.write(picture)
    writer.release()
    peaks, places = [], set()
    for read in (False, True):
        tracemalloc.start()
        try:
            for frame in VideoFile(path).frames():
                if read:
                    places.add(frame.image.ctypes.data)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert len(places) == 1
    assert peaks[0] < WHOLE / 100
    assert WHOLE <= peaks[1] < 1.05 * WHOLE
