"""`./lethe doctor`: a list of what is well and what is not, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.health import doctor
from edge.health.finding import Finding

COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}

app = typer.Typer(add_completion=False)


@app.command()
def examine(
    config: Annotated[
        Path | None, typer.Option(help="Also check what this configuration names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine, and with --config its camera, broker, keys and state.

    Exit code 1 if there is a problem. Example: ./lethe doctor --config lethe.toml
    """
    findings = list(doctor.examine(config))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        Console().print(_table(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        # Text, not str: a path may hold brackets, which rich would take for markup.
        found = Text(finding.says)
        if finding.todo:
            found.append(f"\n→ {finding.todo}", style="bold")
        table.add_row(finding.check, Text(finding.state, COLOURS[finding.state]), found)
    return table
