"""`./lethe selftest`: whether this version does its job on this device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import config as configuration
from edge.health import doctor, selftest
from edge.health.finding import Finding
from edge.vision.engine import Vision

EXAMPLE = """\b
Examples:
  ./lethe selftest
  ./lethe selftest --config lethe.toml --state state --patience 300
"""

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLE)
def run(
    config: Annotated[
        Path | None,
        typer.Option(help="Also compare what this configuration names; skipped if not there yet."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Folder for the verdict, and for the last good one to compare with."),
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds in which what got worse may get well.", min=0, max=3600)
    ] = 0.0,
) -> None:
    """Recognise one of two people in built-in pictures with the real models. Exit code 1: failed.

    After an update the device runs this before it keeps the new version.
    """
    before = selftest.read_verdict(state / "good.json") if state else None
    configured = config if config and config.exists() else None

    def examine() -> list[Finding]:
        return list(doctor.examine(configured))

    verdict = selftest.judge(
        lambda: _open(configured),
        selftest.PORTRAITS,
        examine if configured else None,
        before,
        patience=patience,
    )
    if state:
        selftest.keep_verdict(state / "verdict.json", verdict)
        if verdict.passed:
            selftest.keep_verdict(state / "good.json", verdict)
    for reason in verdict.reasons:
        typer.echo(f"lethe selftest: {reason}", err=True)
    if not verdict.passed:
        raise typer.Exit(1)
    typer.echo(f"self-test passed in {verdict.seconds:.1f} s, version {verdict.version}")


def _open(config: Path | None) -> Vision:
    """Load the models as the device would."""
    if config is None:
        return Vision.open()
    vision = configuration.load(config).vision
    folder = Path(vision.models_dir) if vision.models_dir else None
    return Vision.open(folder, vision.detector, vision.embedder, vision.threads)
