"""`./lethe events`: follow and verify what devices report."""

from __future__ import annotations

import json
import queue
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cli import broker_options as options
from edge.identity import load_public_key
from edge.protocol.event import Candidate, Gap
from fleet.events import Received, listen
from fleet.owner import Owner

app = typer.Typer(add_completion=False, no_args_is_help=True)

EXAMPLE = """\b
Examples:
  ./lethe events watch --device-key state/device.pub --owner my-list
  ./lethe events watch --broker broker.example:8883 --ca-file ca.pem --json
"""


@app.callback()
def events() -> None:
    """Follow and verify what devices report."""


@app.command(epilog=EXAMPLE)
def watch(
    broker: options.Broker = options.DEFAULT_BROKER,
    topic_root: options.TopicRoot = options.DEFAULT_ROOT,
    username: options.Username = None,
    password_file: options.PasswordFile = None,
    ca_file: options.CaFile = None,
    device_key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key of a device (device.pub); may be given several times."),
    ] = None,
    device: Annotated[str, typer.Option(help="Id of one device; all if not given.")] = "+",
    owner: Annotated[
        Path | None, typer.Option(help="The owner's folder: shows labels beside entry ids.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print each event as a line of JSON; with --device-key only trusted ones.",
        ),
    ] = False,
    count: Annotated[int, typer.Option(help="End after so many events; 0: never.", min=0)] = 0,
    timeout: Annotated[
        float, typer.Option(help="End after so many seconds; 0: never.", min=0)
    ] = 0.0,
) -> None:
    """Print events as they arrive. Ends on Ctrl-C, SIGTERM, --count or --timeout."""
    settings = options.broker_config(broker, topic_root, username, password_file, ca_file)
    keys = [load_public_key(path) for path in device_key or []]
    labels = Owner(owner).labels if owner else {}
    arrived: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: arrived.put(None))
    console, aside = Console(highlight=False), Console(highlight=False, stderr=True)
    link = listen(settings, arrived.put, trusted=keys, device=device)
    until = time.monotonic() + timeout if timeout else None
    seen = 0
    try:
        while not count or seen < count:
            try:
                received = arrived.get(timeout=until and max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if received is None:
                break
            event = received.event
            if event is None or (as_json and keys and not received.trusted):
                aside.print(f"[red]left out[/]: {plain(received.problem)}", soft_wrap=True)
                continue
            seen += 1
            if as_json:
                sys.stdout.write(json.dumps(event.document) + "\n")
                sys.stdout.flush()
            else:
                show(console, received, labels)
    finally:
        link.close()


def plain(text: str) -> str:
    """Return text from outside as it may go to a terminal: no control characters, no markup."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def show(console: Console, received: Received, labels: dict[str, str]) -> None:
    """Print an event for people: what it is, who is meant, and that a human decides.

    Args:
        console: where.
        received: an event, trusted or not.
        labels: entry id to what the owner calls the person.
    """
    event = received.event
    assert event is not None, "only events are shown"
    problem = plain(received.problem)
    mark = "[green]signature holds[/]" if received.trusted else f"[red]{problem}[/]"
    when = event.envelope.time.strftime("%H:%M:%S")
    data = event.data
    if not isinstance(data, Candidate):
        said = (
            f"[yellow]{data.lost} events lost[/]: {plain(data.reason)}"
            if isinstance(data, Gap)
            else f"list {data.list.id} version {data.list.version} destroyed: {data.reason}"
        )
        console.print(f"{when}  {event.device}  {said}; {mark}", soft_wrap=True)
        return
    label = labels.get(data.entry)
    console.print(
        f"{when}  {event.device}  [bold]candidate[/]  entry {data.entry}"
        + (f" ([bold]{plain(label)}[/])" if label else "")
        + f"\n          score {data.score:.2f} of {data.threshold:.2f}, "
        f"{data.agreeing} of {data.views} views agree, frames {data.first_frame} to "
        f"{data.last_frame}\n          list {data.list.id} version {data.list.version}, "
        f"{data.purpose}, {plain(data.authorisation)}; {mark}; a human decides",
        soft_wrap=True,
    )
