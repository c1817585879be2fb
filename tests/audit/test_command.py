"""The auditor's command, with a device's log, a copy of it, and the events it signed."""

import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from cli import audit as command
from edge.audit.diary import Diary
from edge.audit.log import AuditLog, paths
from edge.errors import ConfigError
from edge.identity import write_public_key
from edge.protocol import audit, event
from fleet.archive import Archive
from fleet.ledger import Keys

KEY = Ed25519PrivateKey.generate()
NOW = 1_800_000_000.0
ENTRY = "0" * 32
STARTED = audit.Started(device="gate-1", software="1", models={}, configuration="0" * 64)


@pytest.fixture
def device(tmp_path):
    """A device's log, and the archive of what it signed."""
    log = AuditLog(tmp_path / "audit", now=lambda: NOW)
    diary = Diary(log, STARTED, now=lambda: NOW, steady=lambda: 0.0)
    archive = Archive(
        tmp_path / "events.jsonl", Keys(named={"gate-1": KEY.public_key()}), now=lambda: NOW
    )
    for n in range(1, 6):
        data = event.Ended(candidate=event.event_id("gate-1", 0), entry=ENTRY, reason="left")
        if n == 3:
            data = event.AuditHead(head=diary.head)
        head = diary.report(data, "gate-1", n)
        document = event.make(data, device="gate-1", sequence=n, now=NOW, key=KEY, head=head)
        assert archive.add(event.encode(document)).trusted
    archive.close()
    diary.close()
    write_public_key(tmp_path / "device.pub", KEY.public_key())
    return tmp_path


def run(device, *arguments):
    return CliRunner().invoke(command.app, [str(a) for a in arguments])


def verify(device, folder="audit"):
    done = run(
        device, "verify", device / folder, "--events", device / "events.jsonl",
        "--device-key", f"gate-1={device / 'device.pub'}", "--json",
    )  # fmt: skip
    *findings, summary = [json.loads(line) for line in done.output.splitlines()]
    return done.exit_code, [f["finding"] for f in findings], summary


def test_a_log_and_its_events_hold_also_from_a_copy(device):
    shutil.copytree(device / "audit", device / "copy")
    for folder in ("audit", "copy"):
        code, findings, summary = verify(device, folder)
        assert (code, findings) == (0, [])
        assert (summary["records"], summary["events"]) == (6, 5)


def cut(lines):
    return lines[:3]


def forged(lines):
    """What whoever holds the disk can do: a log that is whole in itself."""
    made, prev = [], audit.BEGINNING
    for n, line in enumerate(lines, 1):
        record = json.loads(line) | {"prev": prev}
        if n == 2:
            record["what"]["entry"] = "f" * 32
        made.append(json.dumps(record, separators=(",", ":")).encode())
        prev = audit.digest(made[-1])
    return made


def forgotten(lines):
    """The same, with the report left out."""
    left = [lines[0], *lines[2:]]
    made, prev = [], audit.BEGINNING
    for n, line in enumerate(left, 1):
        record = json.loads(line) | {"prev": prev, "n": n}
        made.append(json.dumps(record, separators=(",", ":")).encode())
        prev = audit.digest(made[-1])
    return made


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (cut, {"cut-off", "unrecorded"}),
        (forged, {"contradicted"}),
        (forgotten, {"contradicted", "unrecorded"}),
    ],
)
def test_a_log_that_was_made_anew_contradicts_the_events(device, change, names):
    (path,) = paths(device / "audit")
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    alone = run(device, "verify", device / "audit")
    assert alone.exit_code == 0, alone.output
    code, findings, _ = verify(device)
    assert code == 1
    assert set(findings) == names


def test_records_are_shown_by_kind_and_as_json(device):
    done = run(device, "show", device / "audit", "--kind", "reported", "--json")
    records = [json.loads(line) for line in done.output.splitlines()]
    assert [r["what"]["event"][-1] for r in records] == ["1", "2", "4", "5"]
    shown = run(device, "show", device / "audit").output
    assert "reported" in shown
    assert ENTRY in shown


def test_a_folder_without_a_log_is_said(device):
    assert isinstance(run(device, "verify", device).exception, ConfigError)


def test_events_without_a_key_are_not_compared(device):
    done = run(device, "verify", device / "audit", "--events", device / "events.jsonl")
    assert isinstance(done.exception, ConfigError)
