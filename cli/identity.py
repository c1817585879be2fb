"""`./lethe identity`: the keys of a device, for its fleet to register."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import config as configuration
from edge.files import private_folder
from edge.identity import REGISTRATION, registration

app = typer.Typer(add_completion=False)


@app.command(
    epilog="""\b
Example:
  ./lethe identity --config lethe.toml
"""
)
def identity(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration, see docs/configuration.md.")
    ],
) -> None:
    """Make this device's keys, if there are none yet, and say which file the fleet registers."""
    settings = configuration.load(config)
    state = private_folder(Path(settings.device.state_dir))
    made = registration(state, settings.device.id)
    typer.echo(
        f"{state / REGISTRATION}: public keys of {made.name}, signs with "
        f"{made.sign.keyval['public'][:16]}…\n"
        f"On the fleet's machine: ./lethe fleet device add FLEET {REGISTRATION}"
    )
