"""`./lethe deb`: the Debian package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.image import CACHE
from edge.errors import BadInput
from firmware import deb
from firmware.build import source_epoch
from firmware.host import need
from firmware.process import Steps

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: ./lethe deb --release trixie --architecture arm64")
def build(
    release: Annotated[str, typer.Option(help=f"One of {', '.join(deb.RELEASES)}.")] = "trixie",
    architecture: Annotated[str, typer.Option(help="amd64 or arm64.")] = "arm64",
    out: Annotated[Path, typer.Option(help="Folder for the package.")] = Path("build"),
    cache: Annotated[Path, typer.Option(help="What the next build need not fetch again.")] = CACHE,
) -> None:
    """Build the application as a Debian package with systemd units.

    Install it with `apt install ./build/lethe_….deb`, then write /etc/lethe/lethe.toml.
    """
    if release not in deb.RELEASES or architecture not in deb.MACHINES:
        choices = f"{', '.join(deb.RELEASES)}; {', '.join(deb.MACHINES)}"
        raise BadInput(f"{release}, {architecture}: not known; one of {choices}")
    steps = Steps(out / "deb.log")
    need(steps, {"dpkg-deb": "dpkg"})
    package = deb.build(
        out, cache, steps, release=release, architecture=architecture, epoch=source_epoch()
    )
    typer.echo(f"{package}: {package.stat().st_size / 1e6:.0f} MB")
