"""What `lethe run` costs on a clip, from outside the process: peak memory and processor time.

    python -m benchmarks.device_cost ../shared/data/video/stage_360p.mp4 --entries 1000

Broker, signed list of random templates, device: the real parts, each a process of its own. Random
templates match nobody; give --enrol to have someone reported.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from demo.broker import running_broker
from edge.config import BrokerConfig
from edge.files import private_folder
from edge.identity import registration
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.vision.engine import Vision
from fleet import broker as bringing
from fleet import lists, setup
from fleet.enrol import enrol
from fleet.release import Release
from fleet.repository import ROOT as ROOT_FILE
from fleet.repository import Repository

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the device once and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_cost", description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--entries", type=int, default=1000, help="length of the list")
    parser.add_argument("--enrol", type=Path, action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_broker() as port:
        state = private_folder(Path(name) / "state")
        fleet = setup.found(Path(name) / "fleet", registration(state, "camera-1"))
        _issue(Path(name) / "owner", fleet, options.entries, options.enrol)
        bringing.publish(Repository.existing(fleet), BrokerConfig(port=port))
        config = Path(name) / "lethe.toml"
        config.write_text(
            f'[device]\nid = "camera-1"\n[camera]\nsource = "{options.clip.resolve()}"\n'
            f'[watchlist]\nid = "gate"\n[fleet]\nroot = "{fleet / ROOT_FILE}"\n'
            f"[broker]\nport = {port}\n",
            "utf-8",
        )
        began = time.perf_counter()
        device = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", "--config", str(config)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert device.stderr is not None
        said = device.stderr.read()
        _, status, usage = os.wait4(device.pid, 0)
        elapsed = time.perf_counter() - began
    if status:
        raise SystemExit(said)
    table = Table("clip", "entries", "peak memory", "processor time", "elapsed", box=box.SIMPLE)
    table.add_row(
        options.clip.name,
        str(options.entries),
        f"{usage.ru_maxrss / 1024:.0f} MB",
        f"{usage.ru_utime + usage.ru_stime:.1f} s",
        f"{elapsed:.1f} s",
    )
    console = Console(highlight=False)
    console.print(said.strip().splitlines()[-1], soft_wrap=True)
    console.print(table)


def _issue(folder: Path, fleet: Path, entries: int, photos: list[Path]) -> None:
    """Have a fleet take a list of real people filled up with random ones."""
    now = int(time.time())
    until = now + 3600
    authorisation = Authorisation(
        reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=now, not_after=until,
        area=None, devices=["camera-1"], profile="fixed", max_entries=entries, fpir_target=0.001,
    )  # fmt: skip
    owner = lists.begin(folder, "gate", authorisation, fleet=fleet)
    vision = Vision.open()
    for photo in photos:
        embeddings = enrol(vision, [photo])
        owner.add(
            photo.stem, embeddings, embedder=vision.embedder_id, not_before=now, not_after=until
        )
    random = np.random.default_rng(1).normal(size=(entries - len(photos), vision.dimension))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    strangers = [
        Entry(
            id=secrets.token_hex(16),
            not_before=now,
            not_after=until,
            templates=[quantise(vector.astype(np.float32))],
        )
        for vector in random
    ]
    draft = lists.draft(owner, lists.known_devices(owner, None))

    def enlarged(watchlist: Watchlist) -> Release:
        return draft(msgspec.structs.replace(watchlist, entries=[*watchlist.entries, *strangers]))

    lists.issue_here(owner, enlarged, embedder=vision.embedder_id, dimension=vision.dimension)


if __name__ == "__main__":
    main()
