"""Who is reported on real videos of real people, and who is not."""

from __future__ import annotations

import time

import pytest

from edge.camera.file import VideoFile
from edge.pipeline import Pipeline
from edge.vision.engine import Vision
from edge.watchlist.gallery import Gallery
from tests.kit import DATA, make_owner

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the research data is not in ../shared/data"),
]

MIRANDA, OBAMA, ALEX = "lin-manuel-miranda", "obama", "alex-lacamoire"
EVERYBODY = ("alex-lacamoire.png", "biden.jpg", "lin-manuel-miranda.png", "obama.jpg", "obama2.jpg")


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


@pytest.fixture
def watch(tmp_path, vision):
    def watch(video, *photos):
        """Return label and last frame of each report, and the counters."""
        owner = make_owner(tmp_path / "owner", vision, *(DATA / "photos" / p for p in photos))
        gallery = Gallery(owner.issue(now=time.time(), embedder="", dimension=0))
        matches = []
        pipeline = Pipeline(vision, lambda: gallery, matches.append, now=time.time)
        for frame in VideoFile(DATA / "video" / video).frames():
            pipeline.process(frame)
        pipeline.finish()
        found = [(owner.labels[m.decision.entry], m.first_frame) for m in matches]
        return found, pipeline.counters

    return watch


def test_the_singer_is_reported_in_both_scenes_and_nobody_else(watch):
    found, counters = watch("stage_360p.mp4", "lin-manuel-miranda.png")
    assert found == [(MIRANDA, 0), (MIRANDA, 82)]
    assert counters.frames == 275
    assert counters.embeddings <= 4 * counters.tracks


def test_a_half_profile_in_the_audience_is_reported_and_nobody_else(watch):
    found, _ = watch("stage_360p.mp4", "obama.jpg")
    assert found == [(OBAMA, 211)]


def test_two_people_get_their_own_entries(watch):
    found, _ = watch("stage_360p.mp4", "lin-manuel-miranda.png", "obama.jpg")
    assert found == [(MIRANDA, 0), (MIRANDA, 82), (OBAMA, 211)]


def test_someone_who_is_not_there_is_not_reported(watch):
    assert watch("stage_360p.mp4", "biden.jpg")[0] == []


def test_the_hard_case_is_reported_while_frontal_and_not_in_profile(watch):
    """A face of 23 pixels, frontal for 20 frames; then in full profile in another scene."""
    found, _ = watch("stage_360p.mp4", "alex-lacamoire.png")
    assert found == [(ALEX, 0)]


def test_a_crowd_of_strangers_is_not_reported(watch):
    found, counters = watch("crowd_walking_1080p.mp4", *EVERYBODY)
    assert found == []
    assert counters.faces > 5 * counters.looks


@pytest.mark.slow
def test_boxes_without_a_face_come_to_nothing(watch):
    found, counters = watch("no_faces_432p.mp4", *EVERYBODY)
    assert found == []
    assert counters.frames == 1394
    assert counters.embeddings < 60
