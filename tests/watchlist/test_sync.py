"""The list in force: what replaces it, what does not, and why."""

import hashlib
import re
import threading
import time

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import files, limits
from edge.errors import StorageUnavailable
from edge.protocol import signing
from edge.protocol.watchlist import SNAPSHOT_TYP, encode
from edge.watchlist.sync import NO_LIST, Watchlists
from tests.watchlist.test_authorisation import LIST, NOW, PLACE, ZURICH, authorised, replace
from tests.watchlist.test_gallery import DIMENSION, directions, entry

KEY = Ed25519PrivateKey.generate()
A, B = directions(2)


def listing(version=1, *entries, base=LIST, **changes):
    return replace(base, version=version, dimension=DIMENSION, entries=list(entries), **changes)


def sealed(watchlist, key=KEY, typ=SNAPSHOT_TYP):
    return signing.seal(encode(watchlist), typ=typ, key=key)


class Device:
    """A `Watchlists` with a clock of its own, and the means to wait for it."""

    def __init__(self, state_dir, now=NOW):
        self.now = now
        self.changes = threading.Semaphore(0)
        self.lists = Watchlists(
            PLACE, [KEY.public_key()], state_dir,
            now=lambda: self.now, on_change=self.changes.release,
        )  # fmt: skip

    def offer(self, message):
        """Offer a message and wait for what it changes."""
        self.lists.offer(message)
        assert self.changes.acquire(timeout=5)
        return self

    def version(self):
        current = self.lists.current()
        return current and current.version


@pytest.fixture
def device(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LIST_CHECK_S", 0.01)
    device = Device(tmp_path)
    yield device
    device.lists.close()


def test_a_new_list_takes_the_place_of_the_old_which_is_destroyed(device):
    assert device.lists.reason == NO_LIST
    first = device.offer(sealed(listing(1, entry(1, A)))).lists.current()
    assert (device.version(), device.lists.reason) == (1, "")
    memory = first._index._vectors
    device.offer(sealed(listing(2, entry(2, B))))
    assert device.version() == 2
    assert not memory.any()
    assert first.search(A, NOW, 1) == []


GOOD = sealed(listing(5, entry(1, A)))


def scaled(scale):
    """A list, rightly signed, whose only template has this scale."""
    payload = encode(listing(6, entry(1, A)))
    right = str(entry(1, A).templates[0].scale).encode()
    assert payload.count(right) == 1
    return signing.seal(payload.replace(right, scale), typ=SNAPSHOT_TYP, key=KEY)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (encode(listing(6)), "not a compact JWS|not a JWS"),
        (GOOD.rpartition(b".")[0] + b".", "signature|JWS"),
        (GOOD[:-8] + b"AAAAAAAA", "does not hold"),
        (GOOD.replace(b".e", b".f", 1), "does not hold|not a"),
        (sealed(listing(6), Ed25519PrivateKey.generate()), "not trusted"),
        (sealed(listing(6), typ="lethe-event+jws"), "expected 'lethe-watchlist"),
        (signing.seal(b"{", typ=SNAPSHOT_TYP, key=KEY), "documented form"),
        (signing.seal(b"\xff" * 99, typ=SNAPSHOT_TYP, key=KEY), "documented form"),
        (scaled(b"NaN"), "documented form"),
        (scaled(b"null"), "Expected `float`, got `null`"),
        (scaled(b"1e999"), "documented form|scale"),
        (scaled(b"-0.5"), "scale -0.5 is not in"),
        (sealed(listing(6, entry(1, directions(1, dimension=8)[0]))), "template of 8, not 16"),
        (sealed(listing(4)), "version 4 is older than 5"),
        (sealed(listing(5)), "other content"),
        (sealed(listing(6, expires=NOW - 9)), "expired"),
        (sealed(listing(6, id="other")), "obeys 'gate'"),
        (sealed(listing(6, base=authorised(devices=["elsewhere"]))), "not issued for device"),
        (sealed(listing(6, base=authorised(profile="body-worn"))), "this one is fixed"),
        (sealed(listing(6, base=authorised(area=ZURICH))), "set device.position"),
        (sealed(listing(6, base=authorised(fpir_target=0.5))), "laxer than 0.01"),
        (sealed(listing(6, *(entry(i, A) for i in range(4)))), "at most 3"),
        (sealed(listing(6, embedder="other")), "enrol again"),
        (sealed(listing(6, issued=NOW + 9999)), "in the future"),
        (b"x" * 300, "not a compact JWS"),
        (b"." * 300, "not a compact JWS"),
        (b"..", "signature|JWS"),
        (b"\x00.\xff.\x00", "signature|JWS"),
    ],
)
def test_what_is_refused_leaves_the_list_in_force_and_says_why(device, message, reason, caplog):
    device.offer(GOOD).offer(message)
    assert device.version() == 5
    assert device.lists.reason.startswith("list refused: ")
    assert re.search(reason, device.lists.reason), device.lists.reason
    assert "list refused" in caplog.text


def test_an_oversize_message_is_refused_unread(device, monkeypatch):
    monkeypatch.setattr(limits, "MAX_SNAPSHOT_BYTES", len(GOOD) - 1)
    device.offer(GOOD)
    assert device.version() is None
    assert f"at most {len(GOOD) - 1}" in device.lists.reason


def test_the_same_list_again_changes_nothing(device):
    before = device.offer(GOOD).lists.current()
    device.lists.offer(GOOD)  # what a broker does at every reconnection
    device.offer(sealed(listing(1)))  # refused: by then the one before has been looked at
    assert device.lists.current() is before
    assert before.search(A, NOW, 1)


def test_the_same_list_again_clears_what_was_said_of_a_worse_one(device):
    device.offer(GOOD).offer(b"injected")
    assert "refused" in device.lists.reason
    device.offer(GOOD)
    assert (device.version(), device.lists.reason) == (5, "")


LATER = sealed(listing(6, entry(1, A), base=authorised(not_before=NOW + 600)))


def test_a_list_that_begins_later_is_kept_until_then(device):
    device.offer(GOOD).offer(LATER)
    assert "valid in 10 minutes" in device.lists.reason
    assert device.version() == 5
    device.now += 600
    assert device.changes.acquire(timeout=5)
    assert device.version() == 6


def test_what_is_refused_does_not_displace_a_list_that_begins_later(device):
    device.offer(LATER).offer(b"injected").offer(sealed(listing(7, id="other")))
    device.now += 600
    assert device.changes.acquire(timeout=5)
    assert (device.version(), device.lists.reason) == (6, "")


def test_what_is_withdrawn_or_replaced_does_not_begin_later(device):
    device.offer(LATER).offer(sealed(listing(7)))
    device.now += 600
    device.offer(b"injected")  # after this nothing is under way
    assert device.version() == 7
    device.offer(sealed(listing(8, base=authorised(not_before=NOW + 900)))).offer(b"")
    device.now += 600
    device.offer(b"injected")
    assert device.version() is None


def test_at_its_end_a_list_is_destroyed(device):
    gallery = device.offer(GOOD).lists.current()
    memory = gallery._index._vectors
    device.now = LIST.expires
    assert device.version() is None, "at once, whatever the thread does"
    assert device.changes.acquire(timeout=5)
    assert not memory.any()
    assert "expired" in device.lists.reason


def test_a_clock_that_jumps_back_before_the_beginning_ends_the_looking(device):
    device.offer(GOOD)
    device.now = LIST.authorisation.not_before - 1
    assert device.version() is None


def test_an_empty_message_withdraws_the_list(device):
    device.offer(GOOD).offer(b"")
    assert device.version() is None
    assert "withdrawn" in device.lists.reason
    device.offer(GOOD)
    assert device.version() == 5, "the owner may publish it again"


def test_nothing_older_comes_back_after_a_restart(tmp_path):
    first = Device(tmp_path).offer(GOOD)
    first.lists.close()
    second = Device(tmp_path)
    second.offer(sealed(listing(4)))
    assert "older than 5" in second.lists.reason
    second.offer(GOOD)
    assert second.version() == 5
    second.lists.close()
    floor = msgspec.json.decode((tmp_path / "floor-gate.json").read_bytes())
    assert floor == {
        "version": 5,
        "digest": hashlib.sha256(encode(listing(5, entry(1, A)))).hexdigest(),
    }


def test_the_list_itself_is_never_on_the_disk(tmp_path):
    Device(tmp_path).offer(GOOD).lists.close()
    for path in tmp_path.iterdir():
        assert entry(1, A).templates[0].vector not in path.read_bytes()
        assert entry(1, A).id.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 90, b"[]", b'{"version": "5"}', b'{"digest": "\xff"}', b'{"a":' * 10**5],
)
def test_a_damaged_floor_lets_nothing_start(tmp_path, content):
    (tmp_path / "floor-gate.json").write_bytes(content)
    with pytest.raises(StorageUnavailable, match="restore it"):
        Device(tmp_path)


def test_a_list_whose_floor_cannot_be_stored_is_not_used_until_it_can(device, monkeypatch):
    device.offer(GOOD)

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        device.offer(sealed(listing(6)))
    assert device.version() == 5
    assert "No space left" in device.lists.reason
    device.now += limits.LIST_RETRY_S
    assert device.changes.acquire(timeout=5)
    assert (device.version(), device.lists.reason) == (6, "")


def test_lists_are_swapped_under_those_who_search(device):
    device.offer(sealed(listing(1, entry(1, A))))
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
    for version in range(2, 60):
        device.offer(sealed(listing(version, entry(version, A))))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(searches)
    assert device.version() == 59


def test_only_the_newest_of_many_waiting_messages_is_looked_at(device):
    big = sealed(listing(2, *(entry(i, v) for i, v in enumerate(np.tile(directions(50), (40, 1))))))
    for _ in range(20):
        device.lists.offer(big)
    device.lists.offer(sealed(listing(3)))
    patience = time.monotonic() + 5
    while device.version() != 3 and time.monotonic() < patience:
        time.sleep(0.01)
    assert device.version() == 3
