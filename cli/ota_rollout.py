"""`./lethe ota publish|rollout|status`: a new version to the devices of a fleet, step by step."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from cli import broker_options as options
from cli.fleet_publish import bring, changing
from edge import limits
from edge.config import BrokerConfig
from edge.ending import when_asked_to_end
from edge.errors import BadInput, ConfigError, Unavailable
from edge.protocol.announcement import Announcement, Rollout
from fleet import rollout as rollouts
from fleet import setup, updates
from fleet.folder import locked
from fleet.keys import read_passphrase
from fleet.repository import Repository
from fleet.rollout import Halt, Raise, Seen
from ota import bundle as bundles

app = typer.Typer()

Fleet = Annotated[Path, typer.Argument(help="The fleet's folder.", show_default=False)]
Compatible = Annotated[str, typer.Argument(help="The kind of device, as the bundle names it.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the keys that are here.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be signed.")]


@app.command(
    epilog="""\b
Examples:
  ./lethe ota publish my-fleet build/lethe-0.2.0.raucb --url https://updates.example/lethe-0.2.0.raucb
  ./lethe ota publish my-fleet lethe.raucb --url https://updates.example/lethe.raucb \\
      --percent 10 --steps 50,100 --stop-after-failures 2 --window 02:00-04:00 --broker broker.example
"""  # noqa: E501 (shown as it is)
)
@options.at_broker
def publish(
    fleet: Fleet,
    bundle: Annotated[Path, typer.Argument(help="From `ota bundle`; it is only measured here.")],
    url: Annotated[list[str], typer.Option(help="Where devices fetch it; may be repeated.")],
    keys: Annotated[Path, typer.Option(help="Folder with the update keys.")] = Path(
        "build/ota-keys"
    ),
    percent: Annotated[int, typer.Option(help="Of the devices, to begin with.")] = 100,
    steps: Annotated[str, typer.Option(help="Percentages that follow, such as 50,100.")] = "",
    stop_after_failures: Annotated[int, typer.Option(help="With so many, it is halted.")] = 1,
    window: Annotated[str, typer.Option(help="Time of day, UTC, such as 02:00-04:00.")] = "",
    when: Annotated[
        list[str] | None,
        typer.Option(help="idle, powered, not-armed; idle and powered if not given."),
    ] = None,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="An older version may be installed.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Devices on which it failed try once more.")
    ] = False,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Announce a bundle to the devices that it is for. Put it on the server first."""
    about = bundles.examine(bundle, keys)
    size, sha256 = updates.measure(bundle)
    begin, dash, end = window.partition("-")
    with locked(fleet):
        before = updates.announced(Repository.existing(fleet)).get(about["compatible"])
    same = before is not None and before.sha256 == sha256
    document = {
        "compatible": about["compatible"],
        "version": about["version"],
        "size": size,
        "sha256": sha256,
        "urls": url,
        "rollout": {
            "percent": percent,
            "steps": [_percent(step) for step in steps.split(",") if step],
            "stop_after_failures": stop_after_failures,
        },
        "window": {"begin": begin, "end": end} if dash else None,
        "conditions": when if when is not None else ["idle", "powered"],
        "allow_downgrade": allow_downgrade,
        "attempt": before.attempt + retry if before is not None and same else 1,
    }
    if window and not dash:
        raise ConfigError(f"--window {window}: such as 02:00-04:00")
    made = _announcement(document)
    if dry_run:
        typer.echo(msgspec.json.format(msgspec.json.encode(made)).decode())
        return
    with changing(fleet, passphrase_file) as repository:
        updates.announce(repository, made)
    typer.echo(f"{made.compatible} {made.version}: {size / 1e6:.1f} MB, to {_words(made.rollout)}")
    bring(fleet, read_passphrase(passphrase_file), broker)


@app.command(
    epilog="""\b
Examples:
  ./lethe ota rollout my-fleet lethe-raspberrypi4 --percent 50
  ./lethe ota rollout my-fleet lethe-raspberrypi4 --halt "picture upside down"
  ./lethe ota rollout my-fleet lethe-raspberrypi4 --resume --retry
"""
)
@options.at_broker
def rollout(
    fleet: Fleet,
    compatible: Compatible,
    percent: Annotated[int | None, typer.Option(help="Go on to so many.")] = None,
    halt: Annotated[str, typer.Option(help="Let nobody install it any more; says why.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on after a halt.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Devices on which it failed try once more.")
    ] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Announce nothing.")] = False,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Change how far an announced version goes, by hand."""
    if percent is None and not (halt or resume or retry or withdraw):
        raise ConfigError("say what: --percent, --halt, --resume, --retry or --withdraw")
    with locked(fleet):
        before = updates.announced(Repository.existing(fleet)).get(compatible)
    if before is None:
        raise ConfigError(f"nothing is announced for {compatible}; see `lethe ota status {fleet}`")
    document = msgspec.to_builtins(before)
    if percent is not None:
        document = msgspec.to_builtins(rollouts.applied(before, Raise(percent)))
        document["rollout"]["halted"] = before.rollout.halted
    if halt or resume:
        document["rollout"]["halted"] = halt
    document["attempt"] += retry
    made = _announcement(document)
    says = "nothing is announced" if withdraw else f"{made.version} to {_words(made.rollout)}"
    if dry_run:
        typer.echo(f"would be: {compatible}: {says}")
        return
    with changing(fleet, passphrase_file) as repository:
        if withdraw:
            updates.withdraw(repository, compatible)
        else:
            updates.announce(repository, made)
    typer.echo(f"{compatible}: {says}")
    bring(fleet, read_passphrase(passphrase_file), broker)


@app.command(
    epilog="""\b
Examples:
  ./lethe ota status my-fleet --broker broker.example
  ./lethe ota status my-fleet --watch --steer
  ./lethe ota status my-fleet --json
"""
)
@options.at_broker
def status(
    fleet: Fleet,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    steer: Annotated[
        bool,
        typer.Option("--steer", help="Sign and publish what follows: the next step, or a halt."),
    ] = False,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Show how far each device is; with --steer, go on or stop by it."""
    console = Console(highlight=False)
    if not watch:
        fresh = _look(fleet, broker, passphrase_file, steer=steer)
        typer.echo(_json(*fresh)) if as_json else console.print(_shown(*fresh))
        return
    stop = threading.Event()
    when_asked_to_end(stop.set)
    with Live(console=console, auto_refresh=False) if not as_json else nullcontext() as live:
        while not stop.is_set():
            try:
                fresh = _look(fleet, broker, passphrase_file, steer=steer)
            except Unavailable as error:  # the broker comes back, and so do we
                typer.echo(f"lethe: {error}", err=True)
            else:
                if live is None:
                    typer.echo(_json(*fresh))
                else:
                    live.update(_shown(*fresh), refresh=True)
            stop.wait(limits.UPDATE_WATCH_S)


def _look(
    folder: Path, broker: BrokerConfig, passphrase_file: Path | None, *, steer: bool
) -> tuple[dict[str, Announcement], list[Seen], dict[str, str]]:
    """Return what is announced, what devices report, and what follows from it, in words."""
    with locked(folder):
        repository = Repository.existing(folder)
        announced, devices = updates.announced(repository), setup.read_devices(repository)
    seen = updates.reports(broker, devices)
    follows: dict[str, str] = {}
    for compatible, made in announced.items():
        move = rollouts.move(made, seen)
        if move is None:
            continue
        says = f"halt: {move.reason}" if isinstance(move, Halt) else f"go on to {move.percent} %"
        follows[compatible] = says if steer else f"{says} (with --steer)"
        if steer:
            announced[compatible] = rollouts.applied(made, move)
            with changing(folder, passphrase_file) as repository:
                if updates.announced(repository).get(compatible) == made:  # as it was looked at
                    updates.announce(repository, announced[compatible])
            bring(folder, read_passphrase(passphrase_file), broker, quiet=True)
    return announced, seen, follows


def _json(announced: dict[str, Announcement], seen: list[Seen], follows: dict[str, str]) -> str:
    document = {
        "announced": announced,
        "follows": follows,
        "devices": [
            {
                "device": each.device,
                "standing": _standing(announced, each),
                "problem": each.problem,
                "report": each.update,
            }
            for each in seen
        ],
    }
    return msgspec.json.encode(document).decode()


def _shown(announced: dict[str, Announcement], seen: list[Seen], follows: dict[str, str]) -> Group:
    table = Table("device", "version", "to", "state", "roll-out", Column("why", overflow="fold"))
    for each in seen:
        if each.update is None:
            table.add_row(each.device, "", "", "unknown", "", Text(each.problem))
            continue
        software, models = each.update.software, each.update.models
        busy = software.state in ("downloading", "installing")
        why = software.reason
        if models.state != "current" or models.reason:
            why = "; ".join(filter(None, (why, f"models {models.state}: {models.reason}")))
        table.add_row(
            each.device, Text(software.version), Text(software.target),
            f"{software.state} {software.percent} %" if busy else software.state,
            _standing(announced, each), Text(why),
        )  # fmt: skip
    lines = [
        Text(f"{name}: {made.version} to {_words(made.rollout)}")
        for name, made in announced.items()
    ]
    lines += [Text(f"{name}: {says}") for name, says in follows.items()]
    return Group(table, *(lines or [Text("nothing is announced")]))


def _standing(announced: dict[str, Announcement], seen: Seen) -> str:
    compatible = seen.update.software.compatible if seen.update else ""
    made = announced.get(compatible)
    return rollouts.standing(made, seen) if made else ""


def _announcement(document: dict[str, object]) -> Announcement:
    try:
        return msgspec.convert(document, Announcement)
    except msgspec.ValidationError as error:
        raise BadInput(f"devices would refuse the announcement: {error}") from error


def _percent(text: str) -> int:
    if not text.strip().isdecimal():
        raise ConfigError(f"--steps: {text!r} is no percentage; such as 50,100")
    return int(text)


def _words(plan: Rollout) -> str:
    if plan.halted:
        return f"nobody: {plan.halted}"
    then = f", then {', '.join(f'{step} %' for step in plan.steps)}" if plan.steps else ""
    return f"{plan.percent} % of the devices{then}; halted after {plan.stop_after_failures} failed"
