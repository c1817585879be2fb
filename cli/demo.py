"""`./lethe demo`: the whole chain at work, on a made-up scene or on one's own source."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.event_text import worded
from demo import scene
from demo.stage import Outcome, Play, perform
from edge.camera.open import open_camera
from edge.config import CameraConfig
from edge.errors import ConfigError

app = typer.Typer(add_completion=False)

OUT = Path(__file__).resolve().parents[1] / "demo" / "out"

EXAMPLE = """\b
Examples:
  ./lethe demo
  ./lethe demo --camera clip.mp4 --enrol anna.jpg --enrol ben.jpg
  ./lethe demo --camera /dev/video0 --enrol anna.jpg --seconds 30
"""


@app.command(epilog=EXAMPLE)
def demo(
    camera: Annotated[
        str | None,
        typer.Option(help="Your own source: clip, folder, /dev/videoN, rtsp://…, picamera2."),
    ] = None,
    enrol: Annotated[
        list[Path] | None, typer.Option(help="Photo of a person to look for; repeatable.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="End a live source after so long; 0: on Ctrl-C.", min=0)
    ] = 0.0,
    out: Annotated[Path, typer.Option(help="Folder for the annotated clip.")] = OUT,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary to this file.")
    ] = None,
) -> None:
    """Show it at work: enrol, publish, watch, receive. Needs no camera, broker or key.

    Without options it plays a synthetic scene of two portraits, one of whom is enrolled, and ends
    with 0 only if exactly that one was reported.
    """
    if (camera is None) != (enrol is None):
        raise ConfigError("--camera and --enrol belong together: a source, and whom to look for")
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="lethe-demo-") as name:
        folder = Path(name)
        if camera is None:
            console.print(f"[bold]Lethe[/] demonstration: {scene.NOTE}", soft_wrap=True)
            console.print("drawing the scene …")
            scene.write(folder / "scene.mp4")
            source, photos, title = str(folder / "scene.mp4"), [scene.ENROLLED], "demo"
        else:
            source = _absolute(camera)
            photos = [path.absolute() for path in enrol or []]
            title = Path(camera).stem or "demo"
        outcome = _perform(console, source, photos, out.absolute(), title, seconds, folder)
    _summarise(console, outcome, json_file, synthetic=camera is None)
    if camera is None:
        reported = {match["label"] for match in outcome.matches}
        if reported != set(outcome.labels.values()) or outcome.untrusted:
            console.print("[red]not exactly the enrolled person was reported[/]")
            raise typer.Exit(1)
        console.print("[green]exactly the enrolled person was reported[/]; the other was forgotten")


def _perform(
    console: Console,
    source: str,
    photos: list[Path],
    out: Path,
    title: str,
    seconds: float,
    folder: Path,
) -> Outcome:
    total, fps = _length(source)
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("watching"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)

        def say(text: str) -> None:
            console.print(text, soft_wrap=True, markup=False)

        play = Play(
            source=source,
            photos=photos,
            out=out,
            name=title,
            fps=fps,
            seconds=seconds,
            on_event=lambda received, labels: console.print(
                worded(received, labels), soft_wrap=True
            ),
            on_frames=lambda frames: progress.update(task, completed=frames),
            say=say,
        )
        return perform(play, folder)


def _length(source: str) -> tuple[int | None, float]:
    """Return the number of frames of a file, and its rate; opened as the device will."""
    if source.startswith(("rtsp", "picamera2", "/dev/")):
        return None, 25.0
    camera = open_camera(CameraConfig(source=source))
    declared = getattr(camera, "declared", None)
    camera.close()
    return declared or None, camera.fps


def _absolute(camera: str) -> str:
    if "://" in camera or camera.startswith(("picamera2", "/dev/")):
        return camera
    return str(Path(camera).absolute())


def _summarise(
    console: Console, outcome: Outcome, json_file: Path | None, *, synthetic: bool
) -> None:
    figures: dict[str, Any] = outcome.figures
    pictures = figures.pop("pictures")
    source, candidates = figures.pop("source"), figures.pop("candidates")
    if source != "ok":
        console.print(f"source: {source}", markup=False)
    if candidates != len(outcome.matches):
        console.print(f"[red]{candidates} reports were sent, {len(outcome.matches)} arrived[/]")
    console.print(
        f"[bold]{figures['frames']}[/] frames, {figures['faces']} faces, {figures['tracks']} "
        f"tracks, {figures['embeddings']} embeddings, [bold]{len(outcome.matches)}[/] matches, "
        f"{figures['upstream_bytes']} bytes upstream; {figures['cpu_seconds']} s of processor "
        f"time, {figures['peak_rss_mb']} MB",
        soft_wrap=True,
    )
    for match in outcome.matches:
        console.print(
            f"  {match['label']}: score {match['score']:.2f} of {match['threshold']:.2f}, frames "
            f"{match['first_frame']} to {match['last_frame']}",
            soft_wrap=True,
        )
    for path in pictures:
        console.print(f"annotated: {path}", soft_wrap=True, markup=False)
    if json_file is not None:
        summary = {
            **figures,
            "matches": outcome.matches,
            "refused": outcome.refused,
            "synthetic": synthetic,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
