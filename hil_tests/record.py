"""The record of a run: what each test showed, what was measured, on what; kept as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """A value that a test measured."""

    test: str
    name: str
    value: float | str
    unit: str = ""


class Series(msgspec.Struct):
    """A value over time: seconds since the start of the series, and the value."""

    name: str
    unit: str
    points: list[tuple[float, float]]


class Outcome(msgspec.Struct):
    """What became of a test.

    Attributes:
        test: its name.
        shows: the requirement.
        outcome: "passed", "failed", "not run".
        reason: why it failed or was not run.
        seconds: how long it took, preparation included.
    """

    test: str
    shows: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


class Run(msgspec.Struct):
    """A run of the rig."""

    rig: str
    begun: str
    seconds: float = 0.0
    versions: dict[str, str] = {}
    declaration: dict[str, object] = {}
    outcomes: list[Outcome] = []
    measured: list[Measured] = []
    series: list[Series] = []


def read(path: Path) -> Run:
    """Read a run's record.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: it is no record of a run.
    """
    return msgspec.json.decode(path.read_bytes(), type=Run)
