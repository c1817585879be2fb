"""`./lethe bench`: what Lethe costs, beside peers, in one run."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import typer
from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.environments import ROOT, environment
from edge.errors import ConfigError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
CACHE = ROOT / "build" / "peer"
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write all figures to this file, for machines.")
]
Data = Annotated[Path, typer.Option(exists=True, file_okay=False, help="The research data.")]


@app.command(
    epilog="""\b
Examples:
  ./lethe bench pipeline --video clip.mp4 --enrol anna.jpg
  ./lethe bench pipeline --video clip.mp4 --enrol anna.jpg --peer opencv --runs 5
  ./lethe bench pipeline --video clip.mp4 --peer opencv --still 3000
"""
)
def pipeline(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Clip to watch.")],
    enrol: Annotated[list[Path] | None, typer.Option(exists=True, help="Photo to enrol.")] = None,
    peer: Annotated[str, typer.Option(help="'opencv': measure the usual pipeline, too.")] = "",
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each side.")] = 5,
    width: Annotated[int, typer.Option(help="Width of the picture that the peer looks at.")] = 640,
    weights: Annotated[list[str], typer.Option(help="Of the peer: float, block.")] = ["float"],  # noqa: B006
    still: Annotated[
        int, typer.Option(min=0, help="Repeat the clip's first frame so often, with noise.")
    ] = 0,
    every: Annotated[bool, typer.Option(help="Measure Lethe without its savings, too.")] = False,
    entries: Annotated[
        int, typer.Option(min=0, max=10_000, help="Length of Lethe's list, filled with strangers.")
    ] = 0,
    json_file: JsonFile = None,
) -> None:
    """Run the whole device, and a peer, alternately; compare cost and who was found."""
    from benchmarks import pipeline as bench

    with tempfile.TemporaryDirectory() as folder:
        if still:
            video = bench.still(video, still, Path(folder) / f"{video.stem}-still.mp4")
        clip = bench.Clip.open(video, enrol or [])
        sides = [bench.Side("Lethe", lambda: bench.lethe(clip, entries=entries))]
        if every:
            side = partial(bench.lethe, clip, every=True, entries=entries)
            sides.append(bench.Side("Lethe, every frame", side))
        if peer:
            sides += _peers(bench, peer, clip, weights, width)
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("measuring", total=runs * len(sides))
            bench.alternate(sides, runs, lambda: progress.advance(bar))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    base = next((s for s in sides if s.name == "OpenCV, float"), None)
    document: dict[str, Any] = {
        "clip": video.name,
        "seconds": clip.seconds,
        "sides": {s.name: _figures(bench, clip, s, base) for s in sides},
    }
    _print(console, document)
    _keep(document, json_file)


def _peers(bench: Any, peer: str, clip: Any, weights: list[str], width: int) -> list[Any]:  # noqa: ANN401
    if peer != "opencv":
        raise typer.BadParameter("the only peer is 'opencv'", param_hint="--peer")
    python = _peer_python()
    return [
        bench.Side(f"OpenCV, {kind}", partial(bench.peer, clip, python, CACHE, kind, width))
        for kind in weights
    ]


def _peer_python() -> Path:
    lock = ROOT / "requirements" / "models.txt"
    return environment("peer", lock, "OpenCV's pipeline to measure against")


def _keep(document: dict[str, Any], file: Path | None) -> None:
    if file:
        file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _figures(bench: Any, clip: Any, side: Any, base: Any) -> dict[str, Any]:  # noqa: ANN401
    first = side.runs[0]
    tracks = first.figures.get("embeddings_per_track")
    return {
        "cpu_per_second": side.median(lambda r: r.cpu) / clip.seconds,
        "cpu_seconds": [round(r.cpu, 3) for r in side.runs],
        "ratio": statistics.median(a.cpu / b.cpu for a, b in zip(side.runs, base.runs, strict=True))
        if base
        else None,
        "embeddings": first.figures["embeddings"],
        "embeddings_per_track": statistics.median(tracks) if tracks else None,
        "peak_rss_mb": side.median(lambda r: r.figures["peak_rss_mb"]),
        "people": bench.judged(clip, first),
        "found_at": first.found,
    }


def _print(console: Console, document: dict[str, Any]) -> None:
    table = Table(
        "", "CPU s / s of video", "/ OpenCV float", "embeddings", "a track", "peak MB", "people",
        box=box.SIMPLE,
    )  # fmt: skip
    for name, side in document["sides"].items():
        table.add_row(
            name,
            f"{side['cpu_per_second']:.3f}",
            f"{side['ratio']:.3f}" if side["ratio"] else "–",
            str(side["embeddings"]),
            f"{side['embeddings_per_track']:g}" if side["embeddings_per_track"] else "–",
            f"{side['peak_rss_mb']:.0f}",
            "\n".join(f"{person}: {says}" for person, says in side["people"].items()),
        )
    console.print(f"{document['clip']}, {document['seconds']:.1f} s; medians")
    console.print(table)


@app.command(
    epilog="""\b
Examples:
  ./lethe bench live --video clip.mp4 --enrol anna.jpg --seconds 600
"""
)
def live(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Clip to play.")],
    enrol: Annotated[list[Path] | None, typer.Option(exists=True, help="Photo to enrol.")] = None,
    person: Annotated[str, typer.Option(help="Enrol this person of the clip's truth, too.")] = "",
    seconds: Annotated[float, typer.Option(min=10, help="How long.")] = 600.0,
    fps: Annotated[float, typer.Option(min=1, max=120)] = 25.0,
    json_file: JsonFile = None,
) -> None:
    """Play a clip as a camera would, over and over: frames dropped, delay of the events."""
    from benchmarks import pipeline as bench

    with tempfile.TemporaryDirectory() as folder:
        clip = bench.Clip.open(video, enrol or [])
        if person:
            photo = bench.cut_person(clip, person, Path(folder) / f"{person}.png")
            clip = bench.Clip.open(video, [*clip.photos, photo])
        run = bench.lethe(dataclasses.replace(clip, fps=fps), live_seconds=seconds)
    figures = run.figures
    document = {
        "seconds": seconds,
        "load": os.getloadavg(),
        "frames": figures["frames"],
        "dropped": figures["dropped"],
        "minutes": figures["minutes"],
        "waiting_at_end": figures["waiting"],
        "cpu_per_second": run.cpu / seconds,
        "events": len(run.delays),
        "delay_frames_median": statistics.median(run.delays) * fps if run.delays else None,
        "delays_s": [round(delay, 4) for delay in run.delays],
        "peak_rss_mb": figures["peak_rss_mb"],
    }
    table = Table("minute", "frames", "dropped", box=box.SIMPLE)
    before = (0.0, 0, 0)
    for number, now in enumerate(figures["minutes"], 1):
        table.add_row(str(number), str(now[1] - before[1]), str(now[2] - before[2]))
        before = now
    console = Console(highlight=False)
    console.print(table)
    half = len(run.delays) // 2
    for name, delays in (("first half", run.delays[:half]), ("second half", run.delays[half:])):
        if delays:
            median = statistics.median(delays)
            console.print(f"{name}: {len(delays)} events, median {median * fps:.2f} frame periods")
    console.print(
        f"{document['cpu_per_second']:.2f} CPU s a second, peak {document['peak_rss_mb']:.0f} MB, "
        f"{document['waiting_at_end']} events left waiting, load {document['load'][1]:.1f}"
    )
    _keep(document, json_file)


@app.command()
def hundred(
    data: Data = ROOT.parent / "shared" / "data",
    detector: Annotated[str, typer.Option(help="'crowd': that for small faces.")] = "crowd",
) -> None:
    """Find a hundred faces in one picture, beside a hundred separate runs of the peer."""
    from benchmarks import hundred as bench
    from benchmarks import pipeline
    from edge.vision.engine import Vision

    faces = bench.tiles(data)
    crowd = bench.watch(bench.picture(faces), Vision.open(detector=detector, threads=1))
    with tempfile.TemporaryDirectory() as folder:
        for number, face in enumerate(faces):
            cv2.imwrite(f"{folder}/{number:03d}.png", face)
        clip = pipeline.Clip.open(Path(folder) / "%03d.png", [])
        usual = pipeline.peer(clip, _peer_python(), CACHE, "float", bench.TILE)
    table = Table("", "faces found", "embedded", "embeddings", "CPU s", box=box.SIMPLE)
    table.add_row(
        f"Lethe, one picture, {bench.FRAMES} frames of it",
        f"{crowd.found} of {bench.FACES}, {crowd.elsewhere} elsewhere",
        str(crowd.embedded), str(crowd.embeddings), f"{crowd.cpu:.2f}",
    )  # fmt: skip
    found = usual.figures["embeddings"]
    table.add_row(
        "OpenCV, float, 100 pictures once", str(found), str(found), str(found), f"{usual.cpu:.2f}"
    )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"the narrowest face is {crowd.narrowest:.0f} pixels wide")


@app.command(
    epilog="""\b
Examples:
  ./lethe bench ablation
  ./lethe bench ablation --clip stage_360p --variant "all savings" --variant "no coarse looks"
"""
)
def ablation(
    data: Data = ROOT.parent / "shared" / "data",
    variant: Annotated[list[str] | None, typer.Option(help="Only this; all if none.")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Only this; all if none.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Switch off each saving alone: what it saves, and whom it costs."""
    from benchmarks import ablation as bench
    from edge.vision.engine import Vision

    known = {each.name: each for each in bench.VARIANTS}
    variants = _chosen(known, variant, "--variant")
    clips = _chosen({name: name for name in bench.CLIPS}, clip, "--clip")

    cv2.setNumThreads(1)
    table = Table(
        "", *(f"CPU s: {name.partition('_')[0]}" for name in clips), "ratio", "looks",
        "tracks", "embeddings", "found", "wrong", box=box.SIMPLE,
    )  # fmt: skip
    document, base = {}, 0.0
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("measuring", total=len(variants))
        for each, result in bench.measure(data, Vision.open(threads=1), variants, clips):
            total = sum(result.cpu.values())
            base = base or total
            counters, missed = result.counters, sorted(set(result.there) - set(result.found))
            table.add_row(
                each.name, *(f"{result.cpu[name]:.2f}" for name in clips),
                f"{total / base:.2f}", str(counters.looks), str(counters.tracks),
                str(counters.embeddings),
                f"{len(result.found)} of {len(result.there)}"
                + (f", not {', '.join(missed)}" if missed else ""), str(result.wrong),
            )  # fmt: skip
            document[each.name] = msgspec.to_builtins(result)
            _keep(document, json_file)  # it takes minutes: what is measured is not lost
            progress.advance(bar)
    Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(table)


def _chosen(known: dict[str, Any], names: list[str] | None, option: str) -> list[Any]:
    if strange := set(names or ()) - set(known):
        says = f"{', '.join(strange)}: it may be one of {', '.join(known)}"
        raise typer.BadParameter(says, param_hint=option)
    return [known[name] for name in names or known]


_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],  # also --help is the benchmark's own
}


@app.command(context_settings=_PASSED_ON)
def search(context: typer.Context) -> None:
    """Measure the index beside numpy: processor time, recall, bytes; --help says what it takes."""
    _run("benchmarks.search", context.args)


@app.command(context_settings=_PASSED_ON)
def sync(context: typer.Context) -> None:
    """Bring a list over the broker: bytes on the wire and time; --help says what it takes."""
    _run("benchmarks.sync", context.args)


@app.command(context_settings=_PASSED_ON)
def scale(context: typer.Context) -> None:
    """Bring a list to many devices through one mosquitto; --help says what it takes."""
    _run("benchmarks.scale", context.args)


@app.command()
def stages(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Clip to watch.")],
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Show where a frame's processor time goes: native code by stage, and the Python around it."""
    from benchmarks import sampled
    from benchmarks.stages import measure, watch
    from edge.vision.engine import Vision
    from edge.vision.pace import Pace

    eye = Vision.open(threads=1)
    measured = measure(video, eye, Pace())
    try:
        owners = sampled.shares(lambda: watch(video, eye, Pace()))
    except ConfigError as error:
        owners = {}
        typer.echo(f"lethe: {error}", err=True)
    table = Table("stage", "ms a frame", "share", "", box=box.SIMPLE, title=video.name)
    rest = measured.total - sum(measured.native.values())
    shares = {}
    for stage, seconds in (*measured.native.items(), ("Python and numpy", rest)):
        share = shares[stage] = seconds / measured.total
        table.add_row(
            stage, f"{1000 * seconds / measured.frames:.3f}", f"{share:.1%}",
            Bar(1.0, 0.0, share, width=40),
        )  # fmt: skip
    by_owner = Table("whose code", "share", "", box=box.SIMPLE, title="sampled, without stopwatch")
    for owner, share in owners.items():
        by_owner.add_row(owner, f"{share:.1%}", Bar(1.0, 0.0, share, width=40))
    console = Console(highlight=False, record=svg is not None)
    console.print(table)
    if owners:
        console.print(by_owner)
    if svg:
        console.save_svg(str(svg), title="processor time by stage")
    _keep({"clip": video.name, "ms_a_frame": 1000 * measured.total / measured.frames,
           "shares": shares, "owners": owners}, json_file)  # fmt: skip


@app.command()
def startup(
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each side.")] = 5,
) -> None:
    """Time to the first judged frame, beside importing the libraries and loading the models."""
    from benchmarks import startup as bench

    bench.compare(runs, Console(highlight=False))


def _run(module: str, arguments: list[str]) -> None:
    """Run a benchmark as `python -m` would, in this process."""
    sys.argv = [f"./lethe bench {module.rpartition('.')[2]}", *arguments]
    runpy.run_module(module, run_name="__main__")
