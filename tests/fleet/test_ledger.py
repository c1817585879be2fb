"""A reader refuses by name what is replayed, reordered, altered, expired or another device's."""

import json
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli import events as command
from edge import limits
from edge.errors import ConfigError, StorageUnavailable
from edge.identity import write_public_key
from edge.protocol import event
from fleet.archive import Archive, lines
from fleet.events import Reader
from fleet.ledger import Keys, Ledger

NOW = 1_800_000_000.0
ONE, TWO = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = Keys(named={"gate-1": ONE.public_key(), "gate-2": TWO.public_key()})


def made(sequence, *, device="gate-1", key=ONE, now=NOW, data=None):
    data = data or event.AuditHead(head="0" * 20 + "-" + "0" * 64)
    return event.encode(event.make(data, device=device, sequence=sequence, now=now, key=key))


def altered(message):
    document = json.loads(message)
    document["data"]["head"] = "1" * 20 + "-" + "0" * 64
    return json.dumps(document).encode()


def refusals(messages, keys=KEYS, now=NOW):
    reader = Reader(keys, now=lambda: now)
    return [reader.receive(message).refusal for message in messages], reader.ledger


def test_what_comes_in_order_is_taken():
    messages = [made(n) for n in (4, 5, 6)] + [made(9, device="gate-2", key=TWO)]
    named, ledger = refusals(messages)
    assert named == [None] * 4
    assert ledger.devices["gate-1"].highest == 6
    assert not ledger.devices["gate-1"].holes


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (made(5), "replayed"),
        (made(3), "replayed"),
        (altered(made(6)), "altered"),
        (made(6, key=TWO), "another-device"),
        (made(6, key=Ed25519PrivateKey.generate()), "another-device"),
        (made(6, now=NOW - limits.EVENT_EXPIRY_S), "expired"),
        (b"{}", "malformed"),
        (made(6)[:-20], "malformed"),
    ],
)
def test_what_is_not_is_refused_by_name_and_changes_nothing(message, name):
    named, ledger = refusals([made(4), made(5), message, made(6)])
    assert named == [None, None, name, None]
    assert ledger.devices["gate-1"].highest == 6


def test_an_event_overtaken_by_a_later_one_is_reordered():
    named, ledger = refusals([made(1), made(3), made(2)])
    assert named == [None, None, "reordered"]
    assert ledger.devices["gate-1"].holes == [(2, 2)]


def test_the_first_key_that_signs_for_a_device_stays_its():
    keys = Keys(any=[ONE.public_key(), TWO.public_key()])
    named, _ = refusals([made(1), made(2, key=TWO), made(2)], keys)
    assert named == [None, "another-device", None]


def gap(first, last, missing, lost=None):
    return event.Gap(
        lost=missing if lost is None else lost, reason="test", first=first, last=last,
        missing=missing,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (gap(2, 6, 4), []),
        (gap(2, 6, 9), []),
        (gap(2, 6, 3), [(2, 3), (5, 6)]),
        (gap(5, 6, 2), [(2, 3)]),
        (gap(0, 7, 0, lost=0), []),
        (gap(0, 0, 0, lost=5), [(2, 3), (5, 6)]),
    ],
)
def test_a_gap_explains_the_numbers_it_names_and_no_more(said, left):
    named, ledger = refusals([made(1), made(4), made(7), made(8, data=said)])
    assert named == [None] * 4
    assert ledger.devices["gate-1"].holes == left


@settings(max_examples=200)
@given(st.lists(st.integers(1, 12), max_size=30))
def test_each_number_is_taken_once_and_in_order_whatever_comes(numbers):
    named, _ = refusals([MADE[n] for n in numbers])
    taken = [n for n, name in zip(numbers, named, strict=True) if name is None]
    assert taken == sorted(set(taken))
    assert set(named) <= {None, "replayed", "reordered"}


MADE = {n: made(n) for n in range(1, 13)}


# --- An archive ----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def open_archive(path):
    return Archive(path, KEYS, now=lambda: NOW)


def numbers(path):
    return [event.parse(line.message).sequence for line in lines(path)]


def test_an_archive_takes_each_event_once_over_restarts(path):
    for batch in ((1, 2, 2), (2, 3), (1, 4)):
        archive = open_archive(path)
        for n in batch:
            archive.add(MADE[n])
        archive.close()
    assert numbers(path) == [1, 2, 3, 4]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_crash_loses_nothing_that_was_written_and_leaves_no_half_line(path, cut):
    archive = open_archive(path)
    archive.add(MADE[1])
    archive.save()
    archive.add(MADE[2])
    archive.add(MADE[3])  # and the process dies before it saves again
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    archive = open_archive(path)
    for n in (1, 2, 3):
        archive.add(MADE[n])
    archive.close()
    assert numbers(path) == [1, 2, 3]


def test_a_disk_that_takes_nothing_takes_note_of_nothing(path, monkeypatch):
    archive = open_archive(path)
    archive.add(MADE[1])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fleet.archive.os.pwrite", full)
    with pytest.raises(StorageUnavailable, match="No space"):
        archive.add(MADE[2])
    monkeypatch.undo()
    assert archive.add(MADE[2]).trusted
    archive.close()
    assert numbers(path) == [1, 2]


def test_a_damaged_cursor_is_said(path):
    (path.parent / "events.jsonl.cursor").write_text("{")
    with pytest.raises(ConfigError, match="remove it"):
        open_archive(path)


def test_the_cursor_is_what_was_known():
    ledger = Ledger()
    Reader(KEYS, ledger=ledger, now=lambda: NOW).receive(MADE[5])
    again = msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger)
    assert Reader(KEYS, ledger=again, now=lambda: NOW).receive(MADE[5]).refusal == "replayed"


# --- The command ---------------------------------------------------------------------------------


def verify(tmp_path, content, *options):
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"\n".join(content) + b"\n")
    write_public_key(tmp_path / "device.pub", ONE.public_key())
    key = f"gate-1={tmp_path / 'device.pub'}"
    return CliRunner().invoke(command.app, ["verify", str(path), "--device-key", key, *options])


def test_verify_names_every_refusal_with_its_line(tmp_path):
    now = time.time()

    def fresh(n, **options):
        return made(n, now=now, **options)

    done = verify(
        tmp_path,
        [fresh(1), fresh(2), fresh(2), altered(fresh(3)), fresh(3, key=TWO), fresh(5), fresh(4),
         made(6, now=now - 30 * 86400), b"garbage"],
    )  # fmt: skip
    assert done.exit_code == 1
    said = [line for line in done.output.splitlines() if line.startswith("line")]
    names = ["replayed", "altered", "another-device", "reordered", "expired", "malformed"]
    assert [line.split(": ")[1] for line in said] == names
    assert [line.split(":")[0] for line in said] == [f"line {n}" for n in (3, 4, 5, 7, 8, 9)]
    assert "gap: numbers 3 to 4 have not come" in done.output
    assert done.output.splitlines()[-1] == "3 good, 6 refused, 2 missing"


def test_verify_takes_an_archive_long_after(tmp_path):
    archive = Archive(tmp_path / "a.jsonl", KEYS, now=lambda: 1_700_000_000.0)
    for n in (1, 2, 3):
        archive.add(made(n, now=1_700_000_000.0))
    archive.close()
    done = verify(tmp_path, (tmp_path / "a.jsonl").read_bytes().splitlines(), "--json")
    assert done.exit_code == 0
    assert json.loads(done.output) == {"good": 3, "refused": 0, "missing": 0}


def test_verify_without_a_key_checks_nothing_and_says_so(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_bytes(MADE[1])
    done = CliRunner().invoke(command.app, ["verify", str(path)])
    assert isinstance(done.exception, ConfigError)


def test_a_line_longer_than_any_event_is_refused(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"x" * (limits.MAX_ARCHIVE_LINE_BYTES + 1))
    with pytest.raises(ConfigError, match="longer"):
        list(lines(path))
