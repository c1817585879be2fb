"""Power cut in the middle of everything: a whole list or none, and each end has one receipt."""

import json
import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.watchlist.lists import A, Device, delivery, listing
from tests.watchlist.power_cut import Machine
from tests.watchlist.test_authorisation import LIST, NOW
from tests.watchlist.test_gallery import entry

ROOT = Path(__file__).resolve().parents[2]
CUTS = 50


def look(folder):
    """Start the device as after a power cut; return the version in force, and all receipts."""
    device = Machine(folder)
    device.settle()
    version = device.version()
    if version is not None:
        (hit,) = device.lists.current().search(A, NOW, 1)
        assert (int(hit.entry, 16), hit.score > 0.99) == (version, True), "a whole list"
        assert device.lists.current().entries == 301
    assert "damaged" not in device.said()
    receipts = [json.loads(stored.message)["data"] for stored in device.outbox.pending(10_000)]
    device.outbox.close()
    kept = {p.name for p in (folder / "lists").rglob("*") if p.is_file()}
    assert (version is None) == (kept <= {"life.json"})
    return version, [(r["list"]["version"], r["reason"]) for r in receipts]


def after(said, before):
    """What may be in force after a life that was in force `before` and was cut off after `said`."""
    sure = before
    for mark, what, version in said:
        outcome = version if what == "offer" else None
        if mark == "+":
            sure = outcome
    open_ = said and said[-1][0] == "-"
    return {sure, said[-1][2] if said[-1][1] == "offer" else None} if open_ else {sure}


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
def test_sigkill_at_any_moment_leaves_a_whole_list_or_none(tmp_path, seed):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.watchlist.power_cut", str(tmp_path), str(seed), str(CUTS)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    version, used, cut_off = None, set(), Counter()
    for _ in range(CUTS):
        life = json.loads(process.stdout.readline())
        assert life["killed"], "it was killed, and did not end by itself"
        said = life["said"]
        possible = after(said, version)
        gone = used - {version}
        used |= {v for mark, what, v in said if (mark, what) == ("+", "offer")}
        if said and said[-1][0] == "-":
            cut_off[said[-1][1]] += 1
        version, receipts = look(tmp_path)
        assert version in possible
        assert version not in gone, "what was destroyed has returned"
        used |= {version} - {None}
        ended = Counter(v for v, _ in receipts)
        assert set(ended.values()) <= {1}, "no list has two receipts"
        assert used - {version} <= set(ended), "each that ended has one"
        assert version not in ended
        process.stdin.write("\n")
        process.stdin.flush()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert cut_off.total() > cut_off["offer"] > 0, cut_off


# --- Every moment, one after the other -----------------------------------------------------------


class PowerCut(BaseException):
    """Nothing catches it, as nothing survives a power cut."""


class Machinery:
    """The calls that change files. At one of them the power goes, and what it flushes is torn."""

    CALLS = ((os, "fsync"), (os, "fdatasync"), (Path, "unlink"), (Path, "replace"), (Path, "touch"))

    def __init__(self, monkeypatch):
        self.left = None
        for where, name in self.CALLS:
            monkeypatch.setattr(where, name, self.counted(getattr(where, name), "sync" in name))

    def counted(self, call, flushes):
        def counted(*args, **options):
            if self.left is not None:
                self.left -= 1
                if self.left == 0 and flushes and stat.S_ISREG(os.fstat(args[0]).st_mode):
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                if self.left <= 0:
                    raise PowerCut
            return call(*args, **options)

        return counted

    def cut(self, moment, work):
        """Do something; return whether the power went at that call of it."""
        self.left = moment
        try:
            work()
        except PowerCut:
            return True
        finally:
            self.left = None
        return False


def stop(device):
    device.lists.stop("order")
    device.settle()


FIRST, SECOND = (delivery(listing(v, entry(v, A))) for v in (1, 2))
WORK = {
    "take": (lambda d: d.offer(FIRST), {None, 1}, {}),
    "swap": (lambda d: d.offer(SECOND), {1, 2}, {2: [(1, "replaced")]}),
    "withdraw": (lambda d: d.withdraw(), {1, None}, {None: [(1, "withdrawn")]}),
    "stop": (stop, {1, None}, {None: [(1, "stopped")]}),
    "expire": (lambda d: d.later(LIST.expires), {None}, {None: [(1, "expired")]}),
}


@pytest.mark.parametrize("what", WORK)
def test_a_power_cut_at_every_single_moment(tmp_path, monkeypatch, what):
    work, possible, receipts = WORK[what]
    machinery, seen, moment = Machinery(monkeypatch), set(), 0
    while True:
        moment += 1
        device = Device(tmp_path / str(moment))
        if what != "take":
            device.offer(FIRST)
        went = machinery.cut(moment, lambda d=device: work(d))
        device.restart()
        version = device.version()
        assert version in possible
        assert device.receipts.reasons() == receipts.get(version, [])
        assert "damaged" not in device.said()
        assert (version is None) <= (device.files() <= {"life.json"})
        assert device.restart().version() == version
        assert device.receipts.reasons() == receipts.get(version, [])
        if version is not None:
            assert device.lists.current().search(A, NOW, 1)
        seen.add(version)
        if not went:
            break
    assert moment > 5, "there were moments to be cut at"
    assert seen == possible
