"""The commands of `./lethe watchlist` that sign and publish: by one person, or by several."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli import broker_options as options
from cli.fleet_publish import bring
from cli.watchlist_list import Folder, PassphraseFile
from cli.watchlist_show import changes, day, ground, plain_console, signatures
from edge.config import BrokerConfig
from edge.errors import ConfigError, SignatureRefused
from edge.files import read_small, write_atomically
from edge.protocol.watchlist import Watchlist
from edge.vision.engine import Vision
from fleet import lists, release
from fleet.inspection import look
from fleet.keys import (
    SIGNER_FILE,
    Keyring,
    public_key,
    read_opening_key,
    read_party,
    read_passphrase,
)
from fleet.owner import Owner
from fleet.release import Kept

app = typer.Typer(add_completion=False)

FleetFolder = Annotated[
    Path | None, typer.Option(help="The fleet's folder, if it is not the one of `init`.")
]
DevicesFile = Annotated[
    Path | None, typer.Option(help="devices.json of the fleet, if its folder is not here.")
]
Urgent = Annotated[
    bool, typer.Option("--urgent", help="One signature is enough; dies in 24 h if no more come.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist publish my-list
  ./lethe watchlist publish my-list --broker broker.example:8883 --ca-file ca.pem
  ./lethe watchlist publish my-list --signature anna.sig --signature ben.sig
  ./lethe watchlist publish my-list --signature anna.sig --out gate.release
"""
)
@options.at_broker
def publish(
    folder: Folder,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
    signature: Annotated[
        list[Path] | None,
        typer.Option(help="A signature that came back for the last request; repeatable."),
    ] = None,
    urgent: Urgent = False,
    fleet: FleetFolder = None,
    devices: DevicesFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a file for the fleet's operator instead (`fleet release`)."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Sign the next version with the keys that are here, and publish it if that is enough."""
    owner, passphrase = Owner(folder), read_passphrase(passphrase_file)
    if signature:
        drafted = lists.pending(owner)
        for file in signature:
            drafted = lists.attach(owner, drafted, file)
    else:
        drafted = _prepare(
            owner, urgent=urgent, devices=devices or _devices(fleet), dry_run=dry_run
        )
    drafted = lists.sign_here(owner, drafted, passphrase)
    _say(owner, drafted)
    if dry_run:
        return
    _finish(owner, drafted, fleet, out, passphrase, broker)


@app.command(
    epilog="""\b
Example, on three machines:
  ./lethe watchlist request my-list gate.request      (owner)
  ./lethe watchlist sign gate.request --signer anna   (anna: writes gate-7.anna.sig)
  ./lethe watchlist publish my-list --signature gate-7.anna.sig --signature gate-7.ben.sig
"""
)
def request(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="File for the signers; only they can open it.")],
    urgent: Urgent = False,
    devices: DevicesFile = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Ask to sign that there is no list any more.")
    ] = False,
) -> None:
    """Write what the other signers have to sign."""
    owner = Owner(folder)
    drafted = _withdrawal(owner) if withdraw else _prepare(owner, urgent=urgent, devices=devices)
    made = release.make_request(
        drafted.release,
        drafted.key,
        owner.labels,
        signers=owner.owned.signers,
        threshold=owner.owned.threshold,
    )
    release.write(out, made)
    _say(owner, drafted)
    typer.echo(f"{out}: give it to those who are to sign; each opens it with their own key")


@app.command(
    epilog="""\b
Example:
  ./lethe watchlist sign gate.request --signer anna
"""
)
def sign(
    file: Annotated[Path, typer.Argument(metavar="REQUEST", help="What is to be signed.")],
    signer: Annotated[Path, typer.Option(help="Your folder, made by `watchlist signer`.")],
    out: Annotated[Path | None, typer.Option(help="Where the signature goes.")] = None,
    passphrase_file: PassphraseFile = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Show what is asked to be signed, opened and checked, and sign it if you agree."""
    passphrase, me = read_passphrase(passphrase_file), read_party(signer / SIGNER_FILE)
    asked = release.read_request(file)
    body = release.open_request(asked, me.name, read_opening_key(signer, passphrase))
    watchlist = release.opened(body.release, body.key)
    console, memory = plain_console(), signer / f"signed-{asked.list_id}.json"
    if watchlist is None:
        console.print(f"list {asked.list_id}: WITHDRAWN; devices destroy what they hold of it")
    else:
        ground(console, watchlist)
        console.print("since you signed last, as the owner calls them:")
        changes(console, _seen(memory), watchlist, body.labels)
    if body.release.urgent:
        console.print("URGENT: your signature alone puts it in force, for 24 hours")
    signatures(console, release.standing(body.release, body.signers, body.threshold))
    if not yes:
        typer.confirm("sign this?", abort=True)
    key = public_key(me.sign)
    here = Keyring(signer, passphrase).signers([key.keyid])
    if not here:
        raise ConfigError(f"{signer}: no private key of {me.name}")
    made = release.signature_file(body.release, here[0], me.name)
    path = out or file.with_name(f"{asked.list_id}-{asked.version}.{me.name}.sig")
    release.write(path, made)
    seen = sorted(entry.id for entry in watchlist.entries) if watchlist else []
    write_atomically(memory, msgspec.json.encode(seen))
    typer.echo(f"{path}: your signature; give it back to the owner")


@app.command()
def diff(folder: Folder) -> None:
    """Show what publishing now would change against what was published last."""
    owner = Owner(folder)
    console, before = plain_console(), _last(owner)
    embedder, dimension = _embedder(owner)
    now = owner.draft(now=time.time(), embedder=embedder, dimension=dimension)
    changes(console, _ids(before), now, owner.labels)
    old = before.authorisation if before else None
    for field in now.authorisation.__struct_fields__:
        was, will = getattr(old, field, None), getattr(now.authorisation, field)
        if was != will:
            console.print(f"{field}: {was} → {will}")
    if before is not None and before.embedder != now.embedder:
        console.print(f"embedder: {before.embedder} → {now.embedder}")


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist inspect my-list
  ./lethe watchlist inspect my-list --at-broker --broker broker.example
"""
)
@options.at_broker
def inspect(
    folder: Folder,
    at_broker: Annotated[
        bool, typer.Option("--at-broker", help="Also look what devices find at the broker.")
    ] = False,
    broker: BrokerConfig = options.LOCAL,
    fleet: FleetFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was published last: on what ground, until when, signed by whom."""
    owner, console = Owner(folder), plain_console()
    kept = release.read_kept(folder, release.LAST)
    watchlist = None if kept is None else release.opened(kept.release, kept.key)
    held: dict[str, object] = {}
    if at_broker:
        root = read_small(_fleet(owner, fleet) / "root.json", 65536)
        held = {
            role: target and {"version": target.version, "signers": list(target.signers)}
            for role, target in look(root, owner.owned.id, broker).items()
        }
    published = None if kept is None else kept.release
    standing = None if kept is None else lists.standing(owner, kept)
    if as_json:
        shown = {
            "list": owner.owned.id,
            "version": published.version if published else None,
            "urgent": published.urgent if published else None,
            "withdrawn": published is not None and watchlist is None,
            "authorisation": watchlist and msgspec.to_builtins(watchlist.authorisation),
            "entries": len(watchlist.entries) if watchlist else 0,
            "signed": standing.signed if standing else [],
            "threshold": standing.threshold if standing else owner.owned.threshold,
            "broker": held,
        }
        typer.echo(json.dumps(shown, indent=1))
        return
    if published is None or standing is None:
        console.print(f"list {owner.owned.id}: nothing was published yet")
    elif watchlist is None:
        console.print(f"list {owner.owned.id}: withdrawn by version {published.version}")
    else:
        ground(console, watchlist)
        if published.urgent:
            console.print("URGENT: dies 24 hours after its issue if not published by more")
        signatures(console, standing)
    for role, target in held.items():
        console.print(f"broker     {role}: {json.dumps(target) if target else 'nothing'}")


@app.command(
    epilog="""\b
Examples:
  ./lethe watchlist expire my-list --dry-run
  ./lethe watchlist expire my-list --broker broker.example
"""
)
@options.at_broker
def expire(
    folder: Folder,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
    fleet: FleetFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a file for the fleet's operator instead.")
    ] = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Withdraw the list: devices destroy what they hold of it. People stay enrolled here."""
    owner, passphrase = Owner(folder), read_passphrase(passphrase_file)
    says = (
        f"list {owner.owned.id}: withdrawn from {', '.join(owner.owned.authorisation.devices)}; "
        "they destroy it"
    )
    if dry_run:
        typer.echo(f"would be: {says}")
        return
    if not yes:
        typer.confirm(f"{says}. Go on?", abort=True)
    drafted = lists.sign_here(owner, _withdrawal(owner), passphrase)
    _finish(owner, drafted, fleet, out, passphrase, broker)


# --- Within --------------------------------------------------------------------------------------


def _prepare(owner: Owner, *, urgent: bool, devices: Path | None, dry_run: bool = False) -> Kept:
    embedder, dimension = _embedder(owner)
    return lists.prepare(
        owner,
        lists.draft(owner, lists.known_devices(owner, devices), urgent=urgent),
        now=time.time(),
        embedder=embedder,
        dimension=dimension,
        urgent=urgent,
        dry_run=dry_run,
    )


def _withdrawal(owner: Owner) -> Kept:
    embedder, dimension = _embedder(owner)
    make = release.draft_withdrawal
    return lists.prepare(owner, make, now=time.time(), embedder=embedder, dimension=dimension)


def _finish(
    owner: Owner,
    drafted: Kept,
    fleet: Path | None,
    out: Path | None,
    passphrase: bytes | None,
    broker: BrokerConfig,
) -> None:
    """Publish a draft if enough have signed; otherwise keep it, and say who is missing."""
    release.write(owner.folder / release.PENDING, drafted)
    standing = lists.standing(owner, drafted)
    if not standing.complete:
        raise SignatureRefused(
            f"signed by {len(standing.signed)} of {standing.threshold}: nothing was published. "
            f"Ask {', '.join(standing.missing)} with `lethe watchlist request`"
        )
    if out is not None:
        release.write(out, drafted.release)
        lists.keep(owner, drafted)
        typer.echo(f"{out}: for the fleet's operator, who runs: ./lethe fleet release FLEET {out}")
        return
    place = _fleet(owner, fleet)
    lists.hand_over(owner, drafted, place, passphrase)
    bring(place, passphrase, broker)


def _say(owner: Owner, drafted: Kept) -> None:
    made, watchlist = drafted.release, release.opened(drafted.release, drafted.key)
    size = len(made.head) + sum(map(len, made.pieces.values()))
    typer.echo(
        f"{made.list_id!r}: version {made.version}, "
        + (
            f"{len(watchlist.entries)} entries, {size} bytes, until {day(watchlist.expires)}"
            if watchlist
            else "withdrawn"
        )
        + (", urgent" if made.urgent else "")
    )
    signatures(plain_console(), lists.standing(owner, drafted))


def _embedder(owner: Owner) -> tuple[str, int]:
    """Return id and dimension of the templates; the shipped model's where nobody is enrolled."""
    if owner.owned.embedder:
        return owner.owned.embedder, owner.owned.dimension
    vision = Vision.open()
    return vision.embedder_id, vision.dimension


def _fleet(owner: Owner, fleet: Path | None) -> Path:
    place = fleet or (Path(owner.owned.fleet) if owner.owned.fleet else None)
    if place is None:
        raise ConfigError("the fleet's folder is not known: --fleet FOLDER, or --out FILE")
    return place


def _devices(fleet: Path | None) -> Path | None:
    return None if fleet is None else fleet / "devices.json"


def _last(owner: Owner) -> Watchlist | None:
    kept = release.read_kept(owner.folder, release.LAST)
    return None if kept is None else release.opened(kept.release, kept.key)


def _ids(watchlist: Watchlist | None) -> set[str]:
    return {entry.id for entry in watchlist.entries} if watchlist else set()


def _seen(memory: Path) -> list[str]:
    if not memory.exists():
        return []
    return msgspec.json.decode(memory.read_bytes(), type=list[str])
