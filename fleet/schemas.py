"""JSON Schemas of what goes over the wire, made from the types that parse it.

python -m fleet.schemas docs/schemas
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge.config import Config
from edge.protocol import audit, command, configuration, enrolment, event
from edge.protocol.announcement import Announcement
from edge.protocol.party import Party
from edge.protocol.policy import Policy
from edge.protocol.status import Status, Telemetry
from edge.protocol.update import Update
from edge.protocol.watchlist import Authorisation
from edge.settings.fields import describe
from edge.settings.layers import RULES


def _settable() -> type[msgspec.Struct]:
    """Return the type of what the fleet may set: each field as in the file, none required."""
    sections: dict[str, list[tuple[str, Any, Any]]] = {}
    for path in RULES:
        section, _, name = path.rpartition(".")
        member = (name, describe()[path].kind | msgspec.UnsetType, msgspec.UNSET)
        sections.setdefault(section, []).append(member)
    members = [
        (name, _struct(name.title().replace("_", ""), inner) | msgspec.UnsetType, msgspec.UNSET)
        for name, inner in sections.items()
        if name
    ]
    return _struct("Settings", [*members, *sections[""]])


def _struct(name: str, members: list[tuple[str, Any, Any]]) -> type[msgspec.Struct]:
    made: type[msgspec.Struct] = msgspec.defstruct(
        name, members, frozen=True, kw_only=True, forbid_unknown_fields=True
    )
    return made


def _desired() -> type[msgspec.Struct]:
    """Return the type of a desired document, with what its settings may be."""
    base = configuration.Desired
    made: type[msgspec.Struct] = msgspec.defstruct(
        base.__name__, [("settings", _settable())], bases=(base,),
        namespace={"__doc__": base.__doc__}, frozen=True, kw_only=True,
    )  # fmt: skip
    return made


SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "event-envelope.schema.json": event.Envelope,
    "match-candidate.schema.json": event.Candidate,
    "match-updated.schema.json": event.Updated,
    "match-ended.schema.json": event.Ended,
    "match-picture.schema.json": event.Picture,
    "events-gap.schema.json": event.Gap,
    "list-receipt.schema.json": event.Receipt,
    "audit-head.schema.json": event.AuditHead,
    "audit-record.schema.json": audit.Record,
    "command.schema.json": command.Command,
    "answer.schema.json": command.Answer,
    "status.schema.json": Status,
    "telemetry.schema.json": Telemetry,
    "update.schema.json": Update,
    "announcement.schema.json": Announcement,
    "configuration.schema.json": Config,
    "configuration-desired.schema.json": _desired(),
    "configuration-reported.schema.json": configuration.Reported,
    "authorisation.schema.json": Authorisation,
    "party.schema.json": Party,
    "policy.schema.json": Policy,
    "enrol-request.schema.json": enrolment.Request,
    "enrol-answer.schema.json": enrolment.Answer,
}
"""File and what it describes. `data` of an event is the one that its `type` names."""


def schema(name: str) -> dict[str, Any]:
    """Return a schema (JSON Schema 2020-12) by its file's name."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(SCHEMAS[name]),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described), object_hook=_steady)
    return plain


def _steady(part: dict[str, Any]) -> dict[str, Any]:
    """Take the indentation off a docstring, as Python itself does from 3.13 on; order sets."""
    if part.get("uniqueItems") and "default" in part:
        part["default"] = sorted(part["default"])
    if isinstance(text := part.get("description"), str):
        part["description"] = inspect.cleandoc(text)
    return part


if __name__ == "__main__":
    for file in SCHEMAS:
        (Path(sys.argv[1]) / file).write_text(json.dumps(schema(file), indent=1) + "\n", "utf-8")
