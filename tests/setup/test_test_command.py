"""`./lethe test`: what it installs, runs and returns."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import test as command


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Replace the programs it starts: `failing` names those that fail, `ran` lists all."""
    record: dict[str, Any] = {"ran": [], "failing": set()}

    def run(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        text = " ".join(line)
        record["ran"].append(text)
        return subprocess.CompletedProcess(line, int(any(f in text for f in record["failing"])))

    monkeypatch.setattr(command.subprocess, "run", run)
    monkeypatch.setattr("sys.prefix", str(tmp_path))  # where stamps lie
    monkeypatch.setenv("LETHE_IMAGE", str(tmp_path / "none"))
    monkeypatch.setattr(command.shutil, "which", lambda name: f"/usr/bin/{name}")
    return record


def test_pytest_runs_last_with_further_arguments(calls: dict[str, Any]) -> None:
    assert CliRunner().invoke(command.app, ["-k", "camera", "-x"]).exit_code == 0
    assert calls["ran"][-1].endswith("-m pytest -m not slow -k camera -x")
    assert sum("-m ruff" in line or "-m mypy" in line for line in calls["ran"]) == 3


def test_slow_selects_nothing_away(calls: dict[str, Any]) -> None:
    CliRunner().invoke(command.app, ["--slow"])
    assert calls["ran"][-1].endswith("-m pytest")


def test_tools_are_installed_once(calls: dict[str, Any]) -> None:
    CliRunner().invoke(command.app)
    CliRunner().invoke(command.app)
    assert sum("pip install" in line for line in calls["ran"]) == 1


def test_tools_that_cannot_be_installed_end_it_and_are_tried_again(calls: dict[str, Any]) -> None:
    calls["failing"] = {"pip install"}
    result = CliRunner().invoke(command.app)
    assert result.exit_code == 69
    assert "could not be installed" in result.stderr
    calls["failing"] = set()
    assert CliRunner().invoke(command.app).exit_code == 0
    assert sum("pip install" in line for line in calls["ran"]) == 2


@pytest.mark.parametrize("failing", ["ruff check", "format", "mypy", "pytest"])
def test_a_failure_is_named_and_the_rest_still_runs(calls: dict[str, Any], failing: str) -> None:
    CliRunner().invoke(command.app)  # installs the tools
    calls["ran"].clear()
    calls["failing"] = {failing}
    result = CliRunner().invoke(command.app)
    assert result.exit_code == 1
    assert f"failed: {'ruff format' if failing == 'format' else failing}" in result.stderr
    assert len(calls["ran"]) == 4


def test_a_user_is_told_which_packages_are_missing(
    calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.shutil, "which", lambda _: None)
    monkeypatch.setattr(command.os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(command.app)
    assert "will be skipped" in result.stderr
    assert "mosquitto" in result.stderr
    assert not any("apt-get" in line for line in calls["ran"])


def test_root_gets_missing_packages_installed(
    calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    monkeypatch.setattr(command.os, "geteuid", lambda: 0)
    CliRunner().invoke(command.app)
    assert any(line.startswith("apt-get install") and "mosquitto" in line for line in calls["ran"])


def test_without_an_image_a_line_says_that_no_device_is_tested(calls: dict[str, Any]) -> None:
    result = CliRunner().invoke(command.app)
    assert "the tests of a whole device are not run: no image is built" in result.stderr
    assert not any("cli.main hil" in line for line in calls["ran"])


def test_with_an_image_of_this_commit_a_device_is_tested_last(
    calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.hil, "image_of_this_checkout", lambda image: "")
    assert CliRunner().invoke(command.app).exit_code == 0
    assert calls["ran"][-1].endswith("-m small")
    calls["failing"] = {"cli.main hil"}
    result = CliRunner().invoke(command.app)
    assert result.exit_code == 1
    assert "failed: hil" in result.stderr
