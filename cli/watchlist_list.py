"""The commands of `./lethe watchlist` that say who is on a list, and on what ground."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from cli.watchlist_show import day
from edge import limits
from edge.errors import ConfigError
from edge.protocol.watchlist import Area, Authorisation, Purpose
from edge.vision.engine import Vision
from fleet import lists
from fleet.enrol import enrol as embed
from fleet.keys import make_signer, read_party, read_passphrase
from fleet.owner import Owner

app = typer.Typer(add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The owner's folder.", show_default=False)]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the keys that are here.")
]
AreaOption = Annotated[
    str | None, typer.Option(metavar="LAT,LON,METRES", help="Where it may be used.")
]


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist init my-list --fleet my-fleet --list-id gate --reference "court 12/2026" \\
      --purpose court-order --device gate-3 --valid-hours 72
  ./lethe watchlist init my-list --list-id gate --reference "court 12/2026" --purpose court-order \\
      --device gate-3 --signer anna/signer.json --signer ben/signer.json --threshold 2
"""
)
def init(
    folder: Folder,
    list_id: Annotated[
        str, typer.Option(help="Name of the list. The broker sees it: let it say nothing.")
    ],
    reference: Annotated[str, typer.Option(help="The decision it rests on.")],
    purpose: Annotated[Purpose, typer.Option(help="What it is for.")],
    device: Annotated[list[str], typer.Option(help="A device that may use it; repeatable.")],
    fleet: Annotated[
        Path | None, typer.Option(help="The fleet's folder, if it is on this machine.")
    ] = None,
    signer: Annotated[
        list[Path] | None,
        typer.Option(help="signer.json of a person who signs; repeatable. Three are made if none."),
    ] = None,
    threshold: Annotated[int, typer.Option(help="How many must sign.", min=1)] = lists.THRESHOLD,
    valid_hours: Annotated[float, typer.Option(help="How long, from now.", min=0.01)] = 24.0,
    area: AreaOption = None,
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
    """Make a folder with an empty list, and say who signs it."""
    if profile not in ("fixed", "body-worn"):
        raise ConfigError(f"profile is {profile!r}; it is fixed or body-worn")
    if profile == "body-worn" and area is None:
        raise ConfigError("--area is missing: devices refuse a body-worn list that names none")
    now = int(time.time())
    authorisation = Authorisation(
        reference=reference,
        purpose=purpose,
        not_before=now,
        not_after=_end(now, valid_hours, profile),
        area=_area(area),
        devices=device,
        profile="fixed" if profile == "fixed" else "body-worn",
        max_entries=max_entries,
        fpir_target=fpir_target,
    )
    owner = lists.begin(
        folder,
        list_id,
        authorisation,
        fleet=fleet,
        signers=[read_party(file) for file in signer or []],
        threshold=threshold,
        passphrase=(passphrase := read_passphrase(passphrase_file)),
    )
    names = ", ".join(signer.name for signer in owner.owned.signers)
    typer.echo(f"{folder}: list {list_id!r}; {owner.owned.threshold} of {names} sign it")
    if not signer:
        typer.echo(
            f"Their keys are all in {folder / 'signers'}: give each to another person, and keep one"
            + ("" if passphrase else "; they are not encrypted (--passphrase-file)")
        )
    if fleet is None:
        typer.echo(
            f"The fleet's operator has to run: ./lethe fleet list add FLEET {list_id} "
            + " ".join(f"--signer {name}.json" for name in names.split(", "))
            + f" --threshold {owner.owned.threshold}"
        )


@app.command(
    epilog="""\b
Example:
  ./lethe watchlist signer anna --passphrase-file secret
"""
)
def signer(
    folder: Annotated[Path, typer.Argument(help="Made, with the keys of one person in it.")],
    name: Annotated[
        str | None, typer.Option(help="What the person is called; the folder's name if not.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the keys of a person who signs lists, on that person's machine."""
    made = make_signer(folder, name or folder.name, read_passphrase(passphrase_file))
    typer.echo(f"{folder}: keys of {made.name}; give the owner {folder / 'signer.json'}")


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
    """Add a person from one or several photos. The label stays with those who sign."""
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


@app.command(
    epilog="""\b
Example:
  ./lethe watchlist authorise my-list --reference "court 19/2026" --valid-hours 72
"""
)
def authorise(
    folder: Folder,
    reference: Annotated[str, typer.Option(help="The decision it rests on from now on.")],
    valid_hours: Annotated[float, typer.Option(help="How long, from now.", min=0.01)] = 24.0,
    purpose: Annotated[
        Purpose | None, typer.Option(help="What it is for, if that changes.")
    ] = None,
    area: AreaOption = None,
    max_entries: Annotated[
        int | None, typer.Option(help="Most people it may hold, if that changes.", min=1)
    ] = None,
) -> None:
    """Put the list on a new ground, for a new time. Its signers have to sign that."""
    owner = Owner(folder)
    before, now = owner.owned.authorisation, int(time.time())
    changed = msgspec.structs.replace(
        before,
        reference=reference,
        not_before=now,
        not_after=_end(now, valid_hours, before.profile),
        purpose=purpose or before.purpose,
        area=_area(area) or before.area,
        max_entries=max_entries or before.max_entries,
    )
    owner.authorise(changed)
    typer.echo(
        f"{folder}: {changed.purpose}, {reference}, until {day(changed.not_after)}; "
        "in force once it is published"
    )


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist device my-list --add gate-4
  ./lethe watchlist device my-list --remove gate-3 && ./lethe watchlist publish my-list
"""
)
def device(
    folder: Folder,
    add: Annotated[list[str] | None, typer.Option(help="May use the list from now on.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="May not any more.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
) -> None:
    """Let devices use the list, or not any more: then it is encrypted anew, under a new key."""
    owner = Owner(folder)
    before = owner.owned.authorisation
    unknown = set(remove or []) - set(before.devices)
    if unknown:
        raise ConfigError(f"not on the list: {', '.join(sorted(unknown))}")
    left = [name for name in before.devices if name not in (remove or [])]
    left += [name for name in dict.fromkeys(add or []) if name not in left]
    says = f"devices {', '.join(left) or 'none'}" + ("; a new key" if remove else "")
    if dry_run:
        typer.echo(f"would be: {says}")
        return
    owner.authorise(msgspec.structs.replace(before, devices=left), new_key=bool(remove))
    typer.echo(f"{folder}: {says}; in force once it is published")


@app.command()
def rekey(folder: Folder) -> None:
    """Encrypt the list under a new key from the next version on; all of it is sent again then."""
    owner = Owner(folder)
    owner.authorise(owner.owned.authorisation, new_key=True)
    typer.echo(f"{folder}: a new key, in use once the list is published")


@app.command("list")
def show(folder: Folder) -> None:
    """Show the list and its people."""
    owner = Owner(folder)
    owned, authorisation = owner.owned, owner.owned.authorisation
    console = Console(highlight=False, markup=False, emoji=False)  # labels are what they are
    console.print(
        f"list {owned.id}, last version {owned.version or 'none'}\n"
        f"{authorisation.purpose}, {authorisation.reference}; until {day(authorisation.not_after)}"
        f"; devices {', '.join(authorisation.devices)} ({authorisation.profile}); "
        f"{len(owned.entries)} of at most {authorisation.max_entries} entries; "
        f"{owned.threshold} of {', '.join(signer.name for signer in owned.signers)} sign"
    )
    table = Table("label", Column("entry", min_width=32), "templates", "until")
    for item in owned.entries:
        entry = item.entry
        table.add_row(item.label, entry.id, str(len(entry.templates)), day(entry.not_after))
    console.print(table)


def _end(now: int, valid_hours: float, profile: str) -> int:
    longest = limits.MAX_VALIDITY_FIXED_S if profile == "fixed" else limits.MAX_VALIDITY_BODY_WORN_S
    if valid_hours * 3600 > longest:
        raise ConfigError(
            f"{valid_hours:g} hours; devices refuse more than {longest / 3600:g} for {profile}"
        )
    return now + int(valid_hours * 3600)


def _area(text: str | None) -> Area | None:
    if text is None:
        return None
    try:
        latitude, longitude, radius = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"area {text!r}: write LAT,LON,METRES, as in 47.37,8.54,300") from error
    return Area(latitude=latitude, longitude=longitude, radius_m=radius)
