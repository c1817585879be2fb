"""Int8 beside a reference: nothing differs from itself, and each bar judges what it says."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.progress import Progress

from edge.errors import EvaluationError, ModelError
from edge.vision.pictures import read_picture
from evaluation import bars, detection, parity, plots
from evaluation.acquire import acquire
from evaluation.bars import Parity
from evaluation.data import Picture, Scene
from evaluation.discard import Curve, Discard, QualityReport
from evaluation.identification import Identification, Point, Searched
from evaluation.metrics import Rate
from evaluation.parity import Cosines, Landmarks, Times
from evaluation.systems import Choice
from evaluation.verification import OneSystem, TrueAccept, Verification
from tests.inference.simulated import SimulatedCoral

PHOTO = Path(__file__).resolve().parents[2] / "demo" / "assets" / "grace-hopper.jpg"


@pytest.fixture(scope="module")
def two():
    return Choice().open("int8"), Choice().open("int8")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The portrait in two sizes: a face below and one above 150 pixels of the input."""
    folder = tmp_path_factory.mktemp("photos")
    image = read_picture(PHOTO)
    height, width = image.shape[:2]
    canvas = np.full((height * 2, width * 2, 3), 110, np.uint8)
    canvas[:height, :width] = image
    paths = []
    for name, picture in (("near", image), ("far", canvas)):
        paths.append(folder / f"{name}.png")
        cv2.imwrite(str(paths[-1]), picture)
    return paths


def test_a_system_agrees_with_itself(two, photos):
    pictures = [Picture(f"p{i}/x.png", f"p{i}", path) for i, path in enumerate(photos * 4)]
    scenes = [Scene(path, 1, 1, np.zeros((0, 4))) for path in photos]
    with Progress(disable=True) as progress:
        agreed = parity.cosines(*two, pictures, scenes, progress)
        points = parity.landmarks("yunet", *two, photos, progress)
    assert {"portraits", "portraits made worse"} <= {row.pictures for row in agreed}
    assert all(row.least > 0.99999 for row in agreed)
    assert sum(row.faces for row in points) == 2
    assert all((row.median, row.p99, row.missed) == (0, 0, 0) for row in points)


def test_landmarks_that_are_off_are_told_in_eye_distances(two, photos, monkeypatch):
    system, reference = two
    honest = reference.detector.detect

    def shifted(image, min_score=None):
        return [
            type(f)(f.box, f.landmarks + np.float32([0.1 * f.eye_distance, 0]), f.score)
            for f in honest(image, min_score)
        ]

    monkeypatch.setattr(reference.detector, "detect", shifted)
    with Progress(disable=True) as progress:
        rows = parity.landmarks("yunet", system, reference, photos, progress)
    assert [row.median_seen for row in rows] == pytest.approx([0.1] * len(rows), rel=0.01)


def test_a_face_that_int8_does_not_see_is_missed(two, photos, monkeypatch):
    system, reference = two
    near = int(system.detector.detect(read_picture(photos[0]))[0].height)
    assert near
    monkeypatch.setattr(system.detector, "detect", lambda *_: [])
    with Progress(disable=True) as progress:
        assert parity.landmarks("yunet", system, reference, photos, progress) == []


def test_times_are_taken_of_both(two):
    embedder, detector = parity.times(*two)
    assert embedder.ms_int8 > 0
    assert detector.ratio == pytest.approx(detector.ms_int8 / detector.ms_float)


# --- Accelerators, simulated ---------------------------------------------------------------------


def test_an_accelerator_is_measured_like_the_cpu(tmp_path, photos):
    """The simulated one computes on the CPU, so every template must be the same."""
    coral = SimulatedCoral(tmp_path / "coral")
    folder = coral.models(tmp_path / "models")
    on_it = Choice(models=folder, back_end="edgetpu", python=str(coral.python))
    pictures = [Picture(f"p/{path.name}", "p", path) for path in photos]
    with Progress(disable=True) as progress:
        plain = acquire(Choice(), "int8", pictures, progress)
        found = acquire(on_it, "int8", pictures, progress)
    assert coral.log().count("opened") >= 1
    for name, capture in plain.captures.items():
        assert capture.template @ found.captures[name].template > 0.9999


def test_an_accelerator_that_failed_meanwhile_is_not_taken_for_measured(tmp_path, photos):
    coral = SimulatedCoral(tmp_path / "coral")
    folder = coral.models(tmp_path / "models")
    system = Choice(models=folder, back_end="edgetpu", python=str(coral.python)).open("int8")
    coral.inject("crash")
    assert system.capture(read_picture(photos[0])) is not None, "the CPU takes its place"
    with pytest.raises(EvaluationError, match="the CPU took its place"):
        system.close()


def test_an_accelerator_that_is_not_there_is_refused(tmp_path, photos):
    coral = SimulatedCoral(tmp_path / "coral")
    folder = coral.models(tmp_path / "models")
    coral.unplug()
    with pytest.raises(EvaluationError, match="does not work: edgetpu: "):
        Choice(models=folder, back_end="edgetpu", python=str(coral.python)).open("int8")
    with pytest.raises(ModelError, match="can run nothing"):
        Choice(models=folder, back_end="tensorrt").open("int8")


# --- Bars ----------------------------------------------------------------------------------------

LOSS = Rate(0.004, 0.0, 0.01)


def measured(**changes):
    rate = Rate(0.9, 0.8, 1.0)
    system = OneSystem(
        0.99, 0.01, 0.6, 0.1, {},
        [TrueAccept(far, 0.4, rate, None, None) for far in (1e-2, 1e-3, 1e-4)],
        [(1e-4, 0.8), (1e-2, 0.9)],
    )  # fmt: skip
    points = [Point(0.01, 0.4, rate), Point(0.001, 0.5, rate)]
    both = {"int8": points, "float": points}
    det = {name: [(0.001, 0.1), (0.1, 0.01)] for name in both}
    buckets = [detection.Bucket("from 20", 100, {"int8": 0.8, "float": 0.81}, LOSS)]
    fields = {
        "runtime": "r",
        "cosines": [Cosines("portraits", 10, 0.99, 0.975, 0.9)],
        "landmarks": [Landmarks("y", "40 to 150", 10, 0, 0.015, 0.05, 0.02, 0.2)],
        "times": [Times("embedder", 1.05, 1.0, 1.05)],
        "detection": detection.Detection(2, {}, [detection.Size("y", buckets)]),
        "verification": Verification(
            1, 1, 10, 45, {"int8": system, "float": system}, [LOSS, Rate(0.003, 0, 0), LOSS]
        ),
        "identification": Identification(
            700, 10, False, {}, {}, [Searched(500, 1, 1, both, det, [LOSS, LOSS])], []
        ),
    }
    return Parity(**(fields | changes))


def test_what_is_just_reached_is_held():
    judged = bars.judge(measured(), compact=False)
    assert len(judged) == 8
    assert bars.missed(judged) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"cosines": [Cosines("portraits", 10, 0.9899, 0.99, 0.9)]},
        {"cosines": [Cosines("portraits", 10, 0.995, 0.9749, 0.9)]},
        {"landmarks": [Landmarks("y", "from 150", 10, 0, 0.0151, 0.05, 0, 0)]},
        {"landmarks": [Landmarks("y", "from 150", 10, 0, 0.01, 0.0501, 0, 0)]},
        {"times": [Times("embedder", 1.06, 1.0, 1.06)]},
    ],
)
def test_what_falls_short_is_missed(changes):
    assert len(bars.missed(bars.judge(measured(**changes), compact=False))) == 1


def test_a_compact_embedder_has_a_bar_of_its_own():
    found = measured(cosines=[Cosines("portraits", 10, 0.985, 0.9, 0.8)])
    assert bars.missed(bars.judge(found, compact=True)) == []
    assert len(bars.missed(bars.judge(found, compact=False))) == 2


# --- Plots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_every_plot_is_drawn_in_every_format(tmp_path, ending):
    found = measured()
    report = QualityReport(
        [0.0, 0.5],
        [Discard("a", 2, 0.4, [Curve(m, [0.2, 0.1]) for m in ("overall", "ideal")], 1, 0.1, None)],
        0, [],
    )  # fmt: skip
    for i, (draw, what) in enumerate((
        (plots.det, found.identification), (plots.roc, found.verification),
        (plots.precision, found.detection), (plots.discard, report),
    )):  # fmt: skip
        target = tmp_path / f"{i}{ending}"
        draw(what, target)
        assert target.stat().st_size > 1000


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be drawn"):
        plots.det(measured().identification, tmp_path / "x.xyz")
