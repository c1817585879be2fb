"""The README's first command."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import scene
from demo.annotate import Annotator
from edge.camera.base import Frame
from edge.pipeline import SeenTrack
from edge.vision.engine import Vision
from edge.vision.faces import Face
from edge.vision.track import Tracker
from edge.watchlist.decide import Decision
from fleet.enrol import enrol

ROOT = Path(__file__).resolve().parents[2]


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "demo", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def test_exactly_the_enrolled_person_is_reported_and_drawn(tmp_path):
    done = demo("--out", tmp_path, "--json", tmp_path / "summary.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "synthetic motion" in done.stdout
    assert "signature holds" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    (match,) = summary["matches"]
    assert match["label"] == "eileen-collins"
    assert match["score"] >= match["threshold"]
    assert match["first_frame"] < match["last_frame"] < summary["frames"] == scene.FRAMES
    assert 0 < summary["embeddings"] < summary["frames"] / 10
    # Events, and what the device says of itself: its status, configuration and version.
    assert 0 < summary["upstream_bytes"] < 10_000
    assert summary["cpu_seconds"] > 0
    assert summary["peak_rss_mb"] > 0
    # In the annotated clip the match can be recognised, and the other cannot.
    vision = Vision.open()
    enrolled, bystander = (enrol(vision, [p])[0] for p in (scene.ENROLLED, scene.BYSTANDER))
    capture, likeness = cv2.VideoCapture(str(tmp_path / "demo.mp4")), []
    while (read := capture.read())[0]:
        image = np.asarray(read[1])
        templates = [vision.embed(image, face) for face in vision.detect(image)]
        assert all(float(t @ bystander) < 0.3 for t in templates)
        likeness.append(max((float(t @ enrolled) for t in templates), default=0.0))
    assert len(likeness) == scene.FRAMES
    assert max(likeness[: match["first_frame"]]) < 0.2
    assert np.mean(np.array(likeness[match["first_frame"] + 12 : -12]) > 0.4) > 0.9


def test_ones_own_source_and_photos(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, frame in enumerate(scene.frames()):
        if 150 <= i < 160:
            cv2.imwrite(str(pictures / f"{i}.jpg"), frame)
    both = tmp_path / "both.png"
    cv2.imwrite(str(both), next(f for i, f in enumerate(scene.frames()) if i == 190))
    done = demo(
        "--camera", pictures, "--enrol", scene.BYSTANDER, "--enrol", both, "--enrol",
        scene.ENROLLED, "--out", tmp_path, "--json", tmp_path / "summary.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames"] == 10
    assert {m["label"] for m in summary["matches"]} == {"eileen-collins", "grace-hopper"}
    assert "2 faces" in summary["refused"][str(both)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--enrol", scene.ENROLLED], "belong together"),
        (["--camera", "nowhere.mp4", "--enrol", scene.ENROLLED], "no such file"),
        (["--camera", scene.ASSETS, "--enrol", "nobody.jpg"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, says):
    done = demo(*arguments)
    assert done.returncode in (1, 2)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def face(x, y):
    marks = np.array([[-8, -8], [8, -8], [0, 0], [-6, 10], [6, 10]]) + np.array([x, y])
    return Face((x - 20, y - 24, x + 20, y + 24), marks.astype(np.float32), 0.9)


def test_a_stranger_is_hidden_even_where_a_match_overlaps(tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (240, 320, 3), np.uint8)
    match, stranger = face(100, 100), face(120, 110)
    annotator = Annotator(tmp_path, "x", lambda _image, _least: [match, stranger])
    track = Tracker().update(0, 0.0, [match])[0][0]
    seen = SeenTrack(track, decision=Decision("a" * 32, 0.9, 0.4, 2, 2))
    shown = annotator._hide(image, [match, stranger], [match])
    same = (shown == image).all(axis=2)
    assert not same[86:134, 100:140].any(), "the stranger's face"
    assert same[80:120, 84:96].all(), "the match"
    annotator.saw(Frame(image, 0, 0.0), [seen])
    assert [p.name for p in annotator.close()] == ["x.mp4", "x.jpg"]
