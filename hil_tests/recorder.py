"""Keeps the record of a run while it goes on."""

from __future__ import annotations

import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import labgrid
import msgspec
import pytest
from labgrid.binding import StateError
from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY
from pexpect import TIMEOUT

from hil_tests.device import Device
from hil_tests.record import Measured, Outcome, Run, Series
from hil_tests.strategy import RigError
from hil_tests.themes import theme_of

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTED = "interrupted"
"""Why a test was not run that was prepared only: it has neither passed nor failed."""


class Recorder:
    """A pytest plugin that keeps the record, and writes it after each test: a cut loses nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self._path: Path | None = config.getoption("report")
        self._config = config
        self.device: Device | None = None
        self._begun = time.monotonic()
        self._now = ""
        self._shows: dict[str, str] = {}
        self._outcomes: dict[str, Outcome] = {}
        self.run = Run(rig="", begun=datetime.now(UTC).isoformat(timespec="seconds"))

    @pytest.hookimpl
    def pytest_sessionstart(self):
        environment = self._config.stash[LABGRID_ENV_KEY]
        if environment is None:
            return
        self.run.rig = Path(environment.config.filename).stem
        target = environment.config.get_targets()["main"]
        options = target.get("options", {})
        self.run.declaration = {
            "about": options.get("about", ""),
            "can": sorted(target.get("features", [])),
            "cannot": options.get("cannot", {}),
        }
        self.run.versions = versions()

    def measure(self, name: str, value: float | str, unit: str = "") -> None:
        """Keep a measured value, and say it."""
        self.run.measured.append(Measured(self._now, name, value, unit))
        shown = f"{value:.1f}" if isinstance(value, float) else value
        print(f"\n    {name}: {shown} {unit}".rstrip())
        self.write()

    def series(self, name: str, unit: str, points: list[tuple[float, float]]) -> None:
        """Keep a value over time."""
        self.run.series.append(Series(name, unit, points))

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of each test so far."""
        return list(self._outcomes.values())

    def write(self) -> None:
        if self._path is None:
            return
        self.run.seconds = time.monotonic() - self._begun
        self.run.outcomes = self.outcomes
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(msgspec.json.format(msgspec.json.encode(self.run)))

    @pytest.hookimpl
    def pytest_collection_finish(self, session):
        for item in session.items:
            marker = item.get_closest_marker("shows")
            self._shows[item.nodeid] = marker.args[0] if marker else item.name

    @pytest.hookimpl
    def pytest_runtest_logstart(self, nodeid, location):
        self._now = nodeid.partition("::")[2]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Add what the device says to the report of a failed test."""
        report = yield
        if report.failed and call.when != "teardown" and self.device is not None:
            try:
                said = self.device.journal("lethe", lines=60)
            except (RigError, StateError, TIMEOUT) as error:
                said = f"it does not answer: {error}"
            report.sections.append(("the device's journal", said))
        return report

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report):
        name = report.nodeid.partition("::")[2]
        outcome = self._outcomes.setdefault(name, Outcome(
            name, self._shows.get(report.nodeid, name), "not run", INTERRUPTED,
            theme=theme_of(Path(report.nodeid.partition("::")[0]).name),
        ))  # fmt: skip
        outcome.seconds += report.duration
        if report.failed:
            outcome.outcome = "failed"
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message if crash else str(report.longrepr)
            outcome.reason = f"{report.when}: {said}"[:2000]
        elif report.passed and report.when == "call":
            outcome.outcome, outcome.reason = "passed", ""
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            outcome.reason = str(reason).removeprefix("Skipped: ")
        if report.when == "teardown":
            self.write()


def versions() -> dict[str, str]:
    """Return the versions of what a run depends on, beside the image's own."""
    found = {
        "Python": platform.python_version(),
        "labgrid": labgrid.__version__,
        "kernel of the rig": platform.release(),
    }
    for name, command in {
        "commit": ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        "QEMU": ["qemu-system-aarch64", "--version"],
        "RAUC": ["rauc", "--version"],
        "mosquitto": ["/usr/sbin/mosquitto", "-h"],
    }.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        if said.strip():
            found[name] = said.strip().splitlines()[0]
    return found
