"""All that a device needs around it, made in a folder: broker, fleet, list, configuration."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from demo.broker import HOST, running_broker
from edge.config import BrokerConfig
from edge.files import private_folder
from edge.identity import device_key, registration
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.vision.engine import Vision
from fleet import broker as bringing
from fleet import lists, setup
from fleet.enrol import enrol
from fleet.ledger import Keys
from fleet.release import Release
from fleet.repository import ROOT as ROOT_FILE
from fleet.repository import Repository

DEVICE, LIST = "camera-1", "gate"


@dataclass(frozen=True)
class Stand:
    """A broker with a list on it, and the configuration of a device that obeys the list.

    Attributes:
        broker: on loopback.
        config: the device's file.
        labels: entry id to the stem of the photo.
        keys: what events are verified with.
    """

    broker: BrokerConfig
    config: Path
    labels: dict[str, str]
    keys: Keys


@contextmanager
def stand(
    folder: Path, source: Path, photos: Sequence[Path] = (), entries: int = 0, threads: int = 2
) -> Iterator[Stand]:
    """Make one.

    Args:
        folder: empty, private.
        source: clip or folder that the device watches.
        photos: people to enrol.
        entries: length of the list; filled up with random templates, which resemble nobody.
        threads: of the device's inference.
    """
    state = private_folder(folder / "state")
    fleet = setup.found(folder / "fleet", registration(state, DEVICE))
    labels = _issue(folder / "owner", fleet, photos, max(entries, len(photos), 1))
    with running_broker() as port:
        broker = BrokerConfig(host=HOST, port=port)
        bringing.publish(Repository.existing(fleet), broker)
        config = folder / "lethe.toml"
        text = json.dumps  # a JSON string is a TOML string
        config.write_text(
            f"[device]\nid = {text(DEVICE)}\nstate_dir = {text(str(state))}\n"
            f"[camera]\nsource = {text(str(source.resolve()))}\n"
            f"[fleet]\nroot = {text(str(fleet / ROOT_FILE))}\n[watchlist]\nid = {text(LIST)}\n"
            f"[broker]\nhost = {text(HOST)}\nport = {port}\n[vision]\nthreads = {threads}\n",
            "utf-8",
        )
        keys = Keys(named={DEVICE: device_key(state).public_key()})
        yield Stand(broker, config, labels, keys)


def _issue(folder: Path, fleet: Path, photos: Sequence[Path], entries: int) -> dict[str, str]:
    """Have the fleet take a list of real people filled up with random ones; return the labels."""
    now = int(time.time())
    until = now + 3600
    authorisation = Authorisation(
        reference="benchmark", purpose=Purpose.CONSENTED_ACCESS, not_before=now, not_after=until,
        area=None, devices=[DEVICE], profile="fixed", max_entries=entries, fpir_target=0.001,
    )  # fmt: skip
    owner = lists.begin(folder, LIST, authorisation, fleet=fleet)
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
    return owner.labels
