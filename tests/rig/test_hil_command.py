"""`./lethe hil`: what it refuses, which image stands for this checkout, several devices at once."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

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
    ("further", "says"),
    [
        (["--env", "hil_tests/env/raspberrypi.yaml"], "one board"),
        (["hil_tests/test_boot.py"], "choose with -k"),
    ],
)
def test_several_devices_are_refused_where_they_cannot_be(further, says):
    result = CliRunner().invoke(hil.app, ["--devices", "2", *further])
    assert isinstance(result.exception, BadInput)
    assert says in str(result.exception)


FAKE = """#!/bin/sh
# Instead of Python with pytest: the last argument is the file of tests.
for file; do :; done
printf '{"rig":"qemu","begun":"","seconds":%s,"outcomes":' "${#file}" >"$LG_RUN/run.json"
printf '[{"test":"%s","shows":"x","outcome":"passed"}]}' "$file" >>"$LG_RUN/run.json"
printf '<testsuites><testsuite name="%s"/></testsuites>' "$file" >"$LG_RUN/junit.xml"
echo "console of $file" >"$LG_RUN/console.log"
"""


def run_tests(tmp_path, ends, groups):
    python = tmp_path / "python"
    python.write_text(FAKE + ends)
    python.chmod(0o755)
    groups = [[f"test_{name}.py"] for name in groups]
    return hil._run_tests(python, Path("qemu.yaml"), tmp_path, tmp_path, groups, [], {})


needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv (util-linux)")


@needs_setpriv
@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("exit 0", 0),
        ("exit 5", 5),
        ("test $file = test_a.py && exit 5; exit 0", 0),
        ("test $file = test_a.py && exit 1; exit 0", 1),
        ("test $file = test_a.py && exit 1; exit 5", 1),
    ],
)
def test_two_devices_make_one_record(tmp_path, ends, code):
    assert run_tests(tmp_path, ends, ["a", "second"]) == code
    whole = msgspec.json.decode((tmp_path / "run.json").read_bytes(), type=Run)
    assert [one.test for one in whole.outcomes] == ["test_a.py", "test_second.py"]
    assert whole.seconds == len("test_second.py")
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert [one.get("name") for one in suites] == ["test_a.py", "test_second.py"]
    log = (tmp_path / "console.log").read_text()
    assert log.index("console of test_a.py") < log.index("console of test_second.py")
    assert not (tmp_path / "work").exists()


@needs_setpriv
def test_a_signal_ends_all_of_them(tmp_path):
    begun = [tmp_path / "work" / number / "begun" for number in ("1", "2")]

    def interrupt():
        patience = time.monotonic() + 60
        while not all(path.exists() for path in begun):
            assert time.monotonic() < patience
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ends = "trap 'exit 2' TERM\ntouch $LG_RUN/begun\nwhile :; do sleep 0.05; done"
    assert run_tests(tmp_path, ends, ["a", "second"]) == 2
    thread.join()
    assert not (tmp_path / "work").exists()
    assert (tmp_path / "run.json").exists(), "what was shown until then"


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
