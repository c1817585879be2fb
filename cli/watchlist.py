"""`./lethe watchlist`: enrol, sign, publish and revoke, for the owner of a list."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from cli import broker_options as options
from edge import limits
from edge.errors import ConfigError
from edge.protocol.watchlist import Area, Authorisation, Purpose
from edge.vision.engine import Vision
from fleet import publish as publishing
from fleet.enrol import enrol as embed
from fleet.owner import Owner, read_passphrase

app = typer.Typer(add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The owner's folder.", show_default=False)]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the owner's key.")
]


@app.callback()
def watchlist() -> None:
    """Enrol, sign, publish and revoke (for the owner of a list)."""


@app.command(
    epilog="""\b
Example:
  ./lethe watchlist init my-list --list-id gate --reference "court 12/2026" \\
      --purpose court-order --device gate-3 --valid-hours 72
"""
)
def init(
    folder: Folder,
    list_id: Annotated[str, typer.Option(help="Name of the list, as devices know it.")],
    reference: Annotated[str, typer.Option(help="The decision it rests on.")],
    purpose: Annotated[Purpose, typer.Option(help="What it is for.")],
    device: Annotated[list[str], typer.Option(help="A device that may use it; repeatable.")],
    valid_hours: Annotated[float, typer.Option(help="How long, from now.", min=0.01)] = 24.0,
    area: Annotated[
        str | None, typer.Option(metavar="LAT,LON,METRES", help="Where it may be used.")
    ] = None,
    profile: Annotated[str, typer.Option(help="fixed or body-worn.")] = "fixed",
    max_entries: Annotated[int, typer.Option(help="Most people it may hold.", min=1)] = 100,
    fpir_target: Annotated[
        float,
        typer.Option(
            help="Laxest false positive identification rate.", max=limits.FPIR_TARGET_LAXEST
        ),
    ] = limits.FPIR_TARGET_DEFAULT,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a folder with a signing key and an empty list."""
    if profile not in ("fixed", "body-worn"):
        raise ConfigError(f"profile is {profile!r}; it is fixed or body-worn")
    longest = limits.MAX_VALIDITY_FIXED_S if profile == "fixed" else limits.MAX_VALIDITY_BODY_WORN_S
    if valid_hours * 3600 > longest:
        raise ConfigError(
            f"{valid_hours:g} hours; devices refuse more than {longest / 3600:g} for {profile}"
        )
    now = int(time.time())
    owner = Owner.init(
        folder,
        list_id,
        Authorisation(
            reference=reference,
            purpose=purpose,
            not_before=now,
            not_after=now + int(valid_hours * 3600),
            area=_area(area),
            devices=device,
            profile="fixed" if profile == "fixed" else "body-worn",
            max_entries=max_entries,
            fpir_target=fpir_target,
        ),
        passphrase=(passphrase := read_passphrase(passphrase_file)),
    )
    typer.echo(f"{owner.folder}: list {list_id!r}, key owner.key, public key owner.pub")
    if passphrase is None:
        typer.echo(
            "The key is not encrypted; --passphrase-file protects it where others may read it."
        )


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist enrol my-list anna.jpg
  ./lethe watchlist enrol my-list front.jpg side.jpg --label anna --valid-days 2
"""
)
def enrol(
    folder: Folder,
    photos: Annotated[list[Path], typer.Argument(help="Photos of one person.")],
    label: Annotated[
        str | None, typer.Option(help="What you call the person; the first photo's name if not.")
    ] = None,
    valid_days: Annotated[
        float | None, typer.Option(help="How long; as long as the list if not given.", min=0.001)
    ] = None,
    largest: Annotated[
        bool, typer.Option("--largest", help="Take the largest of several faces.")
    ] = False,
) -> None:
    """Add a person from one or several photos. The label stays in the owner's folder."""
    owner = Owner(folder)
    vision = Vision.open()
    embeddings = embed(vision, photos, largest=largest)
    now = int(time.time())
    until = owner.owned.authorisation.not_after
    if valid_days is not None:
        until = int(min(until, now + valid_days * 86400))
    entry = owner.add(
        label or photos[0].stem,
        embeddings,
        embedder=vision.embedder_id,
        not_before=now,
        not_after=until,
    )
    typer.echo(f"{label or photos[0].stem}: entry {entry}, templates: {len(embeddings)}")


@app.command()
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Label, entry id or its beginning.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a person. Devices forget them when the list is published again."""
    owner = Owner(folder)
    found = owner.find(name)
    says = f"{found.label}: entry {found.entry.id}"
    if dry_run:
        typer.echo(f"would remove {says}")
        return
    if not yes:
        typer.confirm(f"remove {says}?", abort=True)
    owner.revoke(name)
    typer.echo(f"removed {says}; publish the list for devices to forget it")


@app.command("list")
def show(folder: Folder) -> None:
    """Show the list and its people."""
    owner = Owner(folder)
    owned, authorisation = owner.owned, owner.owned.authorisation
    console = Console(highlight=False, markup=False, emoji=False)  # labels are what they are
    console.print(
        f"list {owned.id}, last published version {owned.version or 'none'}\n"
        f"{authorisation.purpose}, {authorisation.reference}; until {_day(authorisation.not_after)}"
        f"; devices {', '.join(authorisation.devices)} ({authorisation.profile}); "
        f"{len(owned.entries)} of at most {authorisation.max_entries} entries"
    )
    table = Table("label", Column("entry", min_width=32), "templates", "until")
    for item in owned.entries:
        entry = item.entry
        table.add_row(item.label, entry.id, str(len(entry.templates)), _day(entry.not_after))
    console.print(table)


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist publish my-list
  ./lethe watchlist publish my-list --broker broker.example:8883 --ca-file ca.pem
"""
)
def publish(
    folder: Folder,
    broker: options.Broker = options.DEFAULT_BROKER,
    topic_root: options.TopicRoot = options.DEFAULT_ROOT,
    username: options.Username = None,
    password_file: options.PasswordFile = None,
    ca_file: options.CaFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be published.")
    ] = False,
) -> None:
    """Sign the next version of the list and publish it, retained."""
    settings = options.broker_config(broker, topic_root, username, password_file, ca_file)
    owner = Owner(folder)
    key = owner.key(read_passphrase(passphrase_file))
    if owner.owned.embedder:
        embedder, dimension = owner.owned.embedder, owner.owned.dimension
    else:
        vision = Vision.open()
        embedder, dimension = vision.embedder_id, vision.dimension
    make = owner.draft if dry_run else owner.issue
    watchlist = make(now=time.time(), embedder=embedder, dimension=dimension)
    message = publishing.seal(watchlist, key)
    says = (
        f"version {watchlist.version}, {len(watchlist.entries)} entries, "
        f"{len(message)} bytes, until {_day(watchlist.expires)}"
    )
    if dry_run:
        typer.echo(f"would publish {watchlist.id!r}: {says}")
        return
    topic = publishing.publish(message, watchlist.id, settings)
    typer.echo(f"{topic}: {says}")


def _area(text: str | None) -> Area | None:
    if text is None:
        return None
    try:
        latitude, longitude, radius = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"area {text!r}: write LAT,LON,METRES, as in 47.37,8.54,300") from error
    return Area(latitude=latitude, longitude=longitude, radius_m=radius)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
