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

from edge.protocol import audit, event
from edge.protocol.announcement import Announcement
from edge.protocol.party import Party
from edge.protocol.policy import Policy
from edge.protocol.status import Status, Telemetry
from edge.protocol.update import Update
from edge.protocol.watchlist import Authorisation

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
    "status.schema.json": Status,
    "telemetry.schema.json": Telemetry,
    "update.schema.json": Update,
    "announcement.schema.json": Announcement,
    "authorisation.schema.json": Authorisation,
    "party.schema.json": Party,
    "policy.schema.json": Policy,
}
"""File and what it describes. `data` of an event is the one that its `type` names."""


def schema(name: str) -> dict[str, Any]:
    """Return a schema (JSON Schema 2020-12) by its file's name."""
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(SCHEMAS[name]),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described), object_hook=_dedented)
    return plain


def _dedented(part: dict[str, Any]) -> dict[str, Any]:
    """Take the indentation off a docstring, as Python itself does from 3.13 on."""
    if isinstance(text := part.get("description"), str):
        part["description"] = inspect.cleandoc(text)
    return part


if __name__ == "__main__":
    for file in SCHEMAS:
        (Path(sys.argv[1]) / file).write_text(json.dumps(schema(file), indent=1) + "\n", "utf-8")
