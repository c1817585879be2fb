"""The record of a run: what each test showed, what was measured, on what; kept as JSON."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec

RUN, JUNIT, CONSOLE = "run.json", "junit.xml", "console.log"


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
        theme: title of `hil_tests.themes`.
    """

    test: str
    shows: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    theme: str = ""


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


def collect(parts: Sequence[Path], folder: Path) -> None:
    """Make one record of those that devices have left which were tested at once.

    Args:
        parts: their folders; what is not in one, for its tests never began, is left out.
        folder: gets record, JUnit file and console log.
    """
    runs = [read(part / RUN) for part in parts if (part / RUN).exists()]
    if runs:
        whole = msgspec.structs.replace(
            runs[0],
            seconds=max(run.seconds for run in runs),
            outcomes=[each for run in runs for each in run.outcomes],
            measured=[each for run in runs for each in run.measured],
            series=[each for run in runs for each in run.series],
        )
        (folder / RUN).write_bytes(msgspec.json.format(msgspec.json.encode(whole)))
    suites = [
        suite
        for part in parts
        if (part / JUNIT).exists()
        for suite in ElementTree.parse(part / JUNIT).getroot()
    ]
    if suites:
        root = ElementTree.Element("testsuites")
        root.extend(suites)
        ElementTree.ElementTree(root).write(folder / JUNIT, "utf-8", xml_declaration=True)
    logs = [part for part in parts if (part / CONSOLE).exists()]
    with (folder / CONSOLE).open("wb") as all_of_it:
        for part in logs:
            if parts[1:]:
                all_of_it.write(f"\n== device {part.name} ==\n".encode())
            with (part / CONSOLE).open("rb") as log:
                shutil.copyfileobj(log, all_of_it)
