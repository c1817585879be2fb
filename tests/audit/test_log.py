"""Nothing recorded is changed, left out or cut off unseen, and nothing ends the recording."""

import os
import resource
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.audit.diary import Diary
from edge.audit.log import AuditLog, paths
from edge.errors import StorageUnavailable
from edge.protocol import audit, event
from edge.protocol.event import ListVersion
from fleet.audit import records, verify

NOW = 1_800_000_000.0
LIST = ListVersion(id="gate", version=3)
ENTRY = "0" * 32
STARTED = audit.Started(device="camera-1", software="1", models={}, configuration="0" * 64)


class Clock:
    now, ran = NOW, 100.0

    def __call__(self):
        return self.now

    def steady(self):
        return self.ran


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def jump(n):
    return audit.ClockJumped(seconds=float(n))


def filled(folder, count=5, now=Clock()):  # noqa: B008
    log = AuditLog(folder, now=now)
    for n in range(count):
        log.append(jump(n))
    log.close()
    return log


def whats(folder):
    return [record.what for _, record in records(folder)]


def names(folder):
    return [finding.name for finding in verify(folder).findings]


def test_records_follow_each_other_over_restarts(folder, clock):
    heads = [filled(folder).head, filled(folder).head]
    chain = verify(folder)
    assert not chain.findings
    assert (chain.first, chain.last) == (1, 10)
    assert chain.head == heads[1]
    assert chain.digests[5] == heads[0][21:]
    assert paths(folder)[0].stat().st_mode & 0o077 == 0


def test_the_head_names_the_newest_record(folder, clock):
    log = AuditLog(folder, now=clock)
    assert log.head == "0" * 20 + "-" + "0" * 64
    head = log.append(jump(1))
    assert head == log.head == verify(folder).head
    log.close()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"2.0", b"9.0"), *lines[3:]], "altered"),
        (lambda lines: [*lines[:2], *lines[3:]], "missing"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "missing"),
        (lambda lines: [*lines[:2], b"{}", *lines[3:]], "malformed"),
        (lambda lines: [*lines[:2], b"x" * limits.AUDIT_LINE_BYTES * 2, *lines[3:]], "malformed"),
        (lambda lines: lines[1:], "unanchored"),
        (lambda lines: [lines[0].replace(b"0.0", b"7.0"), *lines[1:]], "altered"),
    ],
)
def test_what_was_done_to_a_log_is_named(folder, change, name):
    filled(folder)
    (path,) = paths(folder)
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    assert name in names(folder)


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_removed_and_that_is_said(folder, clock, cut):
    filled(folder)
    (path,) = paths(folder)
    path.write_bytes(path.read_bytes()[:-cut])
    assert names(folder) == ["torn"]
    log = AuditLog(folder, now=clock)
    log.close()
    assert names(folder) == []
    *kept, repaired = whats(folder)
    assert kept == [jump(n) for n in range(4)]
    assert isinstance(repaired, audit.Repaired)


def test_damage_is_set_aside_as_it_was_found_and_said(folder, clock):
    filled(folder)
    (path,) = paths(folder)
    found = path.read_bytes().replace(b"2.0", b"9.0")
    path.write_bytes(found)
    log = AuditLog(folder, now=clock)
    log.append(jump(9))
    log.close()
    broken = whats(folder)[3]
    assert isinstance(broken, audit.Broken)
    assert (folder / broken.aside).read_bytes() == found
    assert names(folder) == ["broken"], "said, and never forgotten"


def test_an_empty_file_after_a_crash_is_begun_again(folder, clock):
    filled(folder)
    (folder / f"audit-{6:020d}.jsonl").touch()
    filled(folder, 1)
    assert names(folder) == []
    assert verify(folder).last == 6


def test_a_log_rotates_and_lets_go_of_the_oldest_without_a_break(folder, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_FILE_BYTES", 1000)
    monkeypatch.setattr(limits, "AUDIT_MAX_BYTES", 5000)
    filled(folder, 100)
    filled(folder, 100)
    chain = verify(folder)
    assert not chain.findings
    assert chain.first > 1
    assert sum(path.stat().st_size for path in paths(folder)) <= 5000
    paths(folder)[0].unlink()  # what was not dropped by the device is missed
    assert names(folder) == ["unanchored"]


def test_records_grow_old_by_time_that_is_certainly_over(folder, monkeypatch, clock):
    monkeypatch.setattr(limits, "AUDIT_FILE_BYTES", 1000)
    certain = NOW
    log = AuditLog(folder, now=clock, certain=lambda: certain)
    for n in range(20):
        log.append(jump(n))
    clock.now += 10 * 365 * 86400  # a clock that was set wrongly
    for n in range(20):
        log.append(jump(n))
    assert verify(folder).first == 1
    certain = clock.now
    for n in range(20):
        log.append(jump(n))
    log.close()
    chain = verify(folder)
    assert chain.first > 1
    assert not chain.findings
    assert {w.reason for w in whats(folder) if isinstance(w, audit.Dropped)} == {"age"}


def test_a_full_disk_keeps_records_in_memory_and_writes_them_later(folder, clock, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_UNSAVED_MAX", 20)
    log = AuditLog(folder, now=clock)
    log.append(jump(0))
    size = paths(folder)[0].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        for n in range(1, 20):
            log.append(jump(n))
        assert "disk full" in log.trouble
        assert not log.full
        log.append(jump(20))
        assert log.full
        assert log.head.startswith(f"{1:020d}"), "only what is on the disk is a head"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.flush()
    assert not log.trouble
    log.close()
    assert names(folder) == []
    assert whats(folder) == [jump(n) for n in range(21)]


def test_a_process_that_dies_on_a_full_disk_leaves_what_holds(folder, clock, monkeypatch):
    log = AuditLog(folder, now=clock)
    log.append(jump(0))

    def full(file, content, offset):
        os.lseek(file, offset, os.SEEK_SET)
        os.write(file, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.audit.log._write_whole", full)
    log.append(jump(1))
    monkeypatch.undo()
    filled(folder, 1)
    assert names(folder) == []
    assert [type(w).__name__ for w in whats(folder)] == ["ClockJumped", "Repaired", "ClockJumped"]


def test_what_the_disk_did_not_take_is_written_again(folder, clock, monkeypatch):
    log = AuditLog(folder, now=clock)
    log.append(jump(0))

    def fail(_file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("edge.audit.log.os.fdatasync", fail)
    log.append(jump(1), jump(2), sync=False)
    with pytest.raises(StorageUnavailable, match="Input/output"):
        log.sync()
    assert log.full, "what is recorded may be lost: nobody is looked for"
    (path,) = paths(folder)
    held = path.read_bytes()
    path.write_bytes(held[: len(held) - 100])  # what a disk may make of it
    monkeypatch.undo()
    log.sync()
    assert not log.full
    assert path.read_bytes() == held
    log.append(jump(3))
    log.close()
    assert names(folder) == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_file_recording_goes_on_and_is_never_silently_whole(data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "audit"
        before = filled(folder, 8).head
        (path,) = paths(folder)
        content = path.read_bytes()
        where = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(st.binary(min_size=1, max_size=40))
        changed = data.draw(
            st.sampled_from(
                [content[:where], content[:where] + what + content[where + len(what) :]]
            )
        )
        path.write_bytes(changed)
        log = AuditLog(folder, now=Clock())
        log.append(jump(9))
        log.close()
        chain = verify(folder)
        said = [w for w in whats(folder) if isinstance(w, audit.Repaired | audit.Broken)]
        # Only a log that was cut at the end of a line looks whole; the heads in events tell then.
        intact = chain.digests.get(8) == before[21:]
        assert intact or said or content.startswith(changed)
        assert {f.name for f in chain.findings} <= {"broken", "unanchored"}


# --- What is recorded when -----------------------------------------------------------------------


class Desk:
    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock
        self.open()

    def open(self):
        self.log = AuditLog(self.folder, now=self.clock)
        self.diary = Diary(self.log, STARTED, now=self.clock, steady=self.clock.steady)

    def kinds(self):
        return [w.__struct_config__.tag for w in whats(self.folder)]


@pytest.fixture
def desk(folder, clock):
    return Desk(folder, clock)


def gallery(version=3):
    authorisation = SimpleNamespace(reference="court 1", purpose="court-order", not_before=1)
    return SimpleNamespace(
        id="gate", version=version, authorisation=authorisation, expires=NOW + 9, entries=5
    )


def sealed(version=3):
    role = SimpleNamespace(role="regular")
    return SimpleNamespace(version=version, digest=f"{version:064x}", provenance=role)


def test_a_period_of_use_has_a_list_a_begin_and_an_end(desk):
    one, two = gallery(3), gallery(4)
    for _ in range(3):
        assert desk.diary.look(one, sealed(3)) is one
    assert desk.diary.look(two, sealed(4)) is two
    assert desk.diary.look(None, None) is None
    desk.diary.look(two, sealed(4))
    desk.diary.close()
    assert desk.kinds() == [
        "started", "list-taken", "use-began", "list-taken", "use-ended", "use-began", "use-ended",
        "use-began", "use-ended", "stopped",
    ]  # fmt: skip
    ends = [w.reason for w in whats(desk.folder) if isinstance(w, audit.UseEnded)]
    assert ends == ["list", "list", "stopped"]


def test_a_camera_that_is_lost_ends_the_use_and_the_next_frame_begins_another(desk):
    one = gallery()
    desk.diary.look(one, sealed())
    desk.diary.idle("camera")
    desk.diary.idle("camera")
    desk.diary.look(one, sealed())
    assert desk.kinds()[2:] == ["use-began", "use-ended", "use-began"]


def test_a_use_that_a_power_cut_ended_is_closed_at_the_next_start(desk, clock):
    desk.diary.look(gallery(), sealed())
    clock.ran += limits.AUDIT_HEAD_S
    assert desk.diary.hour_is_over()
    assert not desk.diary.hour_is_over()
    desk.log.close()  # and nothing more
    desk.open()
    assert desk.kinds()[2:] == ["use-began", "use-goes-on", "use-ended", "started"]
    desk.log.close()
    desk.open()
    assert desk.kinds()[-2:] == ["started", "started"], "closed once"


def test_nobody_is_looked_for_while_it_cannot_be_recorded(desk, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_UNSAVED_MAX", 3)

    def full(*_):
        raise OSError(28, "No space left on device")

    one = gallery()
    monkeypatch.setattr("edge.audit.log._write_whole", full)
    assert desk.diary.look(one, sealed()) is one
    desk.diary.report(event.Ended(candidate="c-" + "0" * 20, entry=ENTRY, reason="left"), "c", 1)
    assert desk.diary.look(one, sealed()) is None
    assert "audit log cannot be written" in desk.diary.trouble
    monkeypatch.undo()
    monkeypatch.setattr(limits, "AUDIT_UNSAVED_MAX", 3)
    desk.diary.watch(one, sealed(), ())
    assert desk.diary.look(one, sealed()) is one
    ends = [w.reason for w in whats(desk.folder) if isinstance(w, audit.UseEnded)]
    assert ends == ["audit"]


def test_an_event_is_recorded_before_it_is_stored_and_once(desk):
    data = event.Ended(candidate="c-" + "0" * 20, entry=ENTRY, reason="left")
    head = desk.diary.report(data, "camera-1", 7)
    assert desk.diary.report(data, "camera-1", 7) == head  # the outbox tries again
    (record,) = [w for w in whats(desk.folder) if isinstance(w, audit.Reported)]
    assert record.event == event.event_id("camera-1", 7)
    assert head == verify(desk.folder).head
    assert desk.diary.report(event.AuditHead(head=head), "camera-1", 8) == head


def test_refusals_are_counted_not_piled_up(desk, clock):
    for n in range(1000):
        desk.diary.refuse("list", f"forged {n}")
        clock.ran += 0.125
    found = [w for w in whats(desk.folder) if isinstance(w, audit.Refused)]
    assert len(found) == 13, "one in ten seconds"
    assert sum(1 + w.more for w in found) == 12 * 80 + 1
    desk.diary.refuse("list", "x" * 10_000)
    assert len(whats(desk.folder)[-1].reason) <= limits.REASON_CHARS


def test_what_is_wrong_is_recorded_when_it_changes_and_not_when_it_flickers(desk, clock):
    for n in range(100):
        desk.diary.watch(None, None, ("camera: gone",) if n % 2 else ())
        clock.ran += 1
        clock.now += 1
    found = [w for w in whats(desk.folder) if isinstance(w, audit.Degraded)]
    assert 2 <= len(found) <= 100 / limits.AUDIT_PAUSE_S + 1


@pytest.mark.parametrize("seconds", [-86400.0, 365 * 86400.0])
def test_a_clock_that_was_set_is_recorded_once(desk, clock, seconds):
    for _ in range(3):
        desk.diary.watch(None, None, ())
        clock.now += 1
        clock.ran += 1
    clock.now += seconds
    for _ in range(3):
        desk.diary.watch(None, None, ())
    (jumped,) = [w for w in whats(desk.folder) if isinstance(w, audit.ClockJumped)]
    assert jumped.seconds == pytest.approx(seconds, abs=2)
    assert not verify(desk.folder).findings


def test_orders_and_configurations_are_noted(desk):
    desk.diary.note(audit.Ordered(command="stop", by="operator"))
    desk.diary.note(audit.Configured(configuration="1" * 64, source="file"))
    assert desk.kinds()[1:] == ["ordered", "configured"]
