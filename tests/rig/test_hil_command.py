"""`./lethe hil`: what it refuses, and which image stands for this checkout."""

import msgspec
import pytest
from typer.testing import CliRunner

from cli import hil
from edge.errors import BadInput
from firmware.build import Record
from hil_tests.record import Outcome, Run


def test_an_unknown_fault_is_refused():
    result = CliRunner().invoke(hil.app, ["--plant", "weeds"])
    assert isinstance(result.exception, BadInput)
    assert "immortal-list" in str(result.exception)


@pytest.mark.parametrize(
    ("epoch", "says"), [(7, ""), (8, "of another commit"), (None, "no image is built")]
)
def test_which_image_stands_for_this_checkout(tmp_path, monkeypatch, epoch, says):
    monkeypatch.setattr(hil, "source_epoch", lambda: 7)
    if epoch is not None:
        record = Record(
            target="qemu", compatible="x", version="1", build_id="b", epoch=epoch, images={},
            sha256={}, bytes={}, content_bytes=0, largest=[], seconds={},
        )  # fmt: skip
        (tmp_path / "image.json").write_bytes(msgspec.json.encode(record))
    why = hil.image_of_this_checkout(tmp_path)
    assert says in why
    assert bool(why) == bool(says)


@pytest.mark.parametrize(
    ("outcome", "reason", "found"),
    [
        ("failed", "call: AssertionError", True),
        ("failed", "setup: RigError", False),  # the device was not even prepared
        ("passed", "", False),
    ],
)
def test_a_planted_fault_is_found_only_by_its_test_in_its_course(tmp_path, outcome, reason, found):
    run = Run(rig="qemu", begun="", outcomes=[Outcome("test_x", "x", outcome, reason)])
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(run))
    assert hil._found(tmp_path / "run.json", "test_x") is found
    assert not hil._found(tmp_path / "run.json", "test_y")
