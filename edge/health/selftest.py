"""The self-test: the main job on built-in pictures, and whether what was well is still well.

It answers one question after an update: does this version do what the device is for? Two
portraits that are part of the software stand before the camera. One is on a list made for the
test. The version passes if the real models, pipeline, index and decision report that one, once,
and nobody else.

What is around the device (broker, camera, keys) is judged against the last version that passed:
what was well then must be well now. A broker that was never reached holds no update up; one that
this version alone cannot reach does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__, limits
from edge.camera.base import Frame
from edge.errors import FrameError, LetheError
from edge.files import read_small, write_atomically
from edge.health.finding import Finding
from edge.pipeline import Match, Pipeline
from edge.protocol.watchlist import Authorisation, Entry, Purpose, Watchlist, quantise
from edge.vision.engine import Vision
from edge.vision.pictures import read_picture
from edge.watchlist.gallery import Gallery

WIDTH, HEIGHT, FRAMES, STEP_S = 640, 384, 6, 0.2
ENTRY = "5e1f" * 8
PORTRAITS = Path(__file__).resolve().parents[2] / "demo" / "assets"
"""The built-in pictures."""


class Verdict(msgspec.Struct, frozen=True):
    """What a self-test came to; the last good one is kept for comparison.

    Attributes:
        version: of the software.
        passed: whether it does its job.
        reasons: why not; empty if it does.
        well: names of the doctor's checks that found no problem.
        at: seconds since 1970.
        seconds: how long it took.
    """

    version: str
    passed: bool
    reasons: list[str]
    well: list[str]
    at: float
    seconds: float


def main_job(vision: Vision, portraits: Path) -> list[str]:
    """Look for one of two people in made-up frames, with the real pipeline.

    Args:
        vision: the models to be judged.
        portraits: folder with the two pictures.

    Returns:
        What is wrong; empty if the enrolled person was reported once and nobody else was.
    """
    try:
        pictures = [read_picture(portraits / name) for name in limits.SELFTEST_PORTRAITS]
    except FrameError as error:
        return [f"built-in picture: {error}"]
    enrolled = vision.detect(pictures[0])
    if len(enrolled) != 1:
        return [f"{len(enrolled)} faces found in a portrait of one person"]
    gallery = _gallery(vision, vision.embed(pictures[0], enrolled[0]))
    found: list[Match] = []
    clock = [0.0]
    pipeline = Pipeline(vision, lambda: gallery, found.append, now=lambda: clock[0])
    for index in range(FRAMES):
        clock[0] = index * STEP_S
        pipeline.process(Frame(_scene(pictures, index), index, clock[0]))
    pipeline.finish()
    if pipeline.counters.tracks < len(pictures):
        return [f"{pipeline.counters.tracks} of {len(pictures)} people were seen"]
    if not found:
        return ["the enrolled person was not recognised"]
    if len(found) > 1 or (found[0].face.box[0] + found[0].face.box[2]) / 2 > WIDTH / 2:
        return ["someone who is not enrolled was taken for the enrolled person"]
    return []


def _scene(pictures: Sequence[NDArray[np.uint8]], index: int) -> NDArray[np.uint8]:
    """Draw the portraits side by side, a little larger and further with every frame."""
    scene = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
    for place, picture in enumerate(pictures):
        scale = (0.5 + 0.01 * index) * HEIGHT / picture.shape[0] * 1.2
        move = np.array(
            [[scale, 0, 10 + place * WIDTH / 2 + 2 * index], [0, scale, 20]], np.float32
        )
        cv2.warpAffine(
            picture, move, (WIDTH, HEIGHT), scene,
            flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT,
        )  # fmt: skip
    return scene


def _gallery(vision: Vision, template: NDArray[np.float32]) -> Gallery:
    """Return a list of one person, made here, for here, and known to nobody else."""
    return Gallery(
        Watchlist(
            id="self-test", version=1, issued=0, expires=3600,
            embedder=vision.embedder_id, dimension=vision.dimension,
            authorisation=Authorisation(
                reference="built-in test", purpose=Purpose.CONSENTED_ACCESS,
                not_before=0, not_after=3600, area=None, devices=["self-test"], profile="fixed",
                max_entries=1, fpir_target=limits.FPIR_TARGET_DEFAULT,
            ),
            entries=[
                Entry(
                    id=ENTRY, not_before=0, not_after=3600,
                    templates=[quantise(template)],
                )
            ],
        )
    )  # fmt: skip


def worse(before: Verdict | None, now: Sequence[Finding]) -> list[str]:
    """Return what was well in the last version that passed and is a problem now."""
    was_well = set(before.well) if before else set()
    return [
        f"{finding.check} was well and is not: {finding.says}"
        for finding in now
        if finding.state == "problem" and finding.check in was_well
    ]


def judge(
    open_vision: Callable[[], Vision],
    portraits: Path,
    examine: Callable[[], Sequence[Finding]] | None,
    before: Verdict | None,
    *,
    patience: float = 0.0,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Judge this version.

    Args:
        open_vision: loads the models.
        portraits: folder with the built-in pictures.
        examine: the doctor's checks of this device's configuration; None if it has none yet.
        before: the verdict of the last version that passed, if there was one.
        patience: seconds for which what got worse may get well again (a network that comes up).
        now: wall clock, seconds since 1970.
        sleep: waits.
    """
    begun = now()
    findings: Sequence[Finding] = ()
    try:
        reasons = main_job(open_vision(), portraits)
    except LetheError as error:
        reasons = [str(error)]
    if not reasons and examine is not None:
        while True:
            findings = examine()
            reasons = worse(before, findings)
            if not reasons or now() - begun >= patience:
                break
            sleep(limits.SELFTEST_RETRY_S)
    well = [finding.check for finding in findings if finding.state != "problem"]
    return Verdict(__version__, not reasons, reasons, well, begun, round(now() - begun, 1))


def read_verdict(path: Path) -> Verdict | None:
    """Return a kept verdict; None if there is none, or none that can be read."""
    try:
        return msgspec.json.decode(read_small(path, limits.MAX_CONFIG_BYTES), type=Verdict)
    except (OSError, msgspec.MsgspecError):
        return None  # a damaged record may not hold an update up: the main job still has to pass


def keep_verdict(path: Path, verdict: Verdict) -> None:
    """Keep a verdict on the disk.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    write_atomically(path, msgspec.json.encode(verdict), mode=0o644)
