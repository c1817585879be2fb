"""`./lethe audit`: read and check what a device recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from cli.event_text import plain
from cli.events import read_keys
from edge.errors import ConfigError
from edge.protocol.audit import Record
from edge.protocol.event import Event
from fleet import audit
from fleet.archive import lines
from fleet.events import Reader

app = typer.Typer(add_completion=False, no_args_is_help=True)

EXAMPLE = """\b
Examples:
  ./lethe audit show state/audit
  ./lethe audit show state/audit --kind reported --json
  ./lethe audit verify state/audit
  ./lethe audit verify copy-of-audit --events events.jsonl --device-key gate-3=device.pub
"""

Log = Annotated[
    Path, typer.Argument(metavar="LOG", help="The folder `audit` of a device, or a copy of it.")
]


@app.callback()
def audit_log() -> None:
    """Read and check what a device recorded: lists, periods of use, reports, what went wrong."""


@app.command(epilog=EXAMPLE)
def show(
    log: Log,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only this kind of record; may be given several times."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each record as a line of JSON.")
    ] = False,
) -> None:
    """Print the records of a log, oldest first. Whether they hold, `verify` says."""
    console = Console(highlight=False)
    for _, record in audit.records(log):
        what = msgspec.to_builtins(record.what)
        if kind and what["kind"] not in kind:
            continue
        if as_json:
            _line(msgspec.to_builtins(record))
        else:
            console.print(_worded(record, what), soft_wrap=True)


@app.command(epilog=EXAMPLE)
def verify(
    log: Log,
    events: Annotated[
        Path | None,
        typer.Option(help="Events of this device (`lethe events export`) to check it against."),
    ] = None,
    device_key: Annotated[
        list[str] | None,
        typer.Option("--device-key", metavar="[ID=]FILE", help="Public key of the device."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each finding as a line of JSON.")
    ] = False,
) -> None:
    """Check that nothing in a log was changed, left out or cut off.

    Alone, a log shows that it is whole in itself. Whether it is the device's, its events show: each
    carries the head of the log, signed. Exit code 1 if anything does not hold.
    """
    console = Console(highlight=False)
    chain = audit.verify(log)
    findings, checked = list(chain.findings), 0
    if events is not None:
        good = list(_good(events, device_key))
        checked = len(good)
        findings.extend(audit.compare(chain, good))
    for finding in findings:
        if as_json:
            _line({"finding": finding.name, "where": finding.where, "says": finding.says})
        else:
            console.print(
                f"{plain(finding.where)}: [red]{finding.name}[/]: {plain(finding.says)}",
                soft_wrap=True,
            )
    summary = {
        "records": len(chain.digests),
        "first": chain.first,
        "last": chain.last,
        "head": chain.head,
        "events": checked,
        "findings": len(findings),
    }
    if as_json:
        _line(summary)
    else:
        console.print(
            f"records {chain.first} to {chain.last}, {checked} events compared, "
            f"{len(findings)} findings\nhead {chain.head}",
            soft_wrap=True,
        )
    if findings:
        raise typer.Exit(1)


def _good(path: Path, device_key: list[str] | None) -> Iterator[Event]:
    keys = read_keys(device_key)
    if not keys:
        raise ConfigError("events cannot be checked without --device-key")
    reader = Reader(keys)
    for line in lines(path):
        received = reader.receive(line.message, at=line.received)
        if received.event is not None and received.trusted:
            yield received.event
    devices = sorted(reader.ledger.devices)
    if len(devices) > 1:
        raise ConfigError(
            f"events of several devices ({', '.join(devices)}): name one with --device-key ID=FILE"
        )


def _worded(record: Record, what: dict[str, object]) -> str:
    kind = what.pop("kind")
    said = " ".join(
        f"{name}={plain(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in what.items()
    )
    return f"{record.n:>6}  {record.time:%Y-%m-%d %H:%M:%S}  [bold]{kind}[/]  {said}"


def _line(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
