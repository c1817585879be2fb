"""The entry of the command line: quick, and errors in words."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from cli import main
from edge.errors import CameraUnavailable, ConfigError


def test_help_imports_no_command() -> None:
    code = (
        "import sys, cli.main\n"
        "try: cli.main.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'cv2', 'cli.run', 'cli.doctor') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("[]\n")
    for name in main.COMMANDS:
        assert name in run.stdout


def test_version() -> None:
    assert CliRunner().invoke(main.app, ["--version"]).output.count(".") == 2


def _command_that_raises(error: Exception) -> ModuleType:
    module = ModuleType("cli.run")
    module.app = typer.Typer()

    @module.app.command()
    def run() -> None:
        raise error

    return module


@pytest.mark.parametrize(
    ("error", "code"), [(CameraUnavailable("no camera"), 1), (ConfigError("no field"), 2)]
)
def test_errors_are_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    monkeypatch.setitem(sys.modules, "cli.run", _command_that_raises(error))
    result = CliRunner().invoke(main.app, ["run"])
    assert (result.exit_code, result.stderr) == (code, f"lethe: {error}\n")


def test_debug_lets_the_traceback_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cli.run", _command_that_raises(CameraUnavailable("gone")))
    result = CliRunner().invoke(main.app, ["--debug", "run"])
    assert isinstance(result.exception, CameraUnavailable)


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main.app, ["docter"])
    assert result.exit_code == 2
    assert "doctor" in result.stderr
