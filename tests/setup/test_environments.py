"""Environments made on first use: once, anew when their lock changes, and never half."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import typer

from cli import environments


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Replace the programs that are started; "fails" in the lock's name makes pip fail."""
    lines: list[str] = []

    def run(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines.append(" ".join(line))
        if "venv" in line:
            Path(line[-1]).mkdir(exist_ok=True)
        return subprocess.CompletedProcess(line, int("fails" in line[-1]))

    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", run)
    return lines


def test_it_is_made_once_and_anew_when_its_lock_changes(ran: list[str], tmp_path: Path) -> None:
    lock = tmp_path / "models.txt"
    lock.write_text("a==1\n")
    python = environments.environment("models", lock, "reads weights")
    assert python == tmp_path / ".venv-models" / "bin" / "python"
    assert ["venv" in line for line in ran] == [True, True]
    assert "--require-hashes --only-binary :all:" in ran[1]
    environments.environment("models", lock, "reads weights")
    assert len(ran) == 2
    lock.write_text("a==2\n")
    environments.environment("models", lock, "reads weights")
    assert len(ran) == 4


def test_what_could_not_be_installed_is_tried_again(ran: list[str], tmp_path: Path) -> None:
    lock = tmp_path / "fails.txt"
    lock.write_text("a==1\n")
    for attempt in (1, 2):
        with pytest.raises(typer.Exit) as ended:
            environments.environment("models", lock, "reads weights")
        assert ended.value.exit_code == 69
        assert len(ran) == 2 * attempt
