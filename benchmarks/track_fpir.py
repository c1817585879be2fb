"""How often a track of somebody who is not listed is reported, beside what was asked for.

    python -m benchmarks.track_fpir --data ../shared/data

The tracks of the videos are judged as the device judges them, against lists drawn from people of
LFW who are not in them, one photo each. A track is wrong if it is reported at any time of its life.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.camera.file import VideoFile
from edge.pipeline import Pipeline, SeenTrack
from edge.vision.engine import Vision
from edge.vision.pictures import read_picture
from edge.vision.shots import Shot
from edge.watchlist.decide import decide, threshold
from edge.watchlist.gallery import Gallery
from edge.watchlist.index import Hit
from evaluation.metrics import interval
from models.build import datasets

Vectors = NDArray[np.float32]
VIDEOS = ("stage_360p.mp4", "crowd_walking_1080p.mp4", "no_faces_432p.mp4")
NOBODY = SimpleNamespace(templates=1, authorisation=SimpleNamespace(fpir_target=0.001))


class Recorder(Pipeline):
    """Keeps what each track would have been judged by, and reports nobody."""

    judgements: dict[int, list[tuple[Vectors, Vectors]]]

    def _judge(self, seen: SeenTrack, gallery: Gallery, newest: Shot | None = None) -> None:
        seen.judged_by = gallery
        views = np.stack([shot.template for shot in seen.shots.shots])
        self.judgements[seen.track.id].append((seen.shots.fused(), views))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.track_fpir", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--trials", type=int, default=20_000, help="about so many for each row")
    options = parser.parse_args()
    vision = Vision.open()
    people = _people(vision, options.data)
    tracks = [
        [(fused @ people.T, views @ people.T) for fused, views in judgements]
        for video in VIDEOS
        for judgements in _watch(vision, options.data / "video" / video)
    ]
    table = Table("list", "fpir_target", "threshold", "trials", "reported", box=box.SIMPLE)
    random = np.random.default_rng(0)
    for entries in (1, 10, 100):
        for target in (0.01, 0.001):
            least = threshold(vision.embedder_model.impostor_tail, entries, target, fused=True)
            lists = [
                random.choice(len(people), entries, replace=False)
                for _ in range(options.trials // len(tracks))
            ]
            wrong = np.array([sum(_reported(t, chosen, least) for chosen in lists) for t in tracks])
            # Tracks, not trials, are drawn again: the trials of one track depend on each other.
            again = random.integers(0, len(tracks), (1000, len(tracks)))
            rate = interval(wrong.mean() / len(lists), wrong[again].mean(axis=1) / len(lists))
            table.add_row(
                str(entries), str(target), f"{least:.3f}", str(len(tracks) * len(lists)),
                f"{rate.value:.5f} ({rate.low:.5f} to {rate.high:.5f})",
            )  # fmt: skip
    console = Console(highlight=False)
    console.print(f"{len(tracks)} tracks, {len(people)} people who are not in them")
    console.print(table)


def _people(vision: Vision, data: Path) -> Vectors:
    first: dict[str, Path] = {}
    for name, path in datasets.lfw_images(data):
        first.setdefault(name, path)
    found = []
    for path in track(list(first.values()), "people"):
        aligned = datasets.portrait(read_picture(path), vision)
        if aligned is not None:
            found.append(vision.embed_aligned(aligned))
    return np.stack(found)


def _watch(vision: Vision, video: Path) -> list[list[tuple[Vectors, Vectors]]]:
    pipeline = Recorder(vision, lambda: NOBODY, lambda _match: None, now=time.time)
    pipeline.judgements = defaultdict(list)
    clip = VideoFile(video)
    for frame in track(clip.frames(), video.name, total=clip.declared):
        pipeline.process(frame)
    pipeline.finish()
    return list(pipeline.judgements.values())


def _reported(judgements: list[tuple[Vectors, Vectors]], chosen: np.ndarray, least: float) -> bool:
    for fused, views in judgements:
        best = _hit(fused, chosen)
        if best.score >= least and decide(best, [_hit(v, chosen) for v in views], least):
            return True
    return False


def _hit(scores: Vectors, chosen: np.ndarray) -> Hit:
    best = chosen[int(np.argmax(scores[chosen]))]
    return Hit(str(best), float(scores[best]))


if __name__ == "__main__":
    main()
