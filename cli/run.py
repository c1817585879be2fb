"""`./lethe run`: the device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from edge import config as configuration
from edge.app import Device
from edge.ending import when_asked_to_end

app = typer.Typer(add_completion=False)

EXAMPLE = """\b
Examples:
  ./lethe run --config lethe.toml
  ./lethe run --config lethe.toml --source clip.mp4
"""


@app.command(epilog=EXAMPLE)
def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration, see docs/configuration.md.")
    ],
    source: Annotated[str | None, typer.Option(help="Watch this instead of camera.source.")] = None,
) -> None:
    """Run the device: camera, watchlist, events. Ends on SIGTERM, Ctrl-C, or at a file's end."""
    settings = configuration.load(config, source=source)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    device = Device(settings)
    when_asked_to_end(device.stop)
    report = device.run()
    # How many faces there were stays here: what goes to stderr, a journal keeps.
    typer.echo(
        f"{report.counters.frames} frames, {report.sent_bytes} bytes upstream; "
        f"source: {report.source}",
        err=True,
    )
