"""`./lethe config`: what a device is to do, what the fleet wants of it, what it says it does."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from cli import broker_options as options
from cli.fleet_publish import bring
from edge import config as configuration
from edge import limits
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.files import read_toml
from edge.protocol.configuration import Desired, Reported
from edge.settings import layers
from edge.settings.fields import describe, plain, shown, value_of
from fleet import configuration as wanted
from fleet import schemas, setup
from fleet.folder import locked
from fleet.keys import read_passphrase
from fleet.repository import Repository

app = typer.Typer(add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The fleet's folder.", show_default=False)]
Devices = Annotated[
    list[str] | None, typer.Option("--device", "-d", help="Id of a device; repeatable.")
]
All = Annotated[bool, typer.Option("--all", help="Every device of the fleet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the keys that are here.")
]


@app.command(
    epilog="""\b
Examples:
  ./lethe config show lethe.toml
  ./lethe config show --device gate-3 --broker broker.example
"""
)
@options.at_broker
def show(
    file: Annotated[Path | None, typer.Argument(help="A device's own file.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Ask the broker what this one reports.")
    ] = None,
    broker: BrokerConfig = options.LOCAL,
    as_json: AsJson = False,
) -> None:
    """Show what a device's own file says, or what the device reports: each field, and who set it.

    Of a device that reports, those are the fields that the fleet may set.
    """
    if (file is None) == (device is None):
        raise ConfigError("give a file, or --device and the broker it reports to")
    if file is not None:
        _show_file(configuration.load(file), as_json=as_json)
        return
    assert device is not None
    reported = _reported_by(broker, [device])[device]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(reported)).decode())
        return
    console = _console()
    console.print(f"{device}: {_standing(reported)}")
    rows = [(path, shown(s.value), s.source) for path, s in reported.fields.items()]
    console.print(_table(("field", "value", "set by"), rows))


@app.command(
    "set",
    epilog="""\b
Examples:
  ./lethe config set my-fleet -d gate-3 telemetry.period_s=120 log_level=debug
  ./lethe config set my-fleet --all watchlist.max_entries=50 --dry-run
  ./lethe config set my-fleet -d gate-3 --unset log_level
  ./lethe config set my-fleet -d gate-3 --file gate-3.toml --against lethe.toml
""",
)
@options.at_broker
def set_(
    folder: Folder,
    assignments: Annotated[
        list[str] | None, typer.Argument(metavar="FIELD=VALUE…", help="As in the device's file.")
    ] = None,
    device: Devices = None,
    everyone: All = False,
    file: Annotated[
        Path | None, typer.Option(help="TOML file with all that the fleet is to set.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(help="Leave a field to the device's own file again.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="The device's own file: also find out what it would make laxer."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Bring it to the broker.")
    ] = True,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign what the fleet wants of devices, and publish it. Nothing is signed that they refuse."""
    named = _assigned(assignments or [])
    if not named and file is None and not unset:
        raise ConfigError("nothing to set: name fields as in telemetry.period_s=120, or a --file")
    passphrase = read_passphrase(passphrase_file)
    local = configuration.load(against) if against else None
    console = _console()
    with locked(folder):
        repository = Repository.existing(folder, passphrase)
        for name in _devices(repository, device, everyone=everyone):
            last = wanted.read(repository, name)
            before = last.settings if last else {}
            base = read_toml(file, limits.MAX_CONFIG_BYTES) if file is not None else before
            after = wanted.changed(base, named, unset or [])
            if last is not None and after == before:
                console.print(f"{name}: version {last.version} says so already")
                continue
            signed = wanted.put(repository, name, after, local=local)
            _show_change(console, signed, before)
        if dry_run:
            console.print("nothing was signed: --dry-run")
            return
        repository.seal_state()
        repository.save()
    if publish:
        bring(folder, passphrase, broker)
    else:
        console.print("in force for devices after: ./lethe fleet publish")


@app.command(
    epilog="""\b
Examples:
  ./lethe config diff my-fleet -d gate-3 --broker broker.example
  ./lethe config diff my-fleet --all --json
"""
)
@options.at_broker
def diff(
    folder: Folder,
    device: Devices = None,
    everyone: All = False,
    broker: BrokerConfig = options.LOCAL,
    as_json: AsJson = False,
) -> None:
    """Compare what is desired with what devices report. Exit code 1 if something differs."""
    with locked(folder):
        repository = Repository.existing(folder)
        names = _devices(repository, device, everyone=everyone)
        desired = {name: wanted.read(repository, name) for name in names}
    reported = _reported_by(broker, names, all_of_them=False)
    found = {name: _difference(desired[name], reported.get(name)) for name in names}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        console = _console()
        for name, differences in found.items():
            said = reported.get(name)
            console.print(f"{name}: {_standing(said) if said else 'has reported nothing'}")
            rows = [(path, shown(a), shown(b)) for path, (a, b) in differences.items()]
            if rows:
                console.print(_table(("field", "desired", "in force"), rows))
    if any(found.values()) or len(reported) < len(names):
        raise typer.Exit(1)


@app.command(
    epilog="""\b
Examples:
  ./lethe config schema > lethe.schema.json
  ./lethe config schema --desired
"""
)
def schema(
    desired: Annotated[
        bool, typer.Option("--desired", help="Of the document that the fleet signs.")
    ] = False,
    reported: Annotated[
        bool, typer.Option("--reported", help="Of the document that devices publish.")
    ] = False,
) -> None:
    """Print the JSON Schema of the device's file, or of the documents that travel."""
    kind = "-desired" if desired else "-reported" if reported else ""
    typer.echo(json.dumps(schemas.schema(f"configuration{kind}.schema.json"), indent=1))


# --- Within --------------------------------------------------------------------------------------


def _assigned(assignments: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r}: write FIELD=VALUE, as in telemetry.period_s=120")
        fields[path.strip()] = _value(path.strip(), text.strip())
    return layers.nested(fields)


def _value(path: str, text: str) -> object:
    """Read a value as TOML, or as the text that it is where the field takes text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # ValueError: also a number of 5,000 digits
        return text
    field = describe().get(path)
    if field is not None and not isinstance(value, str):
        try:
            msgspec.convert(value, field.kind)
        except msgspec.ValidationError:
            try:
                return msgspec.convert(text, field.kind)
            except msgspec.ValidationError:
                return value  # refused in words further on
    return value


def _devices(repository: Repository, named: list[str] | None, *, everyone: bool) -> list[str]:
    known = sorted(setup.read_devices(repository))
    if bool(named) == everyone:
        raise ConfigError("which devices: --device ID, repeatable, or --all")
    unknown = sorted(set(named or []) - set(known))
    if unknown:
        raise ConfigError(f"not registered with the fleet: {', '.join(unknown)}")
    return known if everyone else list(dict.fromkeys(named or []))


def _reported_by(
    broker: BrokerConfig, names: list[str], *, all_of_them: bool = True
) -> dict[str, Reported]:
    reported = wanted.reported(broker, names)
    missing = sorted(set(names) - set(reported))
    if missing and all_of_them:
        raise ConfigError(f"{', '.join(missing)}: the broker holds no report of its configuration")
    return reported


def _difference(desired: Desired | None, reported: Reported | None) -> dict[str, Any]:
    """Return path to desired value and value in force, where they differ."""
    fields = dict(layers.flat(desired.settings)) if desired else {}
    force = {path: s.value for path, s in reported.fields.items()} if reported else {}
    return {
        path: (value, force.get(path)) for path, value in fields.items() if force.get(path) != value
    }


def _standing(reported: Reported) -> str:
    says = f"version {reported.version}" if reported.version else "its own file"
    says += " in force" + (", on trial" if reported.on_trial else "")
    if reported.restart:
        says += f"; restarts for {', '.join(reported.restart)}"
    if reported.desired not in (0, reported.version):
        says += f"; desired: version {reported.desired}"
    if reported.refused:
        says += f"; refused: {reported.refused}"
    elif reported.gone_back:
        says += f"; version {reported.gone_back.version} gone back from: "
        says += reported.gone_back.reason
    return says


def _show_file(config: configuration.Config, *, as_json: bool) -> None:
    found = {
        path: (plain(value_of(config, path)), layers.source(path, config, {}))
        for path in describe()
    }
    if as_json:
        typer.echo(json.dumps({p: {"value": v, "source": s} for p, (v, s) in found.items()}))
        return
    rows = [(path, shown(value), source) for path, (value, source) in found.items()]
    _console().print(_table(("field", "value", "set by"), rows))


def _show_change(console: Console, signed: Desired, before: Mapping[str, Any]) -> None:
    old, new = dict(layers.flat(before)), dict(layers.flat(signed.settings))
    changes = [path for path in sorted(old | new) if old.get(path) != new.get(path)]
    console.print(f"{signed.device}: version {signed.version}")
    for path in changes:
        was, now = (shown(each[path]) if path in each else "not set" for each in (old, new))
        console.print(f"  {path}: {was} → {now}")


def _table(heads: tuple[str, str, str], rows: Sequence[tuple[str, str, str]]) -> Table:
    table = Table(heads[0], Column(heads[1], overflow="fold"), Column(heads[2], overflow="fold"))
    for row in rows:
        table.add_row(*row)
    return table


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
