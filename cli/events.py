"""`./lethe events`: follow, keep and verify what devices report."""

from __future__ import annotations

import json
import queue
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from cli import broker_options as options
from cli import events_review
from cli.event_text import plain, worded
from edge.config import BrokerConfig
from edge.ending import when_asked_to_end
from edge.errors import ConfigError, KeyRefused, StorageUnavailable
from edge.files import private_folder, write_atomically
from edge.identity import load_public_key
from edge.protocol.event import AuditHead, Event, Picture
from edge.protocol.sealed_picture import unseal
from fleet import reviewers, reviews
from fleet.archive import Archive, client_id, follow, lines
from fleet.events import Reader, Received, listen
from fleet.ledger import Keys
from fleet.owner import Owner

app = typer.Typer(add_completion=False, no_args_is_help=True)

WATCH = """\b
Examples:
  ./lethe events watch --device-key gate-3=device.pub --owner my-list
  ./lethe events watch --broker broker.example:8883 --ca-file ca.pem --json
"""
EXPORT = """\b
Examples:
  ./lethe events export events.jsonl --device-key gate-3=device.pub
  ./lethe events export events.jsonl --device-key gate-3=device.pub --timeout 30
"""
VERIFY = """\b
Examples:
  ./lethe events verify events.jsonl --device-key gate-3=device.pub
  ./lethe events verify events.jsonl --device-key gate-3=device.pub --json
"""
REVIEW = """\b
Examples:
  ./lethe fleet operator key anna         # makes anna.key and anna.pub
  ./lethe events review events.jsonl gate-3-00000000000000000042 --confirm --as anna \\
      --key anna.key --device-key gate-3=device.pub
  ./lethe events verify events.jsonl --device-key gate-3=device.pub \\
      --reviewer-key anna=anna.pub --reviewer-key ben=ben.pub \\
      --review-head 3-5f0c…                # noted elsewhere: nothing is gone since
"""
PICTURES = """\b
Examples:
  ./lethe events reviewers-key reviewers
  ./lethe events pictures events.jsonl --key reviewers/reviewers.key --out pictures
"""

DeviceKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--device-key",
        metavar="[ID=]FILE",
        help="Public key of a device (device.pub), which then is the only one for the device ID; "
        "without ID= for any device. May be given several times.",
    ),
]
Device = Annotated[str, typer.Option(help="Id of one device; all if not given.")]
OwnerFolder = Annotated[
    Path | None, typer.Option(help="The owner's folder: shows labels beside entry ids.")
]
Timeout = Annotated[float, typer.Option(help="End after so many seconds; 0: never.", min=0)]


@app.callback()
def events() -> None:
    """Follow, keep and verify what devices report."""


@app.command(epilog=WATCH)
@options.at_broker
def watch(
    broker: BrokerConfig = options.LOCAL,
    device_key: DeviceKeys = None,
    device: Device = "+",
    owner: OwnerFolder = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print each event as a line of JSON; with --device-key only trusted ones.",
        ),
    ] = False,
    count: Annotated[int, typer.Option(help="End after so many events; 0: never.", min=0)] = 0,
    timeout: Timeout = 0.0,
) -> None:
    """Print events as they arrive. Ends on Ctrl-C, SIGTERM, --count or --timeout."""
    keys, labels = read_keys(device_key), Owner(owner).labels if owner else {}
    arrived, console, aside = _arrivals(), *_consoles()
    link = listen(broker, arrived.put, keys=keys, device=device)
    until = time.monotonic() + timeout if timeout else None
    seen = 0
    try:
        while not count or seen < count:
            received = _next(arrived, until)
            if received is None:
                break
            if received.event is None or (as_json and keys and not received.trusted):
                aside.print(f"[red]left out[/]: {plain(received.problem)}", soft_wrap=True)
                continue
            if as_json:
                _line(received.event.document)
            elif received.trusted and isinstance(received.event.data, AuditHead):
                continue  # nothing for people
            else:
                console.print(worded(received, labels), soft_wrap=True)
            seen += 1
    finally:
        link.close()


@app.command(epilog=EXPORT)
@options.at_broker
def export(
    archive: Annotated[Path, typer.Argument(help="File of JSON Lines that is added to.")],
    broker: BrokerConfig = options.LOCAL,
    device_key: DeviceKeys = None,
    device: Device = "+",
    owner: OwnerFolder = None,
    client: Annotated[
        str | None,
        typer.Option(help="Client id at the broker; from the file's path if not given."),
    ] = None,
    timeout: Timeout = 0.0,
) -> None:
    """Write events into a file as they arrive, checked, none twice, none lost.

    The broker keeps what comes while this command is not running, from its first start on.
    What is refused is printed by name and not written. Ends on Ctrl-C, SIGTERM or --timeout.
    """
    keys, labels = read_keys(device_key), Owner(owner).labels if owner else {}
    if not keys:
        raise ConfigError("an archive holds checked events only: give --device-key")
    kept = Archive(archive, keys)
    arrived, console, aside = _arrivals(), *_consoles()
    trouble: queue.SimpleQueue[StorageUnavailable] = queue.SimpleQueue()

    def stop(error: StorageUnavailable) -> None:
        trouble.put(error)
        arrived.put(None)

    link = follow(
        kept,
        broker,
        on_event=arrived.put,
        on_trouble=stop,
        client_id=client or client_id(archive),
        device=device,
    )
    until = time.monotonic() + timeout if timeout else None
    try:
        while (received := _next(arrived, until)) is not None:
            (console if received.trusted else aside).print(worded(received, labels), soft_wrap=True)
            if arrived.empty():
                kept.save()
    finally:
        link.close()
        kept.close()
    if not trouble.empty():
        raise trouble.get()


@app.command(epilog=VERIFY)
def verify(
    archive: Annotated[Path, typer.Argument(help="Events, one a line: from `export` or `watch`.")],
    device_key: DeviceKeys = None,
    reviewer_key: events_review.ReviewerKeys = None,
    review_head: events_review.ReviewHeads = None,
    persons: events_review.Persons = events_review.PERSONS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each finding as a line of JSON.")
    ] = False,
) -> None:
    """Check every event of a file: signature, device, time, order, nothing twice, nothing missing.

    An event is in time if it was when it was received, where the line says so (`export`), else if
    it still is. Reviews beside the file are checked too, and what each candidate came to is said.
    Exit code 1 if anything was refused or is missing without an explanation.
    """
    keys = read_keys(device_key)
    if not keys:
        raise ConfigError("nothing can be checked without --device-key")
    reader, console = Reader(keys), Console(highlight=False)
    counted: Counter[str] = Counter()
    events: dict[str, Event] = {}
    for line in lines(archive):
        received = reader.receive(line.message, at=line.received)
        counted[received.refusal or "good"] += 1
        if received.trusted and received.event is not None:
            events[received.event.envelope.id] = received.event
        if received.refusal is not None:
            if as_json:
                _line({"line": line.number, "refused": received.refusal, "why": received.problem})
            else:
                said = plain(received.problem)
                console.print(
                    f"line {line.number}: [red]{received.refusal}[/]: {said}", soft_wrap=True
                )
    missing = 0
    for device, ledger in sorted(reader.ledger.devices.items()):
        for first, last in ledger.holes:
            missing += last - first + 1
            if as_json:
                _line({"device": device, "missing": [first, last]})
            else:
                console.print(
                    f"{device}: [yellow]gap[/]: numbers {first} to {last} have not come, and no "
                    "event says why",
                    soft_wrap=True,
                )
    wrong, outcomes = events_review.judged(archive, events, reviewer_key, persons, review_head)
    for said in wrong:
        if as_json:
            _line({"refused": "review", "why": said})
        else:
            console.print(f"[red]{said}[/]", soft_wrap=True)
    for name, outcome in outcomes.items():
        if as_json:
            _line({"candidate": name, "review": outcome})
        elif outcome != "open" or reviewer_key:
            console.print(f"{name}: {outcome}", soft_wrap=True)
    refused = sum(counted.values()) - counted["good"] + len(wrong)
    if as_json:
        _line({"good": counted["good"], "refused": refused, "missing": missing})
    else:
        console.print(f"{counted['good']} good, {refused} refused, {missing} missing")
    if refused or missing:
        raise typer.Exit(1)


@app.command(epilog=REVIEW)
def review(
    archive: Annotated[Path, typer.Argument(help="Events, one a line: from `export`.")],
    event: Annotated[str, typer.Argument(help="Id of the candidate's event.")],
    confirm: Annotated[
        bool, typer.Option("--confirm/--reject", help="What you decided.", show_default=False)
    ],
    name: Annotated[str, typer.Option("--as", help="What you are called.")],
    key: Annotated[Path, typer.Option(help="Your private key (`./lethe fleet operator key`).")],
    device_key: DeviceKeys = None,
    note: Annotated[str, typer.Option(help="In words.")] = "",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the key.")
    ] = None,
) -> None:
    """Record that you have verified a candidate, beside the archive, signed. Nothing is sent."""
    known = read_keys(device_key)
    if not known:
        raise ConfigError("nothing can be checked without --device-key")
    made = events_review.record(archive, event, known, key, name, confirm, note, passphrase_file)
    typer.echo(f"{made.event}: {made.verdict} by {made.reviewer}")
    typer.echo(f"reviews stand at {reviews.head(archive)}; note it elsewhere: `verify` takes it")


@app.command(name="reviewers-key", epilog=PICTURES)
def reviewers_key(
    folder: Annotated[Path, typer.Argument(help="Where the key is written; made if not there.")],
) -> None:
    """Make the key that pictures of candidates are sealed to, and say what the list must name."""
    public = reviewers.make(private_folder(folder))
    typer.echo(f"{folder / reviewers.KEY}: keep it with the reviewers, on no device")
    typer.echo(f"the list's authorisation names it as reviewers = {public}")


@app.command(epilog=PICTURES)
def pictures(
    archive: Annotated[Path, typer.Argument(help="Events, one a line: from `export`.")],
    key: Annotated[Path, typer.Option(help="The reviewers' private key.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures; made with mode 0700.")],
    device_key: DeviceKeys = None,
) -> None:
    """Open the sealed pictures of candidates in an archive, and write them as JPEG files."""
    keys = read_keys(device_key)
    if not keys:
        raise ConfigError("nothing can be checked without --device-key")
    private, reader = reviewers.load(key), Reader(keys)
    folder, opened = private_folder(out), 0
    for line in track(list(lines(archive)), description="opening", transient=True):
        received = reader.receive(line.message, at=line.received)
        read = received.event
        if read is None or not received.trusted or not isinstance(read.data, Picture):
            continue
        data = read.data
        try:
            jpeg = unseal(data, private)
        except KeyRefused as error:
            typer.echo(f"line {line.number}: {error}", err=True)
            continue
        # The name is the id of an event whose form was checked: no path in it.
        write_atomically(folder / f"{data.candidate}-{read.sequence}.jpg", jpeg)
        opened += 1
    typer.echo(f"{opened} pictures opened")


def read_keys(given: list[str] | None) -> Keys:
    """Return the keys that `--device-key` names.

    Raises:
        ConfigError: a file holds no key, or a device is named twice.
    """
    named, others = {}, []
    for each in given or []:
        device, separator, file = each.partition("=")
        if not separator:
            others.append(load_public_key(Path(each)))
        elif device in named:
            raise ConfigError(f"two keys for device {device!r}: give the one it has now")
        else:
            named[device] = load_public_key(Path(file))
    return Keys(named=named, any=others)


def _arrivals() -> queue.SimpleQueue[Received | None]:
    """Return where events arrive; None says that somebody asked to end."""
    arrived: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
    when_asked_to_end(lambda: arrived.put(None))
    return arrived


def _next(arrived: queue.SimpleQueue[Received | None], until: float | None) -> Received | None:
    try:
        return arrived.get(timeout=until and max(0.0, until - time.monotonic()))
    except queue.Empty:
        return None


def _consoles() -> tuple[Console, Console]:
    return Console(highlight=False), Console(highlight=False, stderr=True)


def _line(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
