"""`./lethe bench`: what Lethe costs, beside peers, in one run."""

from __future__ import annotations

import json
import runpy
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.environments import ROOT, environment

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
CACHE = ROOT / "build" / "peer"


@app.command(
    epilog="""\b
Examples:
  ./lethe bench pipeline --video clip.mp4 --enrol anna.jpg
  ./lethe bench pipeline --video clip.mp4 --enrol anna.jpg --peer opencv --runs 5
  ./lethe bench pipeline --video clip.mp4 --live 60
"""
)
def pipeline(
    video: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Clip to watch.")],
    enrol: Annotated[list[Path] | None, typer.Option(exists=True, help="Photo to enrol.")] = None,
    peer: Annotated[str, typer.Option(help="'opencv': measure the usual pipeline, too.")] = "",
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each side.")] = 5,
    width: Annotated[int, typer.Option(help="Width of the picture that the peer looks at.")] = 640,
    live: Annotated[
        float, typer.Option(min=0, help="Also play it as a camera would, for so many seconds.")
    ] = 0.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file.")
    ] = None,
) -> None:
    """Run the whole device, and a peer, alternately; compare cost and who was found."""
    from benchmarks import pipeline as bench

    clip = bench.Clip.open(video, enrol or [])
    sides = [
        bench.Side("Lethe", lambda: bench.lethe(clip)),
        bench.Side("Lethe, every frame", lambda: bench.lethe(clip, every=True)),
    ]
    if peer:
        if peer != "opencv":
            raise typer.BadParameter("the only peer is 'opencv'", param_hint="--peer")
        python = environment(
            "peer", ROOT / "requirements" / "models.txt", "OpenCV's pipeline to measure against"
        )
        for weights in ("float", "block"):
            usual = partial(bench.peer, clip, python, CACHE, weights, width)
            sides.append(bench.Side(f"OpenCV, {weights}", usual))
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
    if live:
        run = bench.lethe(clip, live_seconds=live)
        document["live"] = _live(run, clip.fps, live)
        console.print(document["live"])
    if json_file:
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


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


def _live(run: Any, fps: float, seconds: float) -> dict[str, Any]:  # noqa: ANN401
    return {
        "seconds": seconds,
        "frames": run.figures["frames"],
        "dropped": run.figures["dropped"],
        "cpu_per_second": run.cpu / seconds,
        "events": len(run.delays),
        "delay_frames_median": statistics.median(run.delays) * fps if run.delays else None,
        "peak_rss_mb": run.figures["peak_rss_mb"],
    }


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
) -> None:
    """Show where a frame's processor time goes: native code by stage, and the Python around it."""
    from benchmarks.stages import measure
    from edge.vision.engine import Vision
    from edge.vision.pace import Pace

    measured = measure(video, Vision.open(threads=1), Pace())
    table = Table("stage", "ms a frame", "share", box=box.SIMPLE)
    rest = measured.total - sum(measured.native.values())
    for stage, seconds in (*measured.native.items(), ("Python and numpy", rest)):
        table.add_row(
            stage, f"{1000 * seconds / measured.frames:.3f}", f"{seconds / measured.total:.1%}"
        )
    Console(highlight=False).print(table)


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
