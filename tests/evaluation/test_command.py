"""`./lethe evaluate` as it is called: the shipped models, and portraits in the public domain."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from cli.main import app
from edge.errors import EvaluationError
from edge.vision.pictures import read_picture
from evaluation import acquire, degrade, views
from evaluation.data import open_people
from evaluation.systems import Choice

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = {"hopper": "grace-hopper.jpg", "collins": "eileen-collins.png"}


def lethe(*arguments: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two people with four pictures each, one picture of nobody, and one that is cut off."""
    data = tmp_path_factory.mktemp("people")
    for person, file in PORTRAITS.items():
        image = read_picture(ROOT / "demo" / "assets" / file)
        image = cv2.resize(image, None, fx=400 / max(image.shape), fy=400 / max(image.shape))
        (data / person).mkdir()
        for i, change in enumerate((
            lambda p: p, lambda p: degrade.turned(p, 8), lambda p: degrade.lit(p, 0.7),
            lambda p: degrade.small(p, 0.8),
        )):  # fmt: skip
            cv2.imwrite(str(data / person / f"{person}_{i + 1:04d}.png"), change(image))
    cv2.imwrite(str(data / "hopper" / "hopper_0005.png"), np.full((200, 200, 3), 90, np.uint8))
    whole = (data / "collins" / "collins_0001.png").read_bytes()
    (data / "collins" / "collins_0005.png").write_bytes(whole[:300])
    (data / "pairs.txt").write_text(
        "".join(f"{p} 1 {n}\n" for p in PORTRAITS for n in (2, 3, 4, 5))
        + "".join(f"hopper {n} collins {n}\n" for n in (1, 2, 3, 4, 5))
    )
    return data


def test_verification_names_what_failed_and_counts_it(folder, tmp_path):
    result = lethe(
        "verification", "--data", folder, "--float", tmp_path / "none",
        "--json", tmp_path / "v.json", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "hopper/hopper_0005.png: no face found" in result.output
    assert "collins/collins_0005.png" in result.output
    assert "lethe models build --float" in " ".join(result.output.split()), (
        "says how to get what it lacks"
    )
    found = json.loads((tmp_path / "v.json").read_text())
    system = found["systems"]["int8"]
    assert set(system["failed"]) == {"hopper/hopper_0005.png", "collins/collins_0005.png"}
    assert found["same"] == 8
    assert system["tar"][0]["tar"]["value"] == pytest.approx(6 / 8)
    assert set(found["systems"]) == {"int8"}


def test_a_second_run_reads_the_cache_and_finds_the_same(folder, tmp_path):
    people = open_people(folder)
    cache = acquire.Cache(tmp_path / "c")
    with Progress(disable=True) as progress:
        first = acquire.acquire(Choice(), "int8", people.pictures, progress, cache=cache)
        again = acquire.acquire(Choice(), "int8", people.pictures, progress, cache=cache)
    assert first.captures.keys() == again.captures.keys()
    for name, capture in first.captures.items():
        np.testing.assert_array_equal(capture.template, again.captures[name].template)
        assert capture.quality == again.captures[name].quality
    assert first.failed == again.failed
    assert (tmp_path / "c" / "templates.sqlite").stat().st_mode & 0o077 == 0


def test_a_damaged_cache_is_measured_anew(folder, tmp_path):
    people = open_people(folder).pictures[:1]
    cache = acquire.Cache(tmp_path)
    with Progress(disable=True) as progress:
        first = acquire.acquire(Choice(), "int8", people, progress, cache=cache)
        cache._database.execute("UPDATE captures SET value = X'93A0'")
        again = acquire.acquire(Choice(), "int8", people, progress, cache=cache)
    assert again.captures.keys() == first.captures.keys() != set()


def test_templates_are_never_kept_inside_the_project():
    with pytest.raises(EvaluationError, match="personal data"):
        acquire.Cache(ROOT / "build" / "cache")
    assert not (ROOT / "build" / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verification", "--data", "nowhere"], "no pictures as person/picture"),
        (["detection", "--data", "nowhere"], "labels.txt: cannot be read"),
        (["parity", "--data", "nowhere", "--float", "nowhere"], "lethe models build --float"),
        (["thresholds", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["thresholds", "--embedder", "nobody"], "no embedder 'nobody'"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_to_do(arguments, says):
    result = lethe(*arguments)
    assert result.exit_code == 1
    assert says in " ".join(result.output.split())


def test_identification_of_too_few_people_says_so(folder):
    result = lethe("identification", "--data", folder)
    assert result.exit_code == 1
    assert "too few" in result.output


def test_detection_counts_a_face_not_found_as_a_miss(tmp_path):
    (tmp_path / "images").mkdir()
    image = read_picture(ROOT / "demo" / "assets" / PORTRAITS["hopper"])
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image)
    height, width = image.shape[:2]
    face = Choice().open("int8").detector.detect(image)[0].box
    (tmp_path / "labels.txt").write_text(
        f"# a.png {width} {height}\n{' '.join(map(str, face))}\n1 1 {width // 4} {height // 4}\n"
        "# gone.png 10 10\n1 1 5 5\n"
    )
    result = lethe(
        "detection", "--data", tmp_path, "--float", tmp_path / "none",
        "--detector", "yunet-2023mar-640x384", "--json", tmp_path / "d.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "skipped: gone.png" in result.output
    found = json.loads((tmp_path / "d.json").read_text())
    bucket = found["sizes"][0]["buckets"][0]
    assert (found["pictures"], bucket["faces"]) == (1, 2)
    assert bucket["ap"]["int8"] == pytest.approx(0.5), "one of two"


def test_thresholds_and_their_plot_need_no_pictures(tmp_path):
    targets = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for target in targets:
        result = lethe("thresholds", "--plot", target, "--json", tmp_path / "t.json")
        assert result.exit_code == 0, result.output
    assert targets[0].read_bytes() == targets[1].read_bytes(), "the same figures, the same file"
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [row["entries"] for row in rows] == [1, 10, 30, 100, 300, 1000, 3000, 10000]


# --- What becomes of a poor view -----------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    system = Choice().open("int8")
    rows = views.show(system, ROOT / "demo" / "assets" / PORTRAITS["hopper"])
    return {row.change: row for row in rows}


def test_a_face_turned_by_thirty_degrees_is_embedded_much_as_before(shown):
    row = shown["turned by 30°"]
    assert (row.view, row.photo) == ("", "")
    assert row.cosine > 0.8


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("dark: a twentieth", "brightness is"),
        ("small: 7 pixels", "no face found"),
        ("blurred by a third", "no face found"),
        ("turned by 90°", "no face found"),
    ],
)
def test_a_view_beyond_use_is_refused_and_the_reason_said(shown, change, why):
    assert why in shown[change].view


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("dark: a fifth of the light", "brightness is"),
        ("small: 16 pixels between the eyes", "distance between the eyes in pixels is"),
        ("blurred by a tenth of the eyes' distance", "sharpness is"),
    ],
)
def test_a_poor_view_is_judged_but_never_enrolled(shown, change, why):
    assert shown[change].view == ""
    assert why in shown[change].photo
    assert shown[change].quality < shown["as it is"].quality
