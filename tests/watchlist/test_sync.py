"""The list in force: what replaces it, what ends it, what is kept of it."""

import errno
import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import limits
from edge.errors import IndicatorUnavailable, StorageUnavailable
from edge.files import private_folder
from edge.protocol import list_key
from edge.watchlist import store as storing
from edge.watchlist.place import Fix
from edge.watchlist.store import ListStore
from edge.watchlist.sync import NO_LIST
from edge.watchlist.upkeep import keep_the_order, retire_others
from tests.watchlist.lists import KEY, STORAGE_KEY, A, B, Device, delivery, listing, vouched
from tests.watchlist.test_authorisation import (
    LIST,
    NOW,
    REGULAR,
    URGENT,
    WORN,
    ZURICH,
    authorised,
    placed,
)
from tests.watchlist.test_gallery import directions, entry, memory_of

GOOD = delivery(listing(5, entry(1, A)))
NEXT = delivery(listing(6, entry(2, B)))
LATER = delivery(listing(6, entry(1, A), base=authorised(not_before=NOW + 600)))


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


# --- Taking --------------------------------------------------------------------------------------


def test_a_new_list_takes_the_place_of_the_old_which_is_destroyed(device):
    assert device.said() == NO_LIST
    first = device.offer(delivery(listing(1, entry(1, A)))).lists.current()
    assert (device.version(), device.said()) == (1, "")
    memory = memory_of(first)
    device.offer(delivery(listing(2, entry(2, B))))
    assert device.version() == 2
    assert not any(part.any() for part in memory)
    assert first.search(A, NOW, 1) == []
    assert device.receipts.reasons() == [(1, "replaced")]


@pytest.mark.parametrize(
    ("watchlist", "reason"),
    [
        (listing(4), "version 4 is older than 5"),
        (listing(5), "other content"),
        (listing(6, expires=NOW - 9), "expired"),
        (listing(6, id="other"), "obeys 'gate'"),
        (listing(6, base=authorised(devices=["elsewhere"])), "not issued for device"),
        (listing(6, base=authorised(profile="body-worn")), "this one is fixed"),
        (listing(6, base=authorised(area=ZURICH)), "set device.position"),
        (listing(6, base=authorised(fpir_target=0.5)), "laxer than 0.01"),
        (listing(6, *(entry(i, A) for i in range(4))), "at most 3"),
        (listing(6, embedder="other"), "enrol again"),
        (listing(6, issued=NOW + 9999), "in the future"),
    ],
)
def test_what_is_refused_leaves_the_list_in_force_and_says_why(device, watchlist, reason, caplog):
    device.offer(GOOD).offer(delivery(watchlist))
    assert device.version() == 5
    assert reason in device.said()
    assert reason in caplog.text
    assert device.receipts.given == {}
    assert device.restart().version() == 5


def test_a_list_of_too_few_signatures_is_refused(device):
    few = vouched(GOOD, REGULAR.__class__("regular", ("a",), 2))
    assert "signed by 1; its role needs 2" in device.offer(few).said()


def test_the_same_list_again_changes_nothing(device):
    before = device.offer(GOOD).lists.current()
    assert device.offer(GOOD).lists.current() is before
    assert before.search(A, NOW, 1)


def test_the_same_list_again_clears_what_was_said_of_a_worse_one(device):
    device.offer(GOOD).offer(delivery(listing(4)))
    assert "refused" in device.said()
    assert device.offer(GOOD).said() == ""
    assert device.version() == 5


def test_only_the_newest_of_what_waits_is_looked_at(device):
    device.lists.offer(GOOD)
    device.lists.offer(NEXT)
    device.settle()
    assert device.version() == 6
    assert device.receipts.given == {}


def test_lists_are_swapped_under_those_who_search(device, monkeypatch):
    monkeypatch.setattr(limits, "LIST_CHECK_S", 0.01)
    device.lists.start()
    device.lists.offer(delivery(listing(1, entry(1, A))))
    stop, wrong, searches = threading.Event(), [], [0] * 4

    def search(number):
        while not stop.is_set():
            gallery = device.lists.current()
            hits = gallery.search(A, NOW, 1) if gallery else []
            searches[number] += 1
            if hits and (int(hits[0].entry, 16) != gallery.version or hits[0].score < 0.99):
                wrong.append(hits)

    threads = [threading.Thread(target=search, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 30):
        device.lists.offer(delivery(listing(version, entry(version, A))))
        patience = time.monotonic() + 60
        while device.version() != version and time.monotonic() < patience:
            time.sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    device.lists.close()
    assert not wrong
    assert all(searches)
    assert [r.list.version for r in device.receipts.given.values()] == [*range(1, 29)]


def test_closing_overwrites_memory_and_keeps_the_disk(device, monkeypatch):
    monkeypatch.setattr(limits, "LIST_CHECK_S", 0.01)
    gallery = device.offer(GOOD).lists.current()
    memory = memory_of(gallery)
    device.lists.start()
    device.lists.close()
    assert not any(part.any() for part in memory)
    assert device.lists.current() is None
    assert device.shown[-1] is False
    assert device.restart().version() == 5
    assert device.receipts.given == {}


def test_a_thread_that_dies_leaves_nothing_armed(device, monkeypatch):
    device.offer(GOOD)
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())
    monkeypatch.setattr(device.lists._upkeep, "pursue", lambda _time: 1 / 0)
    device.lists.start()
    assert died.wait(10)
    assert device.version() is None
    assert "not looked after" in device.said()


# --- Time ----------------------------------------------------------------------------------------


def test_a_list_that_begins_later_is_kept_until_then(device):
    device.offer(GOOD).offer(LATER)
    assert "list waits: valid in 10 minutes" in device.said()
    assert device.version() == 5
    assert device.later(600).version() == 6
    assert device.said() == ""


def test_what_is_refused_does_not_displace_a_list_that_begins_later(device):
    device.offer(LATER).offer(delivery(listing(7, id="other")))
    assert device.later(600).version() == 6
    assert device.said() == ""


def test_what_is_withdrawn_or_replaced_does_not_begin_later(device):
    device.offer(LATER).offer(delivery(listing(7)))
    assert device.later(600).version() == 7
    device.offer(delivery(listing(8, base=authorised(not_before=NOW + 900)))).withdraw()
    assert device.later(600).version() is None


def test_a_list_that_waits_for_the_end_of_the_one_in_force_begins_then(device):
    device.offer(delivery(listing(5, entry(1, A), expires=NOW + 600))).offer(LATER)
    assert device.later(600).version() == 6
    assert device.receipts.reasons() == [(5, "expired")]


def test_at_its_end_a_list_finds_nobody_at_once_and_is_destroyed(device):
    gallery = device.offer(GOOD).lists.current()
    memory = memory_of(gallery)
    device.now = LIST.expires
    assert device.version() is None, "at once, whatever the thread does"
    assert gallery.search(A, device.now, 1) == []
    device.settle()
    assert not any(part.any() for part in memory)
    assert "has ended: expired" in device.said()
    assert device.receipts.reasons() == [(5, "expired")]
    assert device.files() == {"life.json"}


def test_what_has_expired_does_not_return_whatever_the_clock_says(device):
    device.offer(GOOD)
    device.later(LIST.expires - NOW)
    device.now = NOW
    device.offer(GOOD)
    assert device.version() is None
    assert "has ended and was destroyed; publish a new version" in device.said()
    assert device.restart().offer(GOOD).version() is None
    assert device.offer(NEXT).version() == 6


def test_a_list_that_expired_while_the_device_was_off_is_destroyed_at_the_start(device):
    device.offer(GOOD)
    device.now = LIST.expires + 9999
    device.restart()
    assert device.version() is None
    assert device.receipts.reasons() == [(5, "expired")]
    assert device.files() == {"life.json"}


def test_a_clock_in_doubt_suspends_and_destroys_nothing(device):
    device.offer(GOOD)
    device.now, device.doubt = LIST.expires + 365 * 86400, "it has jumped"
    assert device.version() is None
    assert "not looking: the clock is not trusted: it has jumped" in device.settle().said()
    assert "list waits: the clock is not trusted" in device.restart().said()
    assert device.receipts.given == {}
    device.now, device.doubt = NOW, ""
    assert device.settle().version() == 5
    assert device.said() == ""


def test_what_is_over_for_certain_is_destroyed_whatever_the_clock_says(device):
    device.offer(GOOD)
    device.now, device.doubt = 0.0, "no NTP"
    device.least = LIST.expires
    assert device.settle().receipts.reasons() == [(5, "expired")]


def test_a_list_kept_while_the_clock_is_in_doubt_is_ended_when_its_time_is_over(device):
    device.offer(GOOD)
    device.doubt = "no NTP"
    device.restart()
    device.least = LIST.expires
    assert device.settle().receipts.reasons() == [(5, "expired")]
    assert device.files() == {"life.json"}


# --- Who has signed ------------------------------------------------------------------------------

LONG = listing(5, entry(1, A), base=authorised(not_after=NOW + 9 * 86400), expires=NOW + 9 * 86400)
HURRIED = delivery(LONG, URGENT)
HOUR, DAY = 3600, 86400
DAY_OVER = LONG.issued + limits.URGENT_VALIDITY_S - NOW


def test_an_urgent_list_ends_after_a_day(device):
    device.offer(HURRIED)
    assert device.later(DAY_OVER - 1).version() == 5
    assert device.later(1).version() is None
    assert device.receipts.reasons() == [(5, "not-countersigned")]
    device.offer(vouched(HURRIED, REGULAR))  # too late
    assert device.version() is None


def hurried(version, now, provenance=URGENT):
    now = int(now)
    base = authorised(not_after=now + 9 * DAY)
    watchlist = listing(version, entry(1, A), base=base, issued=now, expires=now + 9 * DAY)
    return delivery(watchlist, provenance)


def test_ten_urgent_versions_in_a_row_die_a_day_after_the_first(device):
    device.offer(GOOD)
    for version in range(6, 16):
        assert device.offer(hurried(version, device.now)).version() == version
        device.later(2 * HOUR)
        if version % 3 == 0:
            device.restart()
    assert device.later(4 * HOUR - 1).version() == 15
    assert device.later(1).version() is None
    assert device.receipts.reasons()[-1] == (15, "not-countersigned")
    for days in range(4):
        device.later(days * DAY).restart()
        assert device.offer(hurried(16 + days, device.now)).version() is None
        assert "urgent since 2027-01-15 08:00 UTC" in device.said()
        assert "two people must sign" in device.said()
    assert device.offer(hurried(30, device.now, REGULAR)).version() == 30, "two have signed"
    assert device.restart().offer(hurried(31, device.now)).version() == 31, "a new emergency"
    assert device.later(DAY).version() is None


def test_signing_the_same_urgent_list_together_ends_the_emergency(device):
    alone = hurried(6, NOW)
    device.offer(alone).offer(vouched(alone, REGULAR))
    assert device.later(2 * DAY).restart().version() == 6
    assert device.offer(hurried(7, device.now)).version() == 7
    assert device.later(DAY - 1).version() == 7
    assert device.later(1).version() is None


@pytest.mark.parametrize("end", ["withdraw", "stop", "stop, cut off"])
def test_an_end_does_not_make_an_emergency_begin_anew(device, end):
    device.offer(hurried(6, NOW))
    if end == "withdraw":
        device.withdraw()
    else:
        device.lists.stop("order")
        (device.settle if end == "stop" else device.restart)()
        device.lists.resume()
    assert device.restart().later(DAY - 1).offer(hurried(7, device.now)).version() == 7
    assert device.later(1).version() is None


def test_an_emergency_that_could_not_be_written_down_is_no_longer_for_that(device, disk):
    device.offer(GOOD)
    disk.state = "read-only"
    device.offer(hurried(6, NOW)).withdraw()
    disk.state = "well"
    device.later(limits.LIST_RETRY_S).restart()
    device.later(DAY - 2 * limits.LIST_RETRY_S).offer(hurried(7, device.now))
    assert device.version() == 7
    assert device.later(limits.LIST_RETRY_S).version() is None


def test_what_was_written_before_emergencies_were_remembered_is_read(device):
    device.offer(hurried(6, NOW))
    path = device.folder / "lists" / "life.json"
    life = json.loads(path.read_bytes())
    assert life["floor"].pop("urgent_since") == NOW
    path.write_text(json.dumps(life))
    assert device.restart().version() == 6
    device.later(HOUR).offer(hurried(7, device.now))
    assert device.later(DAY - HOUR - 1).version() == 7
    assert device.later(1).version() is None, "the list that was kept says since when"


def test_an_urgent_list_that_was_countersigned_lives_on_also_after_a_restart(device):
    device.offer(HURRIED).offer(vouched(HURRIED, REGULAR))
    assert device.later(DAY_OVER).version() == 5
    assert device.restart().version() == 5
    device.offer(HURRIED)  # the urgent role's copy comes again: it takes nothing back
    assert device.version() == 5
    assert device.receipts.given == {}


def test_a_list_in_force_that_the_root_of_trust_no_longer_allows_is_destroyed(tmp_path):
    device = Device(tmp_path, place=placed())
    large = delivery(
        listing(5, *(entry(i, A) for i in range(3)), base=authorised(max_entries=3)), REGULAR
    )
    device.offer(large)
    weaker = vouched(large, REGULAR.__class__("regular", ("a",), 3))
    device.offer(weaker)
    assert device.version() is None
    assert device.receipts.reasons() == [(5, "not-authorised")]


def test_that_holds_for_an_urgent_list_too(device):
    device.offer(HURRIED).offer(vouched(HURRIED, msgspec.structs.replace(URGENT, threshold=2)))
    assert device.version() is None
    assert device.receipts.reasons() == [(5, "not-authorised")]


# --- Ends ----------------------------------------------------------------------------------------


def test_a_withdrawn_list_is_destroyed_and_only_a_new_version_follows(device):
    device.offer(GOOD).withdraw("withdrawn by its owner")
    assert device.version() is None
    assert device.said() == "withdrawn by its owner"
    assert device.receipts.reasons() == [(5, "withdrawn")]
    assert device.offer(GOOD).version() is None
    assert device.offer(NEXT).version() == 6


def test_a_withdrawal_holds_whatever_is_offered_before_it_was_looked_at(device):
    device.offer(GOOD).lists.withdraw("withdrawn by its owner")
    assert device.offer(delivery(listing(6, id="other"))).version() is None
    assert device.receipts.reasons() == [(5, "withdrawn")]
    device.lists.withdraw("withdrawn by its owner")
    assert device.offer(NEXT).version() == 6


def test_what_was_offered_before_a_withdrawal_is_withdrawn_with_it(device):
    device.lists.offer(GOOD)
    assert device.withdraw().version() is None


@pytest.mark.parametrize("cut_off", [False, True])
def test_an_order_to_stop_is_not_lifted_before_it_was_carried_out(device, cut_off):
    device.offer(GOOD).lists.stop("order")
    with pytest.raises(StorageUnavailable, match="resume again"):
        device.lists.resume()
    (device.restart if cut_off else device.settle)()  # at a power cut, the order is what counts
    assert device.version() is None
    device.lists.resume()
    assert device.settle().version() is None
    assert device.receipts.reasons() == [(5, "stopped")]
    assert device.files() == {"life.json"}
    assert device.restart().version() is None, "it is not there any more"
    assert device.offer(GOOD).version() == 5, "but what is still published may be fetched anew"
    device.lists.stop("order")
    device.settle()
    assert device.receipts.reasons() == [(5, "stopped"), (5, "stopped")], "a receipt each time"


def test_lifting_an_order_to_stop_revives_nothing_else(device):
    device.offer(GOOD).withdraw().lists.stop("order")
    device.settle().lists.resume()
    assert device.offer(GOOD).version() is None
    assert device.restart().offer(GOOD).version() is None


def test_withdrawing_nothing_gives_no_receipt(device):
    device.withdraw()
    device.offer(GOOD).withdraw().withdraw()
    assert len(device.receipts.given) == 1


def test_an_order_to_stop_holds_at_once_and_over_a_restart(device):
    gallery = device.offer(GOOD).lists.current()
    device.lists.stop("order 7/2026")
    assert device.version() is None, "at once, whatever the thread does"
    assert gallery.search(A, NOW, 1) == []
    device.settle()
    assert device.said() == "stopped by order: order 7/2026"
    assert device.receipts.reasons() == [(5, "stopped")]
    assert device.files() == {"life.json"}
    assert device.offer(NEXT).version() is None
    assert device.restart().offer(NEXT).version() is None
    assert "order 7/2026" in device.said()
    device.lists.resume()
    assert "resumed" in device.settle().said()
    assert device.offer(NEXT).version() == 6
    assert device.offer(GOOD).version() == 6


@pytest.mark.parametrize("reason", ["", " \n", "x" * 10**6])
def test_an_order_to_stop_needs_no_good_reason(device, reason):
    device.offer(GOOD).lists.stop(reason)
    assert device.settle().version() is None
    assert device.said().startswith("stopped by order: ")
    assert len(device.said()) < 1000
    assert "stopped by order" in device.restart().said()


def test_an_order_to_stop_that_was_cut_off_is_carried_out_at_the_next_start(device):
    device.offer(GOOD)
    device.lists.stop("order")  # and the power goes
    device.restart()
    assert device.version() is None
    assert device.receipts.reasons() == [(5, "stopped")]
    assert device.files() == {"life.json"}


def test_a_receipt_says_what_was_destroyed_and_when(device):
    device.offer(GOOD).later(5).withdraw()
    (receipt,) = device.receipts.given.values()
    assert receipt.list.id == "gate"
    assert receipt.digest == GOOD.sealed.digest
    assert receipt.ended.timestamp() == receipt.destroyed.timestamp() == NOW + 5
    assert receipt.what == ("key", "index", "segments", "head")


def test_a_receipt_does_not_claim_a_key_that_is_still_in_use(device):
    device.offer(GOOD).offer(NEXT)
    device.offer(delivery(listing(7, entry(1, A)), key=list_key.new_key()))
    first, second = device.receipts.given.values()
    assert first.what == ("index", "segments", "head")
    assert second.what == ("key", "index", "segments", "head")


def test_a_receipt_that_cannot_be_given_is_given_later_once(device):
    device.receipts.refuses = StorageUnavailable("outbox: disk full")
    device.offer(GOOD).withdraw()
    assert "outbox: disk full" in device.said()
    assert device.version() is None
    device.receipts.refuses = None
    device.later(limits.LIST_RETRY_S)
    assert device.receipts.reasons() == [(5, "withdrawn")]
    assert "disk full" not in device.said()
    device.restart()
    assert len(device.receipts.given) == 1


# --- At rest -------------------------------------------------------------------------------------


def test_after_a_restart_the_list_is_there_without_a_broker(device):
    device.offer(GOOD)
    assert device.restart().version() == 5
    assert device.lists.current().search(A, NOW, 1)
    assert device.lists.stored() == GOOD.sealed


def test_nothing_that_is_kept_can_be_read_without_the_storage_key(device):
    device.offer(GOOD)
    template = entry(1, A).templates[0].vector
    for path in device.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert KEY not in content
            assert template not in content
            assert bytes.fromhex(entry(1, A).id) not in content
            assert path.stat().st_mode & 0o077 == 0


def test_only_what_changed_is_written_and_only_what_is_needed_is_kept(device):
    many = [entry(i, v) for i, v in enumerate(directions(1200))]
    roomy = authorised(max_entries=10_000)
    device.offer(delivery(listing(5, *many, base=roomy)))
    before = {p.name: p.stat().st_mtime_ns for p in device.folder.rglob("parts/*")}
    kept = device.lists.stored().segments.values()
    device.offer(delivery(listing(6, *many[1:], base=roomy), kept=kept))
    after = {p.name: p.stat().st_mtime_ns for p in device.folder.rglob("parts/*")}
    assert set(after) == {device.lists.stored().digest, *device.lists.stored().segments}
    assert len(after.items() - before.items()) == 2, "the head, and one segment"
    assert len(before) == len(after) > 4


def damage(path, kind):
    content = path.read_bytes()
    if kind == "gone":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    elif kind == "long":
        path.write_bytes(content + b"x" * 2_000_000)
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("kind", ["gone", "empty", "zeros", "long", "cut", "flipped"])
@pytest.mark.parametrize("what", ["record-*", "parts/*"])
def test_a_damaged_list_is_discarded_with_the_reason_and_fetched_again(device, what, kind):
    device.offer(GOOD)
    damage(sorted(device.folder.rglob(what))[0], kind)
    device.restart()
    assert device.version() is None
    assert "at rest was damaged" in device.said()
    assert device.lists.stored() is None
    assert device.receipts.given == {}, "it has not ended"
    assert device.files() == {"life.json"}
    assert device.offer(GOOD).version() == 5, "the same version, sent again"
    assert device.restart().version() == 5


def test_a_list_kept_under_another_storage_key_is_discarded(device, monkeypatch):
    device.offer(GOOD)
    monkeypatch.setattr("tests.watchlist.lists.STORAGE_KEY", bytes(32))
    assert "of another storage key" in device.restart().said()


@pytest.mark.parametrize("swap", ["older", "other list"])
def test_a_list_put_in_place_of_the_one_used_last_is_discarded(device, swap):
    """Whoever can write the disk, but has not the storage key, can only take the list away."""
    device.offer(GOOD)
    kept = {p.relative_to(device.folder): p.read_bytes() for p in device.folder.rglob("record-*")}
    parts = {p.relative_to(device.folder): p.read_bytes() for p in device.folder.rglob("parts/*")}
    device.offer(NEXT)
    (record,) = device.folder.rglob("record-*")
    if swap == "older":
        (old,) = kept.values()
        record.write_bytes(old)
        for path, content in parts.items():
            (device.folder / path).write_bytes(content)
    else:
        other = ListStore(device.folder / "else", "else", STORAGE_KEY)
        other.save(NEXT.sealed, None, urgent_since=0)
        (foreign,) = (device.folder / "else").glob("record-*")
        record.write_bytes(foreign.read_bytes())
    device.restart()
    assert device.version() is None
    assert "damaged" in device.said()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 90, b"[]", b'{"floor": 5}', b'{"kept": "\xff"}', b'{"a":' * 10**5,
     b'{"unknown": 1}', b" " * 10**6],
)  # fmt: skip
def test_where_it_is_not_known_what_was_ordered_nothing_is_looked_for(device, content):
    device.offer(GOOD)
    (device.folder / "lists" / "life.json").write_bytes(content)
    device.restart()
    assert device.version() is None
    assert "life.json is damaged" in device.said()
    assert device.offer(NEXT).version() is None
    device.lists.resume()
    assert device.settle().offer(NEXT).version() == 6
    assert device.restart().version() == 6


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["life.json", "record-*", "parts/*"]), st.integers(0, 10**6),
       st.binary(min_size=1, max_size=12))  # fmt: skip
def test_whatever_is_damaged_the_list_is_the_one_or_none(tmp_path, what, at, bytes_):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        device = Device(Path(folder)).offer(GOOD)
        path = sorted(device.folder.rglob(what))[0]
        content = bytearray(path.read_bytes())
        at %= len(content)
        content[at : at + len(bytes_)] = bytes_
        path.write_bytes(content)
        device.restart()
        assert device.version() in (5, None)
        assert device.version() == 5 or device.said()
        if device.version():
            assert device.lists.current().search(A, NOW, 1)


def test_lists_that_are_no_longer_obeyed_are_destroyed(tmp_path):
    device = Device(tmp_path).offer(GOOD)
    folder = tmp_path / "by-id"
    for name in ("gate", "other"):
        ListStore(private_folder(folder / name), name, STORAGE_KEY).save(
            GOOD.sealed, None, urgent_since=0
        )
    (folder / "lost+found").mkdir()
    retire_others(folder, "gate", STORAGE_KEY, device.time(), device.receipts)
    (receipt,) = device.receipts.given.values()
    assert (receipt.list.id, receipt.list.version, receipt.reason) == ("other", 5, "not-authorised")
    assert [p.name for p in (folder / "other").rglob("*") if p.is_file()] == ["life.json"]
    assert [*(folder / "gate").glob("record-*")]
    assert not [*(folder / "lost+found").iterdir()]
    retire_others(folder, "gate", STORAGE_KEY, device.time(), device.receipts)
    assert len(device.receipts.given) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_list_that_is_held_has_its_embedder_also_while_nobody_is_looked_for(device, restart):
    """Models of another one would have it destroyed at the next start: they wait for it."""
    assert device.lists.embedder == ""
    device.offer(GOOD).doubt = "no NTP since the start"
    if restart:
        device.restart()
    assert device.settle().version() is None
    assert device.lists.embedder == GOOD.watchlist.embedder
    assert device.withdraw().lists.embedder == ""


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_withdrawn_while_stopped_does_not_return_when_that_is_lifted(device, restart):
    device.offer(GOOD).lists.stop("order")
    device.withdraw()
    if restart:
        device.restart()
    device.lists.resume()
    assert device.offer(GOOD).version() is None
    assert "has ended and was destroyed" in device.said()
    assert device.restart().offer(GOOD).version() is None
    assert device.offer(NEXT).version() == 6


def test_an_order_to_stop_is_the_devices_whichever_list_it_obeys(tmp_path):
    def obey(list_id):
        store = ListStore(tmp_path / list_id, list_id, STORAGE_KEY)
        keep_the_order(tmp_path, store, STORAGE_KEY)
        return store

    obey("gate").order("operator 4f1d: a visitor asked")
    (tmp_path / "lost+found").mkdir()
    for list_id in ("yard", "yard", "gate", "yard"):
        assert obey(list_id).life.stopped == "operator 4f1d: a visitor asked"
    obey("yard").order("")
    assert [obey(list_id).life.stopped for list_id in ("yard", "gate", "yard")] == ["", "", ""]


def test_an_order_to_stop_is_on_the_disk_twice_rather_than_not(tmp_path, monkeypatch):
    stores = {name: ListStore(tmp_path / name, name, STORAGE_KEY) for name in ("gate", "yard")}
    stores["gate"].order("an order")

    def full(*_, **__):
        raise StorageUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(storing, "write_atomically", full)
        with pytest.raises(StorageUnavailable):
            keep_the_order(tmp_path, stores["yard"], STORAGE_KEY)
    assert ListStore(tmp_path / "gate", "gate", STORAGE_KEY).life.stopped == "an order"


# --- A disk that refuses -------------------------------------------------------------------------


class Disk:
    """Refuses to write, as a full disk does, or to change anything, as a read-only one does."""

    def __init__(self, monkeypatch):
        self.state = "well"
        self.monkeypatch = monkeypatch
        real_open, real_mkstemp = storing.Path.open, storing.write_atomically

        def open_(path, mode="r", *args, **options):
            if "w" in mode and self.state == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            if ("w" in mode or "+" in mode) and self.state == "read-only":
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real_open(path, mode, *args, **options)

        def write(path, content, **options):
            if self.state != "well" and not (self.state == "full" and self.has_room):
                raise StorageUnavailable(f"{path}: cannot be written: {self.state}")
            return real_mkstemp(path, content, **options)

        real_unlink = storing.Path.unlink

        def unlink(path, **options):
            if self.state == "read-only":
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            real_unlink(path, **options)
            self.has_room = True

        self.has_room = False
        monkeypatch.setattr(storing.Path, "open", open_)
        monkeypatch.setattr(storing.Path, "unlink", unlink)
        monkeypatch.setattr(storing, "write_atomically", write)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_list_that_cannot_be_kept_is_used_from_memory_and_kept_later(device, disk, state):
    device.offer(GOOD)
    disk.state = state
    device.offer(NEXT)
    assert device.version() == 6, "whoever was revoked is not looked for any more"
    assert "cannot" in device.said()
    disk.state = "well"
    device.later(limits.LIST_RETRY_S)
    assert device.said() == ""
    assert device.receipts.reasons() == [(5, "replaced")]
    assert device.restart().version() == 6


def test_on_a_full_disk_the_old_list_goes_first_and_makes_room(device, disk):
    device.offer(GOOD)
    disk.state = "full"
    device.offer(NEXT)
    assert not any("record" in name for name in device.files())
    assert device.restart().version() is None, "the old one does not return"
    assert device.receipts.reasons() == [(5, "replaced")]


@pytest.mark.parametrize("end", ["withdraw", "expire"])
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_disk_that_refuses_holds_up_no_end(device, disk, state, end):
    gallery = device.offer(GOOD).lists.current()
    disk.state = state
    if end == "withdraw":
        device.withdraw()
    else:
        device.later(LIST.expires - NOW)
    assert device.version() is None
    assert gallery.search(A, NOW, 1) == []
    if state == "read-only":
        assert "cannot be" in device.said()
        assert device.receipts.given == {}, "it is not destroyed yet, and nobody says so"
        disk.state = "well"
        device.later(limits.LIST_RETRY_S)
    assert device.files() == {"life.json"}
    assert [reason for _, reason in device.receipts.reasons()] in (["withdrawn"], ["expired"])


def test_an_order_to_stop_that_cannot_be_written_down_holds_and_is_said(device, disk):
    device.offer(GOOD)
    disk.state = "read-only"
    with pytest.raises(StorageUnavailable):
        device.lists.stop("order")
    assert device.settle().version() is None
    assert "stopped by order" in device.said()
    disk.state = "well"
    device.later(limits.LIST_RETRY_S)
    assert "stopped by order" in device.restart().said(), "written down when it could be"
    assert device.files() == {"life.json"}
    disk.state = "read-only"
    with pytest.raises(StorageUnavailable):
        device.lists.resume()
    assert "stopped by order" in device.settle().said()
    assert device.offer(NEXT).version() is None


def test_an_order_to_stop_is_not_lifted_before_the_end_is_noted(device, disk):
    device.offer(GOOD).lists.stop("order")
    disk.state = "read-only"
    device.settle()
    disk.state = "well"
    with pytest.raises(StorageUnavailable, match="resume again"):
        device.lists.resume()
    device.later(limits.LIST_RETRY_S).lists.resume()
    assert device.restart().version() is None
    assert device.receipts.reasons() == [(5, "stopped")]


@pytest.mark.parametrize("moment", ["_take", "_arm"])
def test_what_is_taken_while_a_stop_is_ordered_is_not_there_after_it_was_lifted(
    device, monkeypatch, moment
):
    """The order comes, and is to be lifted, in the middle of a step."""
    real = getattr(device.lists, moment)

    def ordered(*args):
        device.lists.stop("order")
        with pytest.raises(StorageUnavailable, match="resume again"):
            device.lists.resume()
        real(*args)

    monkeypatch.setattr(device.lists, moment, ordered)
    device.offer(GOOD)
    monkeypatch.undo()
    with pytest.raises(StorageUnavailable, match="resume again"):
        device.lists.resume()
    device.settle().lists.resume()
    assert device.restart().version() is None
    assert device.receipts.reasons() == [(5, "stopped")]


@pytest.fixture
def blind(monkeypatch):
    """A disk that has no file handles left, and says so whatever is to be read."""
    real = storing.read_small

    def begin():
        def read(path, most):
            if path.name.startswith("record-"):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
            return real(path, most)

        monkeypatch.setattr(storing, "read_small", read)

    begin.end = lambda: monkeypatch.setattr(storing, "read_small", real)
    return begin


def test_a_list_that_cannot_be_read_at_the_start_is_read_later(device, blind):
    device.offer(GOOD)
    blind()
    assert device.restart().version() is None
    assert "Too many open files" in device.said()
    assert device.later(limits.LIST_RETRY_S).version() is None
    assert "Too many open files" in device.said()
    blind.end()
    assert device.later(limits.LIST_RETRY_S).version() == 5
    assert device.said() == ""
    assert device.lists.stored().digest == GOOD.sealed.digest
    assert device.receipts.given == {}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda device: device.offer(NEXT), "replaced"),
        (lambda device: device.withdraw(), "withdrawn"),
        (lambda device: device.lists.stop("order"), "stopped"),
    ],
)
def test_what_ends_a_list_that_could_not_be_read_ends_it_for_good(device, blind, event, reason):
    device.offer(GOOD)
    blind()
    device.restart()
    event(device)
    device.settle()
    blind.end()
    device.later(limits.LIST_RETRY_S)
    assert device.receipts.reasons() == [(5, reason)]
    assert device.version() == (6 if reason == "replaced" else None)
    device.restart()
    assert device.version() == (6 if reason == "replaced" else None)
    assert device.receipts.reasons() == [(5, reason)]


def test_a_list_that_ended_before_it_could_be_kept_does_not_return(device, disk):
    device.offer(GOOD)
    disk.state = "read-only"
    device.offer(NEXT).withdraw()
    disk.state = "well"
    device.later(limits.LIST_RETRY_S)
    assert sorted(device.receipts.reasons()) == [(5, "replaced"), (6, "withdrawn")]
    assert device.offer(NEXT).version() is None
    assert device.restart().offer(NEXT).version() is None


# --- Place and lamp ------------------------------------------------------------------------------

PATROL = delivery(listing(5, entry(1, A), base=authorised(profile="body-worn", area=ZURICH)))
HERE, ELSEWHERE = Fix(47.3780, 8.5402, 5.0), Fix(46.0, 8.5, 5.0)


@pytest.fixture
def worn(tmp_path):
    return Device(tmp_path, place=WORN)


def test_a_body_worn_camera_looks_inside_its_area_only_and_shows_it(worn):
    worn.offer(PATROL)
    assert worn.version() is None
    assert worn.said() == "not looking: no position: no receiver"
    assert not any(worn.shown)
    worn.fix = HERE
    assert worn.version() is None, "it has not shown it yet"
    assert worn.settle().version() == 5
    assert worn.shown[-1] is True
    worn.fix = ELSEWHERE
    assert worn.version() is None, "at once"
    assert "from its centre" in worn.settle().said()
    assert worn.shown[-1] is False
    assert worn.receipts.given == {}, "whoever walks out of the area may come back"
    worn.fix = HERE
    assert worn.settle().version() == 5


def test_a_lamp_that_does_not_light_means_nobody_is_looked_for(worn):
    worn.fix = HERE
    worn.lamp_error = IndicatorUnavailable("lamp red stays at 0 of 255")
    worn.offer(PATROL)
    assert worn.version() is None
    assert worn.said() == "not looking: lamp red stays at 0 of 255"
    worn.lamp_error = None
    assert worn.settle().version() == 5
    worn.lamp_error = IndicatorUnavailable("lamp red stays at 0 of 255")
    assert worn.settle().version() is None


def test_a_change_is_told_once(device):
    told = []
    device.lists._on_change = lambda: told.append(device.lists.reasons)
    device.offer(GOOD).settle().settle()
    assert told == [()]


def test_the_log_says_what_ended(device, caplog):
    caplog.set_level(logging.WARNING)
    device.offer(GOOD).withdraw()
    assert "version 5 has ended (withdrawn): destroyed" in caplog.text
