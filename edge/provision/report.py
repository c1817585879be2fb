"""What a device says of itself beside the file it was given: for a person with the card. Pure."""

from __future__ import annotations

import textwrap
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

State = Literal["refused", "waiting", "by hand", "enrolled", "no file", "failed"]
_SAYS: dict[State, str] = {
    "refused": "REFUSED: lethe.toml has mistakes. Correct them, put the card back, start again.",
    "waiting": "TAKEN. The device asks its broker for a certificate; it runs when it has one.",
    "by hand": "TAKEN. There is no one-time token: bring lethe-request.json to the operator, and "
    "the answer back as lethe-answer.json beside this file; then start again.",
    "enrolled": "ENROLLED. The device has its certificate.",
    "no file": "NOTHING TO DO: there is no lethe.toml beside this file. Put one here, start again.",
    "failed": "FAILED. What was there before is still in force.",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How far a device is.

    Attributes:
        state: of its provisioning.
        software: version.
        device: its id, once it has one.
        problems: line, field and what is allowed, one a mistake.
        notes: what else is worth knowing.
        fingerprint: of the request that waits; the operator sees the same, or it is not this one.
        event_key: verifies its events: Ed25519, hex.
        certificate_ends: RFC 3339 or words; empty where there is none.
    """

    state: State
    software: str
    device: str = ""
    problems: tuple[Annotated[str, Meta(max_length=1024)], ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    event_key: str = ""
    certificate_ends: str = ""


def text(report: Report) -> str:
    """Return it for people, lines of at most 78 characters, with the ends that Windows expects."""
    lines = [f"Lethe {report.software}", "", *textwrap.wrap(_SAYS[report.state], 78)]
    if report.problems:
        lines.append("")
        for problem in report.problems:
            lines += textwrap.wrap(problem, 76, initial_indent="* ", subsequent_indent="  ")
    facts = {
        "device": report.device,
        "fingerprint": report.fingerprint,
        "event key": report.event_key,
        "certificate": report.certificate_ends and f"until {report.certificate_ends}",
    }
    if any(facts.values()):
        lines += ["", *(f"{name:12} {value}" for name, value in facts.items() if value)]
    for note in report.notes:
        lines += ["", *textwrap.wrap(note, 78)]
    return "\r\n".join(lines) + "\r\n"


def document(report: Report) -> bytes:
    """Return it for machines: JSON."""
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"
