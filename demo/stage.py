"""The demonstration from end to end: broker, owner, device, reader; see docs/adr/0006."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.broker import HOST, running_broker
from edge.config import BrokerConfig
from edge.errors import EnrolmentRefused, LetheError
from edge.files import private_folder
from edge.identity import device_key, registration
from edge.protocol.event import AuditHead, Candidate
from edge.protocol.watchlist import Authorisation, Purpose
from edge.vision.engine import Vision
from fleet import broker as bringing
from fleet import lists, setup
from fleet.enrol import enrol
from fleet.events import Received, listen
from fleet.ledger import Keys
from fleet.owner import Owner
from fleet.repository import ROOT, Repository

DEVICE, LIST = "demo-camera", "demo-list"
_ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Play:
    """What is to be shown, and who is told.

    Attributes:
        source: where frames come from, as in camera.source.
        photos: people to enrol.
        out: folder for the annotated clip.
        name: of the clip.
        fps: of the clip.
        seconds: end after so long; 0 for never.
        on_event: called with each event as it arrives from the broker, and the owner's labels.
        on_frames: called with the number of frames so far.
        say: told what happens, in words.
    """

    source: str
    photos: list[Path]
    out: Path
    name: str
    fps: float
    seconds: float
    on_event: Callable[[Received, dict[str, str]], None]
    on_frames: Callable[[int], None]
    say: Callable[[str], None]


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        figures: the device's own: frames, faces, tracks, embeddings, bytes, time, memory.
        matches: one a report: label, entry, score, threshold, first_frame, last_frame.
        refused: photos that were not enrolled, and why.
        labels: entry id to label of those that were.
        untrusted: events whose signature did not hold.
        ended: exit code of the device.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    matches: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    untrusted: int = 0
    ended: int = 1


def perform(play: Play, folder: Path) -> Outcome:
    """Run a demonstration.

    Args:
        play: what is to be shown.
        folder: private, for keys and state; not needed afterwards.

    Raises:
        LetheError: nobody could be enrolled, or a part does not start.
    """
    outcome = Outcome()
    state = private_folder(folder / "state")
    key = device_key(state)
    fleet = setup.found(folder / "fleet", registration(state, DEVICE))
    owner = _enrol(play, folder / "owner", fleet, outcome)
    events: queue.SimpleQueue[Received] = queue.SimpleQueue()
    with running_broker() as port:
        play.say(f"broker on {HOST}:{port}")
        broker = BrokerConfig(host=HOST, port=port)
        reader = listen(broker, events.put, keys=Keys(named={DEVICE: key.public_key()}))
        try:
            sent = _publish(owner, fleet, broker)
            play.say(f"list published: {sent} bytes, encrypted, signed by 2 of 3, for one hour")
            config = folder / "lethe.toml"
            config.write_text(_config(play.source, port, state, fleet / ROOT), "utf-8")
            _run_device(play, config, folder / "report.json", events, outcome)
        finally:
            reader.close()
    return outcome


def _publish(owner: Owner, fleet: Path, broker: BrokerConfig) -> int:
    """Sign the list, bring it to the broker, and return the bytes sent."""
    lists.issue_here(owner, lists.draft(owner, lists.known_devices(owner, None)))
    return bringing.publish(Repository.existing(fleet), broker).bytes


def _enrol(play: Play, folder: Path, fleet: Path, outcome: Outcome) -> Owner:
    now = int(time.time())
    owner = lists.begin(
        folder,
        LIST,
        Authorisation(
            reference="demonstration",
            purpose=Purpose.CONSENTED_ACCESS,
            not_before=now,
            not_after=now + 3600,
            area=None,
            devices=[DEVICE],
            profile="fixed",
            max_entries=100,
            fpir_target=0.001,
        ),
        fleet=fleet,
    )
    vision = Vision.open()
    for photo in play.photos:
        try:
            entry = owner.add(
                photo.stem,
                enrol(vision, [photo]),
                embedder=vision.embedder_id,
                not_before=now,
                not_after=now + 3600,
            )
        except EnrolmentRefused as refusal:
            outcome.refused[str(photo)] = str(refusal)
            play.say(f"not enrolled: {refusal}")
            continue
        outcome.labels[entry] = photo.stem
        play.say(f"enrolled: {photo.stem}, entry {entry}")
    if not outcome.labels:
        raise EnrolmentRefused("nobody could be enrolled; give another photo with --enrol")
    return owner


def _config(source: str, port: int, state: Path, root: Path) -> str:
    """Return the device's configuration; a JSON string is a TOML string."""

    def text(value: object) -> str:
        return json.dumps(str(value), ensure_ascii=False)

    return (
        f"[device]\nid = {text(DEVICE)}\nstate_dir = {text(state)}\n"
        f"[camera]\nsource = {text(source)}\n"
        f"[fleet]\nroot = {text(root)}\n"
        f"[watchlist]\nid = {text(LIST)}\n"
        f"[broker]\nhost = {text(HOST)}\nport = {port}\n"
    )


def _run_device(
    play: Play,
    config: Path,
    report: Path,
    events: queue.SimpleQueue[Received],
    outcome: Outcome,
) -> None:
    command = [
        sys.executable, "-m", "demo.device", "--config", str(config), "--out", str(play.out),
        "--name", play.name, "--fps", str(play.fps), "--seconds", str(play.seconds),
        "--report", str(report),
    ]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=_ROOT) as device:
        threads = [
            threading.Thread(target=_read_progress, args=(device.stdout, play.on_frames)),
            threading.Thread(target=_read_warnings, args=(device.stderr, play.say)),
        ]
        for thread in threads:
            thread.start()
        try:
            while device.poll() is None:
                with suppress(queue.Empty):
                    _take(events.get(timeout=0.1), play, outcome)
        except BaseException:
            device.terminate()
            raise
        for thread in threads:
            thread.join()
        outcome.ended = device.returncode
    if outcome.ended:
        raise LetheError("the device ended early: see above")
    outcome.figures = json.loads(report.read_text("utf-8"))
    patience = time.monotonic() + 5.0
    while len(outcome.matches) < outcome.figures["candidates"] and time.monotonic() < patience:
        with suppress(queue.Empty):
            _take(events.get(timeout=0.1), play, outcome)
    _extend(outcome)


def _take(received: Received, play: Play, outcome: Outcome) -> None:
    event = received.event
    if event is not None and received.trusted and isinstance(event.data, AuditHead):
        return  # nothing for people
    play.on_event(received, outcome.labels)
    if event is None or not received.trusted:
        outcome.untrusted += 1
        return
    data = event.data
    if not isinstance(data, Candidate):
        return
    outcome.matches.append(
        {
            "label": outcome.labels.get(data.entry, ""),
            "entry": data.entry,
            "score": data.score,
            "threshold": data.threshold,
            "first_frame": data.first_frame,
            "last_frame": data.last_frame,
        }
    )


def _extend(outcome: Outcome) -> None:
    """Let each match reach to the last frame of its sighting, which the device alone knows.

    A track that began within the cool-down of a reported one belongs to the same sighting.
    """
    for entry, first, last in sorted(outcome.figures.pop("sightings"), key=lambda s: s[1]):
        of_entry = [m for m in outcome.matches if m["entry"] == entry and m["first_frame"] <= first]
        if of_entry:
            latest = max(of_entry, key=lambda m: m["first_frame"])
            latest["last_frame"] = max(latest["last_frame"], last)


def _read_progress(lines: Any, on_frames: Callable[[int], None]) -> None:  # noqa: ANN401
    for line in lines:
        on_frames(json.loads(line)["frames"])


def _read_warnings(lines: Any, say: Callable[[str], None]) -> None:  # noqa: ANN401
    """Pass on what the device says; the runtime's own chatter is left out."""
    for line in lines:
        level, _, text = line.rstrip("\n").partition(" ")
        if level != "INFO:":
            say(text if level in ("WARNING", "ERROR") else line.rstrip("\n"))
