"""`./lethe run`: the device."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

# What numpy multiplies here is small: the threads of its BLAS would only be in the way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

from edge import config as configuration
from edge import limits
from edge.app import Device
from edge.ending import begin_again, begin_again_within, when_asked_to_end
from edge.errors import LetheError
from edge.settings.keeper import Configuration

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
    local = configuration.load(config, source=source)
    pinned = frozenset({"camera.source"}) if source else frozenset[str]()
    settings = Configuration(local, pinned=pinned)
    logging.basicConfig(
        level=settings.config.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        device = Device(settings, on_restart=lambda: begin_again_within(limits.CONFIG_RESTART_S))
        when_asked_to_end(device.stop)
        report = device.run()
    except Exception as error:
        expected = isinstance(error, LetheError)
        if not settings.go_back(str(error) if expected else f"{type(error).__name__}: {error}"):
            raise
        if not expected:
            logging.getLogger(__name__).exception("the configuration on trial does not work")
        begin_again()
    if report.again:
        begin_again()
    # How many faces there were stays here: what goes to stderr, a journal keeps.
    typer.echo(
        f"{report.counters.frames} frames, {report.sent_bytes} bytes upstream; "
        f"source: {report.source}",
        err=True,
    )
