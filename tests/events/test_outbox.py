"""Nothing is lost, nothing is lost in silence, and no number is given twice."""

import resource
import sqlite3
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import StorageUnavailable
from edge.events.outbox import Outbox
from edge.protocol.event import Ended, Gap, Picture


def make(data, sequence):
    return msgspec.json.encode({"sequence": sequence, "data": data})


def note(number):
    return Gap(lost=number, reason="test")


class Clock:
    now = 1_800_000_000.0
    ran = 500.0

    def __call__(self):
        return self.now

    def steady(self):
        return self.ran


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_outbox(tmp_path, clock):
    opened = []

    def open_outbox():
        opened.append(Outbox(tmp_path / "outbox.db", make, now=clock, steady=clock.steady))
        return opened[-1]

    yield open_outbox
    for outbox in opened:
        outbox.close()


def waiting(outbox):
    """What lies in it, without taking it to the broker."""
    rows = outbox._run("SELECT message FROM event ORDER BY sequence")
    return [msgspec.json.decode(row[0]) for row in rows]


def test_events_come_out_in_the_order_they_went_in(open_outbox):
    outbox = open_outbox()
    assert [outbox.put(note(i)) for i in range(5)] == [1, 2, 3, 4, 5]
    assert [w["data"]["lost"] for w in waiting(outbox)] == [0, 1, 2, 3, 4]
    assert [s.sequence for s in outbox.pending(2)] == [1, 2]
    assert len(outbox) == 5


def test_what_waits_survives_the_process(open_outbox):
    outbox = open_outbox()
    for i in range(3):
        outbox.put(note(i))
    outbox.delete(1)
    outbox.close()
    assert [w["sequence"] for w in waiting(open_outbox())] == [2, 3]


def test_no_number_is_given_twice_even_after_all_was_delivered(open_outbox):
    outbox = open_outbox()
    for i in range(3):
        outbox.delete(outbox.put(note(i)))
    outbox.close()
    assert open_outbox().put(note(9)) == 4


def test_too_many_make_room_and_the_gap_is_told(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_EVENTS", 5)
    outbox = open_outbox()
    for _ in range(6):
        outbox.put(note(1))
    left = waiting(outbox)
    assert len(left) == 5
    assert left[-1]["data"] == {
        "lost": 2, "pictures": 0, "reason": "too many waited", "first": 1, "last": 2, "missing": 2
    }  # fmt: skip
    assert [w["sequence"] for w in left] == [3, 4, 5, 6, 7]


def test_a_gap_that_must_go_itself_hands_its_count_on(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_EVENTS", 200)
    outbox = open_outbox()
    for _ in range(1000):
        outbox.put(note(1))
    left = [each["data"] for each in waiting(outbox)]
    assert len(left) <= 200
    assert sum(data["lost"] for data in left) == 1000, "each is there or told of, once"


def test_what_is_past_its_time_goes_and_the_gap_is_told(open_outbox, clock):
    outbox = open_outbox()
    outbox.put(note(1))
    outbox.put(note(1))
    clock.ran += limits.EVENT_EXPIRY_S - 1
    outbox.put(note(1))
    assert [s.sequence for s in outbox.pending(9, after=3)] == []
    assert len(outbox) == 3
    clock.ran += limits.OUTBOX_LOOK_S
    assert [s.sequence for s in outbox.pending(9)] == [3, 4]
    assert waiting(outbox)[-1]["data"] == {
        "lost": 2, "pictures": 0, "reason": "not delivered in time", "first": 1, "last": 2,
        "missing": 2,
    }  # fmt: skip


ENTRY = "0" * 32


def picture(size=1000):
    candidate = "camera-1-" + "0" * 20
    return Picture(candidate=candidate, entry=ENTRY, recipient="0" * 16, sealed=bytes(size))


def kinds(outbox):
    return ["picture" if "sealed" in w["data"] else "gap" for w in waiting(outbox)]


def test_when_it_is_full_pictures_go_first(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_EVENTS", 6)
    outbox = open_outbox()
    for _ in range(3):
        outbox.put_all([note(1), picture()])
    outbox.put(note(1))
    assert kinds(outbox) == ["gap", "gap", "gap", "picture", "gap", "gap"]
    told = waiting(outbox)[-1]["data"]
    assert (told["lost"], told["pictures"]) == (0, 2)
    assert (told["first"], told["last"], told["missing"]) == (2, 4, 2)


def test_bytes_are_bounded_too(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_BYTES", 100_000)
    outbox = open_outbox()
    for _ in range(20):
        outbox.put_all([picture(20_000), note(1)])
        assert outbox._run("SELECT sum(length(message)) FROM event")[0][0] <= 100_000
    assert kinds(outbox).count("picture") == 3
    lost = [w["data"].get("lost", 0) for w in waiting(outbox)]
    assert sum(lost) == 20, "no report has gone"


def test_what_is_with_the_broker_already_is_not_dropped(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_EVENTS", 5)
    outbox = open_outbox()
    outbox.put_all([note(1)] * 3)
    assert [s.sequence for s in outbox.pending(2)] == [1, 2]
    outbox.put_all([note(1)] * 3)
    assert [w["sequence"] for w in waiting(outbox)] == [1, 2, 5, 6, 7]
    assert outbox.put_all([]) == []


def test_several_are_stored_together_or_not_at_all(open_outbox, monkeypatch):
    outbox = open_outbox()
    store, left = outbox._store, [2]

    def fail_third(data):
        if not left[0]:
            raise StorageUnavailable("full")
        left[0] -= 1
        return store(data)

    monkeypatch.setattr(outbox, "_store", fail_third)
    with pytest.raises(StorageUnavailable):
        outbox.put_all([note(1)] * 3)
    monkeypatch.undo()
    assert len(outbox) == 0 == len(waiting(outbox))
    assert outbox.put_all([note(1)] * 3) == [1, 2, 3]


def test_what_must_be_recorded_first_and_is_not_is_not_stored(tmp_path, clock):
    def refuse():
        raise StorageUnavailable("the audit log")

    outbox = Outbox(tmp_path / "outbox.db", make, now=clock, before_commit=refuse)
    with pytest.raises(StorageUnavailable, match="audit"):
        outbox.put(note(1))
    assert len(outbox) == 0 == len(waiting(outbox))
    assert outbox.pending(9) == []
    outbox.delete(1)  # what makes no event is not held up
    outbox.close()


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_jumps_drops_nothing(open_outbox, clock, years):
    outbox = open_outbox()
    outbox.put(note(1))
    clock.now += years * 365 * 86400
    clock.ran += 2 * limits.OUTBOX_LOOK_S
    assert [s.sequence for s in outbox.pending(9)] == [1]
    assert outbox.put(note(1)) == 2
    outbox.close()
    assert len(open_outbox()) == 2


def test_age_is_counted_over_restarts(open_outbox, clock):
    outbox = open_outbox()
    outbox.put(note(1))
    clock.ran += limits.EVENT_EXPIRY_S - 10
    outbox.pending(1, after=9)  # looks for what is over, and notes how long it has run
    outbox.close()
    clock.ran = 3.0  # the machine was started again
    outbox = open_outbox()
    clock.ran += limits.OUTBOX_LOOK_S
    assert [w["sequence"] for w in waiting(outbox)] == [1]
    outbox.pending(1, after=9)
    assert waiting(outbox)[0]["data"]["reason"] == "not delivered in time"


def test_a_file_of_another_version_is_set_aside(open_outbox, tmp_path):
    old = sqlite3.connect(tmp_path / "outbox.db")
    old.execute("CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB)")
    old.execute("INSERT INTO event (message) VALUES ('x')")
    old.commit()
    old.close()
    (gap,) = waiting(open_outbox())
    assert gap["data"]["lost"] == 0
    assert gap["data"]["last"] == gap["sequence"] - 1 > 10**12


def test_an_end_closes_the_candidate_it_names(open_outbox):
    outbox = open_outbox()
    outbox._run("INSERT INTO in_view VALUES (1, ?)", (ENTRY,))
    outbox._run("INSERT INTO in_view VALUES (2, ?)", (ENTRY,))
    outbox.put(Ended(candidate=f"camera-1-{1:020d}", entry=ENTRY, reason="left"))
    assert outbox.in_view() == [(2, ENTRY)]


def test_an_event_that_could_not_be_stored_drops_no_other(open_outbox, monkeypatch):
    monkeypatch.setattr(limits, "OUTBOX_MAX_EVENTS", 2)
    outbox = open_outbox()
    outbox.put(note(0))
    outbox.put(note(1))
    store, stored = outbox._store, []

    def fail_at_the_gap(data):
        stored.append(data)
        if len(stored) == 2:
            raise StorageUnavailable("full")
        return store(data)

    monkeypatch.setattr(outbox, "_store", fail_at_the_gap)
    with pytest.raises(StorageUnavailable):
        outbox.put(note(2))
    monkeypatch.undo()
    assert [s.sequence for s in outbox.pending(9)] == [1, 2]


def test_a_full_disk_is_said_and_takes_nothing_that_was_there(open_outbox):
    outbox = open_outbox()
    outbox.put(note(0))
    pages = outbox._run("PRAGMA page_count")[0][0]
    outbox._run(f"PRAGMA max_page_count = {pages}")
    fill = (outbox.put(Gap(lost=i, reason="x" * 500)) for i in range(1000))
    with pytest.raises(StorageUnavailable, match="full"):
        list(fill)
    stored = len(outbox)
    outbox._run("PRAGMA max_page_count = 100000")
    sequence = outbox.put(note(7))
    assert sequence == stored + 1, "a number that was not stored was not given"
    assert len(outbox) == stored + 1


def test_a_file_that_may_not_grow_takes_nothing_that_was_there(open_outbox):
    outbox = open_outbox()
    outbox.put(note(0))
    fill = (outbox.put(Gap(lost=i, reason="x" * 500)) for i in range(1000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageUnavailable):
            list(fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    stored = len(outbox)
    assert stored > 1
    assert outbox.put(note(7)) == stored + 1, "a number that was not stored was not given"
    assert [w["sequence"] for w in waiting(outbox)] == list(range(1, stored + 2))


def damaged(content, where, what):
    return content[:where] + what + content[where + len(what) :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"not a database, but long enough to be taken for one" * 99,
        lambda content: content[:1],
        lambda content: content[:5000],
        lambda content: damaged(content, 0, bytes(512)),
        lambda content: content.replace(b"AUTOINCREMENT", b"AUTO\xba\x9cREMENT"),
    ],
    ids=["empty", "other", "one byte", "cut off", "zeros", "unreadable words"],
)
def test_a_damaged_file_is_set_aside_and_the_gap_is_told(
    open_outbox, tmp_path, damage, caplog, clock
):
    outbox = open_outbox()
    outbox.put(note(0))
    outbox.close()
    path = tmp_path / "outbox.db"
    content = damage(path.read_bytes())
    path.write_bytes(content)
    again = open_outbox()
    assert "set aside" in caplog.text
    assert (tmp_path / "outbox.db.damaged").read_bytes() == content
    (gap,) = waiting(again)
    assert "damaged" in gap["data"]["reason"]
    assert gap["sequence"] > clock.now, "beyond any number that the lost file can have given"
    assert again.put(note(1)) == gap["sequence"] + 1
    again.close()
    assert len(open_outbox()) == 2, "the gap is told once"


def test_the_gap_of_a_damaged_file_is_told_even_if_the_disk_was_full_then(tmp_path, clock):
    path = tmp_path / "outbox.db"
    path.write_bytes(b"no database at all")

    def full(_data, _sequence):
        raise StorageUnavailable("full")

    with pytest.raises(StorageUnavailable, match="full"):
        Outbox(path, full, now=clock)
    outbox = Outbox(path, make, now=clock)
    (gap,) = waiting(outbox)
    assert gap["sequence"] > clock.now
    outbox.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_file_events_go_on_and_errors_are_of_one_kind(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        outbox = Outbox(path, make, now=Clock())
        for i in range(20):
            outbox.put(Gap(lost=i, reason="x" * 400))
        outbox.close()
        content = path.read_bytes()
        where = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(st.sampled_from([b"\0", b"\xff"])) * data.draw(
            st.sampled_from([1, 16, 512, 4096])
        )
        path.write_bytes(
            data.draw(st.sampled_from([content[:where], damaged(content, where, what)]))
        )
        try:
            outbox = Outbox(path, make, now=Clock())
        except StorageUnavailable:
            return
        try:
            assert outbox.put(note(1)) > 20, "a number given twice"
            for stored in outbox.pending(100):
                outbox.delete(stored.sequence)
        except StorageUnavailable:
            pass
        finally:
            outbox.close()


@pytest.mark.parametrize("path", ["/proc/outbox.db", "/dev/null/outbox.db", "/" + "x" * 300])
def test_a_place_that_cannot_be_written_is_said(path, clock):
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        Outbox(Path(path), make, now=clock)


def test_a_folder_that_is_not_there_is_said(tmp_path, clock):
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        Outbox(tmp_path / "nowhere" / "outbox.db", make, now=clock)


def test_only_its_owner_may_read_it(open_outbox, tmp_path):
    open_outbox().put(note(0))
    assert all(p.stat().st_mode & 0o077 == 0 for p in tmp_path.glob("outbox.db*"))


def test_what_was_delivered_is_overwritten(open_outbox, tmp_path):
    outbox = open_outbox()
    outbox.delete(outbox.put(Gap(lost=1, reason="unmistakable words")))
    outbox.close()
    assert b"unmistakable" not in (tmp_path / "outbox.db").read_bytes()


def test_what_has_a_name_is_stored_once_also_after_a_restart(open_outbox):
    outbox = open_outbox()
    assert outbox.put(note(1), once="gate 7") == 1
    assert outbox.put(note(1), once="gate 7") is None
    outbox.delete(1)
    outbox.close()
    outbox = open_outbox()
    assert outbox.put(note(1), once="gate 7") is None
    assert outbox.put(note(2), once="gate 8") == 2
    assert len(outbox) == 1


def test_names_do_not_pile_up(open_outbox, monkeypatch):
    monkeypatch.setattr("edge.events.outbox._ONCE_KEPT", 3)
    outbox = open_outbox()
    for number in range(10):
        outbox.put(note(number), once=f"gate {number}")
    assert outbox._run("SELECT name FROM once ORDER BY rowid") == [
        ("gate 7",),
        ("gate 8",),
        ("gate 9",),
    ]


def test_many_threads_put_and_take(open_outbox):
    outbox, numbers = open_outbox(), []

    def work():
        numbers.extend(outbox.put(note(i)) for i in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 81))
    assert len(outbox) == 80


def test_a_locked_file_is_said(open_outbox, tmp_path):
    outbox = open_outbox()
    outbox._run("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        outbox.put(note(0))
    other.execute("ROLLBACK")
    other.close()
    assert outbox.put(note(0)) == 1
