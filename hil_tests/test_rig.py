"""The rigs themselves: every environment can be read, and declares what it can and cannot."""

import ast
from pathlib import Path

import pytest
from labgrid import Environment

from cli.hil import GROUPS
from hil_tests import report
from hil_tests.record import Measured, Outcome, Run, Series
from hil_tests.recorder import Recorder
from hil_tests.themes import THEMES, theme_of

HERE = Path(__file__).resolve().parent


def features_asked_for():
    """Every feature that a test asks for."""
    found = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("lg_feature"):
                asked = ast.literal_eval(node.args[0])
                found |= {asked} if isinstance(asked, str) else set(asked)
    return found


@pytest.mark.small
@pytest.mark.shows("A rig says of everything that tests ask for: it can, or why it cannot")
@pytest.mark.parametrize("path", sorted(HERE.glob("env/*.yaml")), ids=lambda path: path.stem)
def test_a_rig_declares_what_it_can(path):
    environment = Environment(config_file=str(path))
    target = environment.config.get_targets()["main"]
    can, cannot = set(target["features"]), set(target["options"]["cannot"])
    assert features_asked_for() <= can | cannot
    assert not can & cannot
    environment.get_target("main").get_strategy()


@pytest.mark.small
@pytest.mark.shows("Every test belongs to a theme, and is run by the command without being named")
def test_every_file_of_tests_has_a_theme_and_a_group():
    files = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")}
    themed = [name for theme in THEMES for name in theme.modules]
    assert sorted(themed) == sorted(files)
    assert sorted(sum(GROUPS, ())) == sorted(files)


@pytest.mark.small
@pytest.mark.shows("The report is one page that needs nothing, and shows what has changed")
def test_the_page(tmp_path):
    def run(outcome, boot):
        return Run(
            rig="qemu", begun="2026-05-01T10:15:00+00:00", seconds=60.0,
            declaration={"cannot": {"clock": "none"}},
            outcomes=[
                Outcome("test_x", "<It starts>", outcome, "1 < 2", theme=theme_of("test_boot.py")),
                Outcome("test_y", "It waits", "not run", "clock: none", theme=THEMES[0].title),
            ],
            measured=[Measured("test_x", "boot", boot, "s")],
            series=[Series("memory", "MiB", [(0.0, 90.0), (60.0, 91.0)])],
        )  # fmt: skip

    page = report.render(
        run("failed", 12.34), earlier=run("passed", 9.87), image={"version": "1"},
        log="\x1b[1mboots\x1b[0m",
    )  # fmt: skip
    assert "&lt;It starts&gt;" in page
    assert page.index("Recognition") < page.index("It waits") < page.index("&lt;It starts&gt;")
    assert page.count("not chosen for this run") == len(THEMES) - 2
    assert "1 failed" in page
    assert "1 not run" in page
    assert "clock: none" in page
    assert 'class="changed"' in page
    assert "12.3 s" in page
    assert "9.9 s" in page
    assert "<polyline" in page
    assert ">boots<" in page
    assert "src=" not in page
    assert "href=" not in page


@pytest.mark.small
@pytest.mark.shows("The axes of a plot have round marks")
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 160, [0, 50, 100, 150]),
        (0, 0.37, [0, 0.1, 0.2, 0.3]),
        (0, 30, [0, 5, 10, 15, 20, 25, 30]),
        (-3, 4, [-2, 0, 2, 4]),
    ],
)
def test_the_axes(low, high, expected):
    assert report.marks(low, high) == pytest.approx(expected)


@pytest.mark.small
@pytest.mark.shows("A test that was interrupted has not passed")
def test_what_was_interrupted_has_not_passed(pytestconfig, monkeypatch):
    recorder = Recorder(pytestconfig)
    monkeypatch.setattr(recorder, "write", lambda: None)

    def phases(name, *ends):
        for when, outcome in zip(("setup", "call", "teardown"), ends, strict=False):
            recorder.pytest_runtest_logreport(pytest.TestReport(
                f"test_boot.py::{name}", ("test_boot.py", 1, name), {}, outcome, None, when,
            ))  # fmt: skip

    phases("whole", "passed", "passed", "passed")
    phases("cut", "passed")
    phases("wrong", "passed", "failed", "passed")
    phases("untidy", "passed", "passed", "failed")
    assert {one.test: one.outcome for one in recorder.outcomes} == {
        "whole": "passed", "cut": "not run", "wrong": "failed", "untidy": "failed",
    }  # fmt: skip
