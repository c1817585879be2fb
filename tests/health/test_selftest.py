"""The self-test: the shipped version passes, a version that cannot do its job does not."""

from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelError, StorageUnavailable
from edge.health import selftest
from edge.health.finding import Finding
from edge.health.selftest import Verdict, judge, keep_verdict, main_job, read_verdict, worse
from edge.vision.engine import Vision

PORTRAITS = Path(__file__).resolve().parents[2] / "demo" / "assets"
GOOD = Verdict("1.0", True, [], ["broker", "camera"], 0.0, 1.0)


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


class Damaged:
    """The real models behind a version with a fault."""

    def __init__(self, vision, fault):
        self._vision, self._fault = vision, fault

    def __getattr__(self, name):
        return getattr(self._vision, name)

    def detect(self, image, min_score=None):
        return [] if self._fault == "blind" else self._vision.detect(image, min_score)

    def embed_aligned(self, aligned):
        template = self._vision.embed_aligned(aligned)
        if self._fault == "everyone is the same":
            return np.full_like(template, template.size**-0.5)
        return np.roll(template, 1) if self._fault == "cannot match" else template

    def embed(self, image, face):
        template = self._vision.embed(image, face)
        if self._fault == "everyone is the same":
            return np.full_like(template, template.size**-0.5)
        return template


def test_the_shipped_version_passes(vision):
    assert main_job(vision, PORTRAITS) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("blind", "0 faces found"),
        ("cannot match", "not recognised"),
        ("everyone is the same", "not enrolled"),
    ],
)
def test_a_version_that_cannot_do_its_job_does_not(vision, fault, reason):
    verdict = judge(lambda: Damaged(vision, fault), PORTRAITS, None, None)
    assert not verdict.passed
    assert reason in verdict.reasons[0]


def test_models_that_do_not_load_are_the_reason(tmp_path):
    def refuse():
        raise ModelError("model.tflite: hash is wrong")

    verdict = judge(refuse, PORTRAITS, None, None)
    assert (verdict.passed, verdict.reasons) == (False, ["model.tflite: hash is wrong"])


def test_missing_pictures_are_a_reason(vision, tmp_path):
    (reason,) = main_job(vision, tmp_path)
    assert "built-in picture" in reason


def test_only_what_was_well_before_may_hold_an_update_up():
    now = [
        Finding("broker", "problem", "does not answer"),
        Finding("clock", "problem", "is not set"),
        Finding("camera", "ok", "is there"),
    ]
    assert worse(None, now) == []
    assert worse(GOOD, now) == ["broker was well and is not: does not answer"]


@pytest.mark.parametrize(("answers_after", "passed"), [(3, True), (1000, False)])
def test_a_network_that_comes_up_is_waited_for(vision, monkeypatch, answers_after, passed):
    monkeypatch.setattr(selftest, "main_job", lambda *_: [])
    clock = [100.0]

    def examine():
        well = clock[0] > 100 + answers_after * 5
        return [Finding("broker", "ok" if well else "problem", "…")]

    def sleep(seconds):
        clock[0] += seconds

    verdict = judge(
        lambda: vision, PORTRAITS, examine, GOOD, patience=60, now=lambda: clock[0], sleep=sleep
    )
    assert verdict.passed is passed
    assert verdict.well == (["broker"] if passed else [])


def test_a_verdict_is_kept_and_a_damaged_one_is_none(tmp_path):
    path = tmp_path / "good.json"
    assert read_verdict(path) is None
    keep_verdict(path, GOOD)
    assert read_verdict(path) == GOOD
    for damaged in (b"", b"{", path.read_bytes()[:-5], b"\xff" * 400_000):
        path.write_bytes(damaged)
        assert read_verdict(path) is None
    with pytest.raises(StorageUnavailable):
        keep_verdict(tmp_path / "missing" / "good.json", GOOD)
