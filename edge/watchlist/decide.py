"""When a track becomes a candidate. Pure: numbers in, decision out.

Two rules. The threshold follows from one knob, `fpir_target`: how often a track of a person who is
not listed may be reported. And a track must agree with itself: its fused template and several of
its separate views must name the same entry, so that one unlucky frame decides nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import msgspec

from edge import limits
from edge.inference.manifest import ImpostorTail, Tail
from edge.watchlist.index import Hit


def threshold(
    tail: ImpostorTail, entries: int, fpir_target: float, *, fused: bool = False
) -> float:
    """Return the least score of a match against a list of a given size.

    One search compares with every entry, so the false match rate of one comparison must be
    FMR = 1 - (1 - FPIR)^(1/N) (ISO/IEC 19795-1, independent comparisons; comparisons that depend
    on each other make false positives rarer, not more frequent, as 1 - (1 - p)^N is concave in p).
    The score at that rate is read off the measured tail, on a logarithmic scale of rates. Rarer
    ones follow the exponential that was fitted to the scores beyond (peaks over threshold):
    score(FMR) = s + scale · ln(r / FMR), with s the score at the rarest measured rate r.

    Args:
        tail: the embedder's impostor scores, from the manifest.
        entries: templates compared with, at least 1.
        fpir_target: wanted false positive identification rate, in (0, 1).
        fused: the probe is the mean of several views.

    Returns:
        A cosine in (0, 1]; never below `limits.MATCH_SCORE_FLOOR`.
    """
    if entries < 1 or not 0 < fpir_target < 1:
        raise ValueError(f"{entries} entries, fpir_target {fpir_target}: out of range")
    rate = max(-math.expm1(math.log1p(-fpir_target) / entries), sys.float_info.min)
    score = score_at(tail.fused if fused else tail.single, rate)
    return min(1.0, max(limits.MATCH_SCORE_FLOOR, score))


def score_at(tail: Tail, rate: float) -> float:
    """Return the score that different people exceed at a false match rate, as a tail has it.

    Args:
        tail: measured rates and scores, and how scores fall off beyond.
        rate: above 0.
    """
    if rate <= tail.fmr[-1]:
        return tail.score[-1] + tail.scale * math.log(tail.fmr[-1] / rate)
    if rate >= tail.fmr[0]:
        return tail.score[0]
    i = next(i for i, fmr in enumerate(tail.fmr) if fmr <= rate)
    part = math.log(tail.fmr[i - 1] / rate) / math.log(tail.fmr[i - 1] / tail.fmr[i])
    return tail.score[i - 1] + part * (tail.score[i] - tail.score[i - 1])


class Decision(msgspec.Struct, frozen=True):
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
    agreeing = sum(1 for view in views if agrees(view, fused.entry, least))
    if agreeing < limits.MIN_AGREEING_VIEWS or 2 * agreeing < len(views):
        return None
    return Decision(fused.entry, fused.score, least, agreeing, len(views))


def agrees(view: Hit | None, entry: str, least: float) -> bool:
    """Whether a single view names an entry, with the slack that single views have.

    Args:
        view: the view's nearest entry.
        entry: id of the entry.
        least: the threshold of the track.
    """
    return (
        view is not None and view.entry == entry and view.score >= least - limits.VIEW_SCORE_SLACK
    )
