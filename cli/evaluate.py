"""`./lethe evaluate`: how well the models do, on your own pictures or on research data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli import environments
from edge.errors import EvaluationError
from edge.files import write_atomically
from edge.inference.manifest import load_manifest
from evaluation import (
    acquire,
    bars,
    data,
    degrade,
    detection,
    discard,
    identification,
    knob,
    report,
    side_by_side,
    systems,
    verification,
    views,
)

app = typer.Typer(add_completion=False, no_args_is_help=True)

TARGETS = (0.01, 0.001, 0.0001)


class BackEnd(StrEnum):
    """What may run the int8 models."""

    litert = "litert"
    edgetpu = "edgetpu"
    tensorrt = "tensorrt"


Json = Annotated[Path | None, typer.Option("--json", help="Also write every figure to this file.")]
Plot = Annotated[Path | None, typer.Option(help="Also draw: .svg, .pdf or .png.")]
CacheDir = Annotated[
    Path | None, typer.Option("--cache", help="Keep templates between runs in this folder.")
]
Models = Annotated[Path | None, typer.Option(help="Folder with manifest.json; the shipped one.")]
FloatModels = Annotated[Path, typer.Option("--float", help="Folder of the float models.")]
DetectorName = Annotated[str, typer.Option("--detector", help="Name in the manifest.")]
EmbedderName = Annotated[str, typer.Option("--embedder", help="Name in the manifest.")]
Verbose = Annotated[bool, typer.Option(help="Name every picture that failed, not the first ten.")]

EXAMPLE = """\b
Examples:
  ./lethe evaluate verification --data ../shared/data
  ./lethe evaluate identification --data photos/ --cache /var/tmp/templates --plot det.svg
  ./lethe evaluate detection --data crowds/ --json detection.json
  ./lethe evaluate thresholds --plot docs/images/thresholds.svg
"""


@app.callback(epilog=EXAMPLE)
def evaluate() -> None:
    """Measure the models on pictures of people: locally; nothing is sent or kept."""


class Run:
    """What every measurement has: consoles, progress, models, cache, and where results go."""

    def __init__(
        self, choice: systems.Choice, cache: Path | None, json: Path | None, plot: Path | None
    ) -> None:
        for target in (json, plot):
            if target and not target.parent.is_dir():
                raise EvaluationError(f"{target}: there is no folder {target.parent}")
        if plot:
            environments.add("evaluate", "what draws the plots (about 35 MB)")
        self.choice = choice
        self.cache = acquire.Cache(cache) if cache else None
        self.json, self.plot = json, plot
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip

    def beside(self) -> list[str]:
        """Return the systems there are; says so where float is not among them."""
        there = self.choice.names()
        if systems.FLOAT not in there:
            self.console.print(systems.NO_FLOAT.format(folder=self.choice.float_folder))
        return there

    def people(self, folder: Path) -> tuple[data.People, dict[str, acquire.Acquired]]:
        """Acquire every picture of a folder with every system."""
        people, there = data.open_people(folder), self.beside()
        with self.progress:
            return people, {
                name: acquire.acquire(
                    self.choice, name, people.pictures, self.progress, cache=self.cache
                )
                for name in there
            }

    def finish(self, result: object, draw: Callable[[Any, Path], None] | None = None) -> None:
        """Write what was asked for."""
        if self.json:
            content = msgspec.json.format(msgspec.json.encode(result), indent=1)
            write_atomically(self.json, content + b"\n", mode=0o644)
            self.console.print(f"{self.json}: written")
        if self.plot and draw:
            draw(result, self.plot)
            self.console.print(f"{self.plot}: drawn")


def _check(found: dict[str, acquire.Acquired]) -> None:
    for name, acquired in found.items():
        if not acquired.captures:
            reason = next(iter(acquired.failed.values()))
            raise EvaluationError(f"{name}: no picture gave a template; the first: {reason}")


def _crowds(folder: Path, console: Console) -> list[data.Scene]:
    try:
        return data.open_scenes(folder)
    except EvaluationError as error:
        console.print(f"without crowds: {error}", markup=False)
        return []


def _pairs(people: data.People, named: Path | None, console: Console) -> list[data.Pair]:
    listed = named or people.pairs_file
    if listed:
        return data.read_pairs(listed, people)
    console.print("no list of pairs: every pair of one person, and as many of different people")
    return verification.make_pairs(people.pictures)


@app.command("detection", epilog=EXAMPLE)
def detection_command(
    data_folder: Annotated[Path, typer.Option("--data", help="Holds wider_dev/ or labels.txt.")],
    json: Json = None,
    plot: Plot = None,
    models: Models = None,
    float_models: FloatModels = systems.FLOAT_FOLDER,
    detector: Annotated[
        list[str] | None, typer.Option(help="Name in the manifest; all if not given.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Measure the average precision of the detector by size of face."""
    run = Run(systems.Choice(models, float_folder=float_models, threads=2), None, json, plot)
    scenes = data.open_scenes(data_folder)
    names = detector or side_by_side.detectors(run.choice)
    run.beside()
    with run.progress:
        found = detection.measure(run.choice, names, scenes, run.progress)
    report.detection(run.console, found, verbose=verbose)

    def draw(result: detection.Detection, target: Path) -> None:
        from evaluation import plots

        plots.precision(result, target)

    run.finish(found, draw)


@app.command("verification", epilog=EXAMPLE)
def verification_command(
    data_folder: Annotated[Path, typer.Option("--data", help="Holds lfw_dev/ or person/picture.")],
    pairs: Annotated[
        Path | None, typer.Option(help="List of pairs; pairs*.txt of the data.")
    ] = None,
    json: Json = None,
    plot: Plot = None,
    cache: CacheDir = None,
    models: Models = None,
    float_models: FloatModels = systems.FLOAT_FOLDER,
    detector: DetectorName = "",
    embedder: EmbedderName = "",
    verbose: Verbose = False,
) -> None:
    """Measure accuracy, and TAR at FAR, of comparing two pictures."""
    choice = systems.Choice(models, detector, embedder, float_models)
    run = Run(choice, cache, json, plot)
    people, acquired = run.people(data_folder)
    _check(acquired)
    listed = _pairs(people, pairs, run.console)
    found = verification.measure(people.pictures, listed, acquired)
    report.verification(run.console, found, verbose=verbose)

    def draw(result: verification.Verification, target: Path) -> None:
        from evaluation import plots

        plots.roc(result, target)

    run.finish(found, draw)


class Identified(msgspec.Struct, frozen=True):
    """Everything that `lethe evaluate identification` writes."""

    open_set: identification.Identification
    reached: list[knob.Reached]
    refitted: list[knob.Refitted]


@app.command("identification", epilog=EXAMPLE)
def identification_command(
    data_folder: Annotated[Path, typer.Option("--data", help="Holds lfw_dev/ or person/picture.")],
    gallery: Annotated[
        list[int] | None, typer.Option(help="People enrolled; may be given several times.", min=1)
    ] = None,
    gates: Annotated[
        bool, typer.Option(help="Refuse poor views and photos, as the device and enrolment do.")
    ] = False,
    json: Json = None,
    plot: Plot = None,
    cache: CacheDir = None,
    models: Models = None,
    float_models: FloatModels = systems.FLOAT_FOLDER,
    detector: DetectorName = "",
    embedder: EmbedderName = "",
    verbose: Verbose = False,
) -> None:
    """Measure FNIR at FPIR of searching a list, and what fpir_target comes to."""
    run = Run(systems.Choice(models, detector, embedder, float_models), cache, json, plot)
    people, acquired = run.people(data_folder)
    _check(acquired)
    sizes = gallery or identification.GALLERIES
    searched = identification.measure(people.pictures, acquired, sizes, gates=gates)
    report.identification(run.console, searched, verbose=verbose)
    bench = knob.Bench(people, acquired[systems.INT8])
    tail = load_manifest(models).embedder(embedder)[1].impostor_tail
    reached = [
        found
        for fused in (False, True)
        for size in gallery or knob.SIZES
        if (found := bench.reached(tail, size, fused=fused))
    ]
    refitted = bench.refitted(gallery or knob.SIZES)
    report.knob(run.console, reached, refitted)

    def draw(result: Identified, target: Path) -> None:
        from evaluation import plots

        plots.det(result.open_set, target)

    run.finish(Identified(searched, reached, refitted), draw)


@app.command("parity", epilog=EXAMPLE)
def parity_command(
    data_folder: Annotated[
        Path, typer.Option("--data", help="Holds lfw_dev/ or person/picture; and wider_dev/.")
    ],
    json: Json = None,
    cache: CacheDir = None,
    models: Models = None,
    float_models: FloatModels = systems.FLOAT_FOLDER,
    detector: DetectorName = "",
    embedder: EmbedderName = "",
    back_end: Annotated[
        BackEnd, typer.Option("--backend", help="What runs int8; float runs on the CPU.")
    ] = BackEnd.litert,
    python: Annotated[
        str, typer.Option(help="Interpreter of an accelerator's process; see docs/accelerators.md.")
    ] = "",
    verbose: Verbose = False,
) -> None:
    """Measure int8 beside float in one run. Exit code 1 where a bar is missed."""
    choice = systems.Choice(
        models, detector, embedder, float_models, back_end=back_end.value, python=python
    )
    run = Run(choice, cache, json, None)
    if systems.FLOAT not in choice.names():
        raise EvaluationError(systems.NO_FLOAT.format(folder=float_models))
    scenes = _crowds(data_folder, run.console)
    people, acquired = run.people(data_folder)
    _check(acquired)
    listed = _pairs(people, None, run.console)
    with run.progress:
        found = side_by_side.measure(choice, people, listed, acquired, scenes, run.progress)
    run.console.print(found.runtime)
    report.parity(run.console, found.cosines, found.landmarks, found.times)
    if found.detection:
        report.detection(run.console, found.detection, verbose=verbose)
    if found.verification:
        report.verification(run.console, found.verification, verbose=verbose)
    if found.identification:
        report.identification(run.console, found.identification, verbose=verbose)
    size = load_manifest(models).embedder(embedder)[1].bytes
    judged = bars.judge(found, compact=size < bars.COMPACT_BYTES)
    report.bars(run.console, judged)
    run.finish(found)
    if bars.missed(judged):
        raise typer.Exit(1)


@app.command("quality", epilog=EXAMPLE)
def quality_command(
    data_folder: Annotated[Path, typer.Option("--data", help="Holds lfw_dev/ or person/picture.")],
    json: Json = None,
    plot: Plot = None,
    cache: CacheDir = None,
    models: Models = None,
    detector: DetectorName = "",
    embedder: EmbedderName = "",
) -> None:
    """Show error versus discard: whether the quality measure knows which views will be missed."""
    choice = systems.Choice(models, detector, embedder)
    run = Run(choice, cache, json, plot)
    people = data.open_people(data_folder)
    tail = load_manifest(models).embedder(embedder)[1].impostor_tail
    with run.progress:
        plain = acquire.acquire(
            choice, systems.INT8, people.pictures, run.progress, cache=run.cache
        )
        worse = acquire.acquire(
            choice, systems.INT8, people.pictures, run.progress, cache=run.cache,
            change=degrade.hard, change_name="made worse",
        )  # fmt: skip
        _check({"as they are": plain, "made worse": worse})
        faces = discard.crowd_faces(
            choice.open(systems.INT8),
            list(run.progress.track(_crowds(data_folder, run.console), description="crowds")),
        )
    found = discard.QualityReport(
        discard.FRACTIONS.tolist(),
        [
            discard.curves(
                "pictures as they are", discard.genuine_pairs(people.pictures, plain, plain),
                tail, both=True,
            ),
            discard.curves(
                "made worse, against pictures as they are",
                discard.genuine_pairs(people.pictures, plain, worse), tail, both=False,
            ),
        ],
        len(worse.failed),
        discard.strangers(people.pictures, plain, faces),
    )  # fmt: skip
    report.quality(run.console, found)

    def draw(result: discard.QualityReport, target: Path) -> None:
        from evaluation import plots

        plots.discard(result, target)

    run.finish(found, draw)


@app.command("views", epilog=EXAMPLE)
def views_command(
    photo: Annotated[list[Path], typer.Argument(help="Photos of one person each.")],
    json: Json = None,
    models: Models = None,
    detector: DetectorName = "",
    embedder: EmbedderName = "",
) -> None:
    """Show what becomes of a photo turned, dark, small or blurred: used or refused, and why."""
    run = Run(systems.Choice(models, detector, embedder), None, json, None)
    system = run.choice.open(systems.INT8)
    shown = {str(path): views.show(system, path) for path in photo}
    for path, rows in shown.items():
        report.views(run.console, path, rows)
    run.finish(shown)


@app.command("thresholds", epilog=EXAMPLE)
def thresholds_command(
    json: Json = None,
    plot: Plot = None,
    models: Models = None,
    embedder: EmbedderName = "",
) -> None:
    """Show how the threshold rises with the list; from the manifest alone, without pictures."""
    run = Run(systems.Choice(models, embedder=embedder), None, json, plot)
    tail = load_manifest(models).embedder(embedder)[1].impostor_tail
    rows = knob.growth(tail, TARGETS)
    report.growth(run.console, rows, TARGETS)

    def draw(_: object, target: Path) -> None:
        from evaluation import plots

        plots.thresholds(tail, TARGETS, target)

    run.finish(rows, draw)
