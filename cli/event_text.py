"""Events worded for people: what it is, who is meant, and that a human decides."""

from __future__ import annotations

from rich.markup import escape

from edge.protocol import event
from fleet.events import Received

_LEFT = {
    "left": "no longer in view",
    "list-over": "no list is in force any more",
    "stopped": "the device has stopped",
    "restarted": "the device was interrupted",
}


def plain(text: str) -> str:
    """Return text from outside as it may go to a terminal: no control characters, no markup."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def worded(received: Received, labels: dict[str, str]) -> str:
    """Return an event in words, with markup of rich.

    Args:
        received: an event, trusted or not.
        labels: entry id to what the owner calls the person.
    """
    read = received.event
    if read is None:
        return f"[red]no event[/]: {plain(received.problem)}"
    mark = (
        "[green]signature holds[/]"
        if received.trusted
        else f"[red]{received.refusal}: {plain(received.problem)}[/]"
    )
    if received.skipped is not None:
        first, last = received.skipped
        mark += f"; [yellow]numbers {first} to {last} have not come[/]"
    when = read.envelope.time.strftime("%H:%M:%S")
    return f"{when}  {read.device}  {_said(read.data, labels, mark)}"


def _said(data: event.Data, labels: dict[str, str], mark: str) -> str:
    match data:
        case event.Candidate():
            return (
                f"[bold]candidate[/]  entry {_who(data.entry, labels)}\n"
                f"          {_score(data)}, frames {data.first_frame} to {data.last_frame}\n"
                f"          {_ground(data)}; {mark}; a human decides"
            )
        case event.Updated():
            return (
                f"candidate updated  entry {_who(data.entry, labels)}\n"
                f"          {_score(data)}, frame {data.last_frame}\n"
                f"          {_ground(data)}; {mark}; a human decides"
            )
        case event.Ended():
            return f"ended  entry {_who(data.entry, labels)}: {_LEFT[data.reason]}; {mark}"
        case event.Picture():
            size = len(data.sealed)
            return (
                f"picture of entry {_who(data.entry, labels)}, {size} bytes, sealed to the "
                f"reviewers' key {data.recipient}; {mark}"
            )
        case event.Gap():
            lost = f"{data.lost} events"
            if data.pictures:
                lost += f" and {data.pictures} pictures"
            return f"[yellow]{lost} lost[/]: {plain(data.reason)}; {mark}"
        case event.Receipt():
            return (
                f"list {data.list.id} version {data.list.version} destroyed: {data.reason}; {mark}"
            )
        case event.AuditHead():
            return f"audit log stands at record {int(data.head[:20])}; {mark}"


def _who(entry: str, labels: dict[str, str]) -> str:
    label = labels.get(entry)
    return f"{entry} ([bold]{plain(label)}[/])" if label else entry


def _score(data: event.Candidate | event.Updated) -> str:
    return (
        f"score {data.score:.2f} of {data.threshold:.2f}, "
        f"{data.agreeing} of {data.views} views agree"
    )


def _ground(data: event.Candidate | event.Updated) -> str:
    return (
        f"list {data.list.id} version {data.list.version}, {data.purpose}, "
        f"{plain(data.authorisation)}"
    )
