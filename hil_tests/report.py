"""The report of a run: one HTML page that needs nothing beside it.

python -m hil_tests.report FOLDER --image IMAGE [--compare EARLIER/run.json]
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2

from hil_tests.record import Run, Series, read
from hil_tests.themes import THEMES

HERE = Path(__file__).resolve().parent
OUTCOMES = ("passed", "failed", "not run")
WIDTH, HEIGHT, LEFT, RIGHT, BELOW = 720, 180, 60, 30, 26
MAX_LOG = 400_000
"""Characters of the serial log in the page: the last ones."""


@dataclass(frozen=True)
class Plot:
    """A series as lines of an SVG of WIDTH × HEIGHT.

    Attributes:
        series: what is shown.
        points: "x,y x,y …".
        earlier: the same series of an earlier run; empty if there is none.
        ticks: y of a line, and its label.
        minutes: x of a mark, and its label.
    """

    series: Series
    points: str
    earlier: str
    ticks: list[tuple[float, str]]
    minutes: list[tuple[float, str]]


def marks(low: float, high: float) -> list[float]:
    """Return up to seven round values in a range: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / 6))
    step = next(power * by for by in (1, 2, 5, 10) if (high - low) / (power * by) <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def plot(series: Series, earlier: Series | None) -> Plot:
    """Lay a series out, together with that of an earlier run on the same axes."""
    everything = [*series.points, *(earlier.points if earlier else [])]
    longest = max(x for x, _ in everything) or 1.0
    low = min(0.0, *(y for _, y in everything))
    high = max(y for _, y in everything)
    high = high * 1.1 if high > low else low + 1.0

    def x(seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * seconds / longest, 1)

    def y(value: float) -> float:
        return round(8 + (HEIGHT - BELOW - 8) * (high - value) / (high - low), 1)

    def line(points: list[tuple[float, float]]) -> str:
        return " ".join(f"{x(at)},{y(value)}" for at, value in points)

    return Plot(
        series,
        line(series.points),
        line(earlier.points) if earlier else "",
        [(y(value), f"{value:.6g}") for value in marks(low, high)],
        [(x(minute * 60), f"{minute:.6g} min") for minute in marks(0, longest / 60)],
    )


def readable(log: str) -> str:
    """Return a console's log without what moves a cursor (ECMA-48, section 5.4)."""
    plain = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])", "", log)
    return re.sub(r"[^\n\t -~\x80-\U0010ffff]", "", plain)


def moment(begun: str) -> str:
    """Return a time of a record, ISO 8601 with its offset, for people."""
    return f"{datetime.fromisoformat(begun):%Y-%m-%d %H:%M %Z}"


def render(run: Run, *, earlier: Run | None, image: dict[str, object], log: str) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["moment"] = moment
    before = {one.test: one for one in earlier.outcomes} if earlier else {}
    old_values = {(one.test, one.name): one for one in earlier.measured} if earlier else {}
    old_series = {one.name: one for one in earlier.series} if earlier else {}
    counts = {name: sum(one.outcome == name for one in run.outcomes) for name in OUTCOMES}
    return environment.get_template("report.html.j2").render(
        run=run,
        counts=counts,
        names=OUTCOMES,
        themes=[
            (theme, [one for one in run.outcomes if one.theme == theme.title]) for theme in THEMES
        ],
        earlier=earlier,
        before=before,
        old_values=old_values,
        plots=[plot(one, old_series.get(one.name)) for one in run.series if one.points],
        image=image,
        log=readable(log)[-MAX_LOG:],
        cut_off=max(0, len(readable(log)) - MAX_LOG),
        size=(WIDTH, HEIGHT, LEFT, RIGHT),
    )


def main() -> None:
    """Read a run's record and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--compare", type=Path)
    given = parser.parse_args()
    console = given.folder / "console.log"
    image = json.loads((given.image / "image.json").read_text("utf-8"))
    page = render(
        read(given.folder / "run.json"),
        earlier=read(given.compare) if given.compare else None,
        image={
            name: image[name] for name in ("target", "compatible", "version", "build_id", "sha256")
        },
        log=console.read_text("utf-8", "replace") if console.exists() else "",
    )
    (given.folder / "report.html").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
