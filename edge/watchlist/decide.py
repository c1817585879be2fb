"""When a track becomes a candidate. Pure: numbers in, decision out.

Two rules. The threshold follows from one knob, `fpir_target`: how often a track of a person who is
not listed may be reported. And a track must agree with itself: its fused template and several of
its separate views must name the same entry, so that one unlucky frame decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge import limits
from edge.inference.manifest import ImpostorTail
from edge.watchlist.index import Hit


def threshold(tail: ImpostorTail, entries: int, fpir_target: float) -> float:
    """Return the least score of a match against a list of a given size.

    One search compares with every entry, so the false match rate of one comparison must be
    FMR = 1 - (1 - FPIR)^(1/N) (ISO/IEC 19795-1, independent comparisons). The score at that rate
    is read off the measured tail, on a logarithmic scale of rates. Beyond the rarest measured
    rate the tail is continued in a straight line, whose slope is taken from the last measured
    decade: scores of impostors fall off at least so fast.

    Args:
        tail: the embedder's impostor scores, from the manifest.
        entries: templates compared with, at least 1.
        fpir_target: wanted false positive identification rate, in (0, 1).

    Returns:
        A cosine in (0, 1]; never below `limits.MATCH_SCORE_FLOOR`.
    """
    if entries < 1 or not 0 < fpir_target < 1:
        raise ValueError(f"{entries} entries, fpir_target {fpir_target}: out of range")
    rate = -math.expm1(math.log1p(-fpir_target) / entries)
    x = math.log10(rate)
    xs = [math.log10(fmr) for fmr in tail.fmr]
    if x >= xs[0]:
        score = tail.score[0]
    elif x <= xs[-1]:
        near = next(i for i, value in enumerate(xs) if value <= xs[-1] + 1 or i == len(xs) - 2)
        slope = (tail.score[-1] - tail.score[near]) / (xs[-1] - xs[near])
        score = tail.score[-1] + slope * (x - xs[-1])
    else:
        i = next(i for i, value in enumerate(xs) if value <= x)
        part = (xs[i - 1] - x) / (xs[i - 1] - xs[i])
        score = tail.score[i - 1] + part * (tail.score[i] - tail.score[i - 1])
    return min(1.0, max(limits.MATCH_SCORE_FLOOR, score))


@dataclass(frozen=True, slots=True)
class Decision:
    """A track that has become a candidate.

    Attributes:
        entry: id of the entry.
        score: cosine of the track's fused template.
        threshold: what it had to reach.
        agreeing: number of separate views that name the same entry.
        views: number of views.
    """

    entry: str
    score: float
    threshold: float
    agreeing: int
    views: int


def decide(fused: Hit | None, views: Sequence[Hit | None], least: float) -> Decision | None:
    """Decide about a track.

    Args:
        fused: nearest entry of the fused template.
        views: nearest entry of each separate view.
        least: the threshold.

    Returns:
        The decision, or None where the track is not (yet) a candidate.
    """
    if fused is None or fused.score < least:
        return None
    view_least = least - limits.VIEW_SCORE_SLACK
    agreeing = sum(1 for v in views if v and v.entry == fused.entry and v.score >= view_least)
    if agreeing < limits.MIN_AGREEING_VIEWS or 2 * agreeing < len(views):
        return None
    return Decision(fused.entry, fused.score, least, agreeing, len(views))
