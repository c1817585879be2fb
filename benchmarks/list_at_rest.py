"""How long a list takes to be kept, loaded after a restart, and destroyed.

    python -m benchmarks.list_at_rest --entries 10000

Beside it, in the same run, reading and hashing the same bytes from one file: what loading cannot
undercut. Times are medians; on a shared machine read them as ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from edge.protocol import list_key
from edge.protocol.event import Ending
from edge.protocol.sealed_list import open_list, seal_list
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.watchlist.delivery import Provenance, SealedList
from edge.watchlist.gallery import Gallery
from edge.watchlist.store import Ended, ListStore

DIMENSION = 128


def main() -> None:
    """Keep, load and destroy a made-up list, several times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.list_at_rest", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    sealed = _sealed(options.entries)
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = work()
        taken.setdefault(name, []).append(time.perf_counter() - began)
        return result

    for run in range(options.runs):
        with tempfile.TemporaryDirectory() as name:
            folder, key = Path(name), secrets.token_bytes(32)
            store = ListStore(folder / "list", "gate", key)
            timed(
                "keep: encrypt, write, flush", lambda s=store: s.save(sealed, None, urgent_since=0)
            )
            flat = folder / "flat"
            flat.write_bytes(sealed.head + b"".join(sealed.segments.values()))
            timed("read and hash one file", lambda f=flat: hashlib.sha256(f.read_bytes()).digest())
            again = timed(
                "open the store", lambda f=folder, k=key: ListStore(f / "list", "gate", k)
            )
            assert isinstance(again, ListStore)
            loaded = timed("load: read, check every hash", again.load)
            assert isinstance(loaded, SealedList)
            watchlist = timed(
                "decrypt and check every entry",
                lambda s=loaded: open_list(s.head, s.segments, s.key, s.list_id),
            )
            assert isinstance(watchlist, Watchlist)
            timed("build the index", lambda w=watchlist: Gallery(w, "exact"))
            ended = Ended(version=1, digest=sealed.digest, reason=Ending.EXPIRED, ended=float(run))
            timed("note that it has ended", lambda s=again, e=ended: s.end(e))
            timed("destroy: overwrite, flush, remove", again.destroy)
    _show(options.entries, sealed, taken)


def _show(entries: int, sealed: SealedList, taken: dict[str, list[float]]) -> None:
    size = len(sealed.head) + sum(map(len, sealed.segments.values()))
    table = Table("step", "median, ms", "of reading one file", box=box.SIMPLE)
    base = statistics.median(taken["read and hash one file"])
    for name, times in taken.items():
        median = statistics.median(times)
        table.add_row(name, f"{1000 * median:.1f}", f"{median / base:.1f} ×")
    Console().print(f"{entries} entries, {size} bytes in {len(sealed.segments) + 1} parts")
    Console().print(table)


def _sealed(entries: int) -> SealedList:
    now = int(time.time())
    random = np.random.default_rng(1)
    vectors = random.normal(size=(entries, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    watchlist = Watchlist(
        id="gate",
        version=1,
        issued=now,
        expires=now + 3600,
        embedder="none",
        dimension=DIMENSION,
        authorisation=Authorisation(
            reference="benchmark",
            purpose=Purpose.CONSENTED_ACCESS,
            not_before=now,
            not_after=now + 3600,
            area=None,
            devices=["camera-1"],
            profile="fixed",
            max_entries=entries,
            fpir_target=0.001,
        ),
        entries=[
            Entry(
                id=secrets.token_hex(16),
                not_before=now,
                not_after=now + 3600,
                templates=[quantise(vector)],
            )
            for vector in vectors
        ],
    )
    key = list_key.new_key()
    parts = seal_list(watchlist, key)
    return SealedList(
        list_id="gate",
        version=1,
        digest=hashlib.sha256(parts.head).hexdigest(),
        head=parts.head,
        segments=parts.pieces,
        key=key,
        provenance=Provenance(role="regular", signers=("a", "b"), threshold=2),
    )


if __name__ == "__main__":
    main()
