"""`./lethe image`: the flashable image of a target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge.errors import BadInput
from firmware import base, build, configure, host, jetson, recipe
from firmware.process import Steps
from ota.keys import AUTHORITY_CERT

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Build flashable images.")

TARGETS = {
    "qemu": "qemu/recipe.toml",
    "raspberrypi4": "raspberrypi/pi4.toml",
    "raspberrypi5": "raspberrypi/pi5.toml",
}
CACHE = Path("/var/cache/lethe") if os.geteuid() == 0 else Path.home() / ".cache" / "lethe"


@app.callback()
def image() -> None:
    """Build flashable images."""


@app.command("build", epilog="Example: ./lethe image build qemu --keys build/ota-keys")
def build_command(
    target: Annotated[str, typer.Argument(help=f"One of {', '.join(TARGETS)}, jetson.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the image; build/image-TARGET if not given.")
    ] = None,
    keys: Annotated[
        Path, typer.Option(help="Folder with the update authority's certificate.")
    ] = Path("build/ota-keys"),
    cache: Annotated[Path, typer.Option(help="What the next build need not make again.")] = CACHE,
    mirror: Annotated[
        str, typer.Option(help="Debian mirror; one of snapshot.debian.org pins versions.")
    ] = "http://deb.debian.org/debian",
    security: Annotated[
        str, typer.Option(help="Mirror of Debian's security updates.")
    ] = "http://deb.debian.org/debian-security",
    version: Annotated[str, typer.Option(help="Version; the project's if not given.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder whose content goes onto the data partition.")
    ] = None,
    csi: Annotated[
        bool, typer.Option("--csi", help="For the board's own camera: its maker's kernel.")
    ] = False,
    csi_mirror: Annotated[str, typer.Option(help="Mirror of the maker's archive.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be fetched from where.")
    ] = False,
) -> None:
    """Build an image from Debian's packages, unattended. Nothing is fetched at its first boot."""
    if target not in (*TARGETS, "jetson"):
        raise BadInput(f"{target}: not a target; one of {', '.join(TARGETS)}, jetson")
    folder = out or Path("build") / f"image-{target}"
    options = build.Options(
        archive=base.Archive(mirror, security),
        epoch=build.source_epoch(),
        keyring=keys / AUTHORITY_CERT,
        out=folder.resolve(),
        cache=cache.resolve(),
        version=version,
        data=data,
    )
    if target == "jetson":
        for made in jetson.build(options, Steps(folder / "build.log")):
            typer.echo(f"{made}: docs/flashing.md says what to do with it (never run on a board)")
        return
    chosen = recipe.load(recipe.HERE / TARGETS[target])
    if csi:
        chosen = recipe.with_csi(chosen, csi_mirror)
    if dry_run:
        typer.echo("\n".join(base.describe(chosen, options.archive)))
        return
    steps = Steps(folder / "build.log")
    record = build.build(chosen, options, steps)
    table = Table("largest in the root file system", "MB", box=None)
    for name, size in record.largest:
        table.add_row(name, f"{size / 1e6:.1f}")
    table.add_row("all of it", f"{record.content_bytes / 1e6:.1f}", style="bold")
    Console(stderr=True).print(table)
    if chosen.not_run:
        typer.echo(f"not yet run on hardware: {chosen.not_run}", err=True)
    typer.echo(f"{folder}/lethe-{target}.img, version {record.version}, build {record.build_id}")


@app.command(
    "configure",
    epilog="""\b
Example:
  ./lethe authority invite my-authority gate-3 --template site.toml --fleet my-fleet \\
      --out lethe.toml
  ./lethe image configure build/image-raspberrypi4/lethe-raspberrypi4.img lethe.toml
""",
)
def configure_command(
    image: Annotated[Path, typer.Argument(help="Image from `image build`, or a flashed card.")],
    file: Annotated[Path, typer.Argument(help="The device's lethe.toml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the file as the device will.")
    ] = False,
) -> None:
    """Put a device's lethe.toml into an image, checked as the device will check it."""
    if dry_run:
        plan = configure.check(file)
    else:
        host.need(Steps(Path("build") / "configure.log"), configure.TOOLS)
        plan = configure.configure(image, file)
    device, broker = plan.config.device.id, plan.config.broker
    how = "enrols itself" if plan.enrol.token else "its request is carried by hand: no token"
    typer.echo(
        f"{'would be in' if dry_run else 'in'} {image}: {device}, broker "
        f"{broker.host}:{broker.port}; {how}"
    )
