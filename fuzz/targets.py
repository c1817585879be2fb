"""What is fuzzed: one function a message, from bytes to nothing.

A target may raise `BadInput`, and nothing else. `SEEDS` begins each corpus with messages that are
taken, so that mutations get past the first check.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import parse
from edge.errors import BadInput
from edge.protocol import (
    announcement,
    audit,
    command,
    configuration,
    event,
    model_bundle,
    status,
    update,
)
from edge.settings import layers
from fleet.archive import unwrap
from fleet.ledger import Keys, Ledger, Refused
from fuzz import list_targets

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEYS = Keys(named={"camera-1": _KEY.public_key()})
_NOW = 1_800_000_000.0
_OWN = parse(
    {
        "device": {"id": "camera-1"},
        "camera": {"source": "/dev/video0"},
        "fleet": {"root": "root.json"},
        "watchlist": {"id": "gate", "max_entries": 50},
    }
)
_ENTRY = "0" * 32
_ID = event.event_id("camera-1", 7)


def read_event(message: bytes) -> None:
    """Read an event: its form, and its signature."""
    with contextlib.suppress(BadInput):
        event.verify(event.parse(message), trusted=[_KEY.public_key()], now=_NOW)


def take_event(message: bytes) -> None:
    """Take an event as a reader does, or a line of its archive."""
    line, _ = unwrap(message)
    with contextlib.suppress(Refused):
        Ledger().take(line, _KEYS, now=_NOW)


def read_command(message: bytes) -> None:
    """Read a command: its form, and its signature."""
    with contextlib.suppress(BadInput):
        command.verify(command.parse(message), [_KEY.public_key()])


def read_answer(message: bytes) -> None:
    """Read an answer: its form, and its signature."""
    with contextlib.suppress(BadInput):
        _, document = command.parse_answer(message)
        command.verify_answer(document, _KEY.public_key())


def read_status(message: bytes) -> None:
    """Read a status."""
    with contextlib.suppress(BadInput):
        status.parse(message)


def read_telemetry(message: bytes) -> None:
    """Read telemetry."""
    with contextlib.suppress(BadInput):
        status.parse_telemetry(message)


def read_announcement(message: bytes) -> None:
    """Read an announcement of firmware, and order its version."""
    with contextlib.suppress(BadInput):
        announcement.precedence(announcement.decode(message).version)


def read_desired(message: bytes) -> None:
    """Read a configuration that the fleet has signed, and judge it by a device's own file."""
    with contextlib.suppress(BadInput):
        made = layers.merged(_OWN, configuration.decode(message).settings)
        if made.watchlist.max_entries > _OWN.watchlist.max_entries or made.device != _OWN.device:
            raise AssertionError("laxer than the file, or another device")


def read_reported(message: bytes) -> None:
    """Read what a device says of its configuration."""
    with contextlib.suppress(BadInput):
        configuration.decode_reported(message)


def read_models(message: bytes) -> None:
    """Read models as they travel."""
    with contextlib.suppress(BadInput):
        model_bundle.decode(message)


def read_update(message: bytes) -> None:
    """Read what a device says of its updates: its form, and its signature."""
    with contextlib.suppress(BadInput):
        update.decode(message, "camera-1", [_KEY.public_key()])


def read_audit(message: bytes) -> None:
    """Read lines of an audit log."""
    for link in audit.follow(message.split(b"\n")):
        if link.record is None and not link.problem:
            raise AssertionError("neither a record nor a problem")


def _event(data: event.Data) -> bytes:
    document = event.make(data, device="camera-1", sequence=7, now=_NOW, key=_KEY)
    return event.encode(document)


_EVENTS = [
    _event(event.Gap(lost=1, reason="x", first=1, last=2, missing=1)),
    _event(event.Ended(candidate=_ID, entry=_ENTRY, reason="left", last_frame=1)),
    _event(event.Picture(candidate=_ID, entry=_ENTRY, recipient="0" * 16, sealed=bytes(60))),
    _event(event.AuditHead(head="0" * 20 + "-" + "0" * 64)),
]
_RECORD = audit.encode(
    audit.Record(
        n=1, time=datetime.fromtimestamp(_NOW, UTC), prev=audit.BEGINNING, what=audit.Stopped()
    )
)

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = list_targets.TARGETS | {
    "event": (read_event, _EVENTS),
    "ledger": (take_event, [*_EVENTS, b'{"received":"2026-05-04T10:15:30Z","event":{}}']),
    "command": (
        read_command,
        [
            command.make(order, device="camera-1", identifier="0" * 32, now=_NOW, key=_KEY)
            for order in (command.Stop(reason="x"), command.Resume(), command.Aim(minutes=1))
        ],
    ),
    "answer": (
        read_answer,
        [
            command.encode_answer(
                command.Answer(
                    id="0" * 32, device="camera-1", order="aim", state="done", says="x",
                    address="http://10.0.0.2:8473/x/", time=datetime.fromtimestamp(_NOW, UTC),
                ),
                _KEY,
            )
        ],
    ),
    "status": (read_status, [status.OFFLINE]),
    "telemetry": (
        read_telemetry,
        [
            msgspec.json.encode(
                status.Telemetry(
                    time="", uptime_s=0, frames="ok", temperature="hot", throttled=(),
                    events_waiting=0, effort="full", disk="ok",
                )
            )
        ],
    ),
    "desired": (
        read_desired,
        [
            b'{"schema":1,"device":"camera-1","version":7,"issued":1,"settings":{"log_level":"debug",'
            b'"telemetry":{"period_s":120},"watchlist":{"max_entries":5,"purposes":["court-order"]}}}'
        ],
    ),
    "reported": (
        read_reported,
        [
            b'{"version":7,"desired":8,"refused":"x","gone_back":{"version":6,"reason":"x"},'
            b'"restart":["camera.source"],"fields":{"log_level":{"value":"info","source":"fleet"}}}'
        ],
    ),
    "audit": (read_audit, [_RECORD]),
    "announcement": (
        read_announcement,
        [
            announcement.encode(
                announcement.Announcement(
                    compatible="lethe-qemu", version="1.2.3-rc.1", size=1, sha256="0" * 64,
                    urls=("https://example.org/b",),
                    rollout=announcement.Rollout(percent=10, steps=(50, 100), halted="x"),
                    window=announcement.Window(begin="02:00", end="04:00"),
                )
            )
        ],
    ),
    "models": (
        read_models,
        [model_bundle.encode({model_bundle.MANIFEST: b"{}", "sface-2021dec.tflite": bytes(50)})],
    ),
    "update": (
        read_update,
        [
            update.encode(
                update.Update(
                    device="camera-1", time=datetime.fromtimestamp(_NOW, UTC),
                    software=update.Software(state="waiting", version="1.0.0", reason="x"),
                ),
                _KEY,
            )
        ],
    ),
}  # fmt: skip
"""Name to target and seeds."""
