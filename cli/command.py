"""`./lethe command`: what a device is to do now."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from cli import broker_options as options
from cli.event_text import plain
from cli.events import DeviceKeys, read_keys
from edge import limits
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.protocol import command as formats
from edge.protocol.command import EVERY, NAMES, Aim, Answer, Identify, Order, Stop
from fleet.commands import END, authority, give
from fleet.keys import read_ed25519, read_passphrase

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  ./lethe command stop --device gate-3 --fleet my-fleet --reason "a visitor asked"
  ./lethe command stop --device '*' --fleet my-fleet
  ./lethe command resume --device gate-3 --fleet my-fleet --broker broker.example
  ./lethe command aim --device gate-3 --fleet my-fleet --minutes 5
  ./lethe command aim --device gate-3 --fleet my-fleet --off
  ./lethe command identify --device gate-3 --key anna.key --device-key gate-3=device.pub --json

Exit code: 0 all done, 1 refused or failed, 3 no answer.
"""

What = StrEnum("What", [(name.upper().replace("-", "_"), name) for name in NAMES])  # type: ignore[misc]
REFUSED, SILENT = 1, 3


@app.command(epilog=EXAMPLES)
@options.at_broker
def command(
    what: Annotated[What, typer.Argument(help="What the device is to do.", show_default=False)],
    device: Annotated[str, typer.Option(help="Id of the device; '*' for all of the fleet.")],
    fleet: Annotated[
        Path | None,
        typer.Option(help="The fleet's folder: a key that may command, and the devices' keys."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Sign with this key (`./lethe fleet operator key`).")
    ] = None,
    device_key: DeviceKeys = None,
    reason: Annotated[str, typer.Option(help="stop: why, for audit log and status.")] = "",
    seconds: Annotated[
        int, typer.Option(help="identify: for how long.", min=1, max=limits.IDENTIFY_MOST_S)
    ] = limits.IDENTIFY_DEFAULT_S,
    minutes: Annotated[
        int, typer.Option(help="aim: for how long.", min=1, max=limits.AIM_MOST_MIN)
    ] = limits.AIM_DEFAULT_MIN,
    off: Annotated[bool, typer.Option("--off", help="aim: end the preview.")] = False,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the key.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for an answer.", min=0.1)
    ] = limits.COMMAND_PATIENCE_S,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each answer as a line of JSON.")
    ] = False,
) -> None:
    """Sign a command, give it to a device, and print what becomes of it."""
    if fleet is None and (key is None or not device_key):
        raise ConfigError("give --fleet, or --key together with --device-key")
    if len(reason) > limits.COMMAND_TEXT_CHARS:
        raise ConfigError(f"--reason: at most {limits.COMMAND_TEXT_CHARS} characters")
    passphrase = read_passphrase(passphrase_file)
    known = dict(read_keys(device_key).named)
    if fleet is not None and key is None:
        signing, registered = authority(fleet, passphrase)
        known = registered | known
    elif key is not None:
        signing = read_ed25519(key, passphrase)
    out, aside = Console(highlight=False), Console(highlight=False, stderr=True)

    def show(answer: Answer) -> None:
        if as_json:
            sys.stdout.write(json.dumps(msgspec.to_builtins(answer)) + "\n")
            sys.stdout.flush()
        else:
            out.print(worded(answer), soft_wrap=True)

    answers = give(
        _order(what.value, reason, seconds, 0 if off else minutes),
        device, signing, known, broker, show, timeout=timeout,
        on_strange=lambda why: aside.print(f"[red]left out[/]: {plain(why)}", soft_wrap=True),
    )  # fmt: skip
    silent = sorted((set(known) if device == EVERY else {device}) - set(answers))
    unfinished = sorted(name for name, each in answers.items() if each.state not in END)
    for name in silent:
        aside.print(f"{plain(name)}: no answer within {timeout:g} s: off line?", soft_wrap=True)
    for name in unfinished:
        aside.print(f"{plain(name)}: accepted, and no word of its end", soft_wrap=True)
    if any(answer.state in ("refused", "failed") for answer in answers.values()):
        raise typer.Exit(REFUSED)
    if silent or unfinished:
        raise typer.Exit(SILENT)


def worded(answer: Answer) -> str:
    """Return an answer as a line for people."""
    colour = {"done": "green", "accepted": "cyan"}.get(answer.state, "red")
    named = f" ({answer.refusal})" if isinstance(answer.refusal, str) else ""
    line = f"{plain(answer.device)}: {answer.order} [{colour}]{answer.state}[/]{named}"
    if answer.says:
        line += f": {plain(answer.says)}"
    if isinstance(answer.address, str):
        line += f"\n  {plain(answer.address)}"
    if not isinstance(answer.until, msgspec.UnsetType):
        line += f"\n  until {answer.until.isoformat(timespec='seconds')}"
    return line


def _order(name: str, reason: str, seconds: int, minutes: int) -> Order:
    match name:
        case "stop":
            return Stop(reason=reason)
        case "identify":
            return Identify(seconds=seconds)
        case "aim":
            return Aim(minutes=minutes)
        case _:
            return msgspec.convert({"do": name}, formats.Order)  # type: ignore[no-any-return]
