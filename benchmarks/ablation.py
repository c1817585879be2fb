"""Each saving switched off alone: what it saves, and whom it costs.

In this process, frame path only, against lists of one person each (`PEOPLE`), on the clips of the
research data; `truth/` says who is there. A saving is switched off by the limits it consists of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import msgspec

from benchmarks.pipeline import read_truth
from benchmarks.stages import list_of
from edge import limits
from edge.camera.file import VideoFile
from edge.pipeline import Counters, Match, Pipeline
from edge.vision.engine import Vision
from edge.vision.pace import EASED, EVERY_FRAME, LEAST, NORMAL, Intervals, Pace
from edge.watchlist.gallery import Gallery

PEOPLE = ("lin-manuel-miranda", "obama", "alex-lacamoire", "biden")
CLIPS = ("stage_360p", "crowd_walking_1080p", "no_faces_432p")
EVERY_VIEW = {"SHOT_WINDOW_S": 0.0, "SHOTS_ENOUGH": 10**6, "RECHECK_S": 0.0}


class Variant(msgspec.Struct, frozen=True):
    """The device with something switched off.

    Attributes:
        name: what.
        intervals: between looks.
        limits: other limits that are replaced.
    """

    name: str
    intervals: Intervals = NORMAL
    limits: Mapping[str, float] = msgspec.field(default_factory=dict)


def _with(**changed: float) -> Intervals:
    return msgspec.structs.replace(NORMAL, **changed)


VARIANTS = (
    Variant("all savings"),
    Variant("no motion gate", _with(still=NORMAL.moving)),
    Variant("no rate that follows the scene", _with(
        fresh=0, deciding=0, following=0, moving=0, still=0, gate=0)),
    Variant("no tracks carried between looks", _with(fresh=0, deciding=0, following=0)),
    Variant("no looks around faces only", _with(whole=0)),
    Variant("no coarse looks", limits={"LOOK_COARSE_SHARE": 1}),
    Variant("a new face at half the rate", _with(fresh=NORMAL.deciding)),
    Variant("no best shot: every view embedded", limits={"SHOT_WINDOW_S": 0.0}),
    Variant("no stop when decided", limits={"SHOTS_ENOUGH": 10**6}),
    Variant("no savings at all", EVERY_FRAME, EVERY_VIEW),
    Variant("step 'eased'", EASED),
    Variant("step 'least'", LEAST),
)  # fmt: skip


class Result(msgspec.Struct):
    """What a variant took and found.

    Attributes:
        cpu: processor seconds by clip.
        counters: sums over the clips, each watched once for each person.
        found: people found who are there.
        there: people who are there.
        wrong: reports of somebody who is not there.
    """

    cpu: dict[str, float] = msgspec.field(default_factory=dict)
    counters: Counters = msgspec.field(default_factory=Counters)
    found: list[str] = msgspec.field(default_factory=list)
    there: list[str] = msgspec.field(default_factory=list)
    wrong: int = 0


def measure(
    data: Path, eye: Vision, variants: Sequence[Variant], clips: Sequence[str]
) -> Iterator[tuple[Variant, Result]]:
    """Measure variants.

    Args:
        data: the research data.
        eye: models, one thread.
        variants: of `VARIANTS`.
        clips: of `CLIPS`.
    """
    lists = {name: Gallery(list_of(eye, _photo(data, name))) for name in PEOPLE}
    for variant in variants:
        result = Result()
        for clip in clips:
            # On a clip that shows none of them, one list tells the cost, all of them would no more.
            truth = read_truth(clip)
            watched = [name for name in PEOPLE if name in truth] or [PEOPLE[0]]
            began = time.process_time()
            for name in watched:
                with _replaced(variant.limits):
                    found, counters = _watch(
                        data / "video" / f"{clip}.mp4", eye, lists[name], variant.intervals
                    )
                _add(result.counters, counters)
                if name not in truth:
                    result.wrong += found
                    continue
                result.there.append(name)
                if found:
                    result.found.append(name)
            result.cpu[clip] = (time.process_time() - began) / len(watched)
        yield variant, result


def _photo(data: Path, name: str) -> Path:
    return next((data / "photos").glob(f"{name}.*"))


def _watch(clip: Path, eye: Vision, gallery: Gallery, intervals: Intervals) -> tuple[int, Counters]:
    matches: list[Match] = []
    pipeline = Pipeline(eye, lambda: gallery, matches.append, now=time.time, pace=Pace(intervals))
    for frame in VideoFile(clip).frames():
        pipeline.process(frame)
    pipeline.finish()
    return len(matches), pipeline.counters


def _add(total: Counters, more: Counters) -> None:
    for name in Counters.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))


@contextmanager
def _replaced(values: Mapping[str, float]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch.object(limits, name, value))
        yield
