"""The bars that a quantised model must reach beside its float original, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evaluation.detection import Detection
from evaluation.identification import FPIR, Identification
from evaluation.parity import Cosines, Landmarks, Times
from evaluation.verification import FAR, Verification

AP_LOSS = 0.005
COSINE_MEAN = 0.990
COSINE_P1 = 0.975
COSINE_MEAN_COMPACT = 0.985
"""For embedders below `COMPACT_BYTES`, made for an accelerator's small memory."""
COMPACT_BYTES = 4 * 1024 * 1024
LANDMARK_MEDIAN = 0.015
LANDMARK_P99 = 0.05
TAR_LOSS, TAR_FAR = 0.003, 1e-3
FNIR_LOSS, FNIR_FPIR, FNIR_GALLERY = 0.005, 1e-2, 500
TIME_RATIO = 1.05


class Bar(msgspec.Struct, frozen=True):
    """One measure beside its bar.

    Attributes:
        measure: in words.
        value: measured.
        bar: what it must reach.
        at_least: the value must reach the bar; else it must not exceed it.
    """

    measure: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether the bar is reached."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


class Parity(msgspec.Struct, frozen=True):
    """Everything that `lethe evaluate parity` writes. What was not measured is None or empty."""

    runtime: str
    cosines: list[Cosines]
    landmarks: list[Landmarks]
    times: list[Times]
    detection: Detection | None
    verification: Verification | None
    identification: Identification | None


def judge(found: Parity, *, compact: bool) -> list[Bar]:
    """Return every bar that was measured, in the order of the table that sets them.

    Args:
        found: what was measured.
        compact: whether the embedder is a compact one, which has a bar of its own.
    """
    bars: list[Bar] = []
    for size in found.detection.sizes if found.detection else ():
        loss = size.buckets[0].loss
        if loss:
            what = f"AP, faces {size.buckets[0].sizes} px, {size.detector}: float − int8"
            bars.append(Bar(what, loss.value, AP_LOSS))
    for mark in found.landmarks:
        what = f"landmarks / eye distance, faces {mark.sizes} px, {mark.detector}"
        bars.append(Bar(f"{what}: median", mark.median, LANDMARK_MEDIAN))
        bars.append(Bar(f"{what}: 99th percentile", mark.p99, LANDMARK_P99))
    for row in found.cosines:
        mean = COSINE_MEAN_COMPACT if compact else COSINE_MEAN
        bars.append(Bar(f"cosine, {row.pictures}: mean", row.mean, mean, at_least=True))
        if not compact:
            bars.append(
                Bar(f"cosine, {row.pictures}: 1st percentile", row.p1, COSINE_P1, at_least=True)
            )
    if found.verification and found.verification.loss:
        loss = found.verification.loss[FAR.index(TAR_FAR)]
        bars.append(Bar(f"TAR at FAR {100 * TAR_FAR:g} %: float − int8", loss.value, TAR_LOSS))
    for search in found.identification.searched if found.identification else ():
        if search.loss and search.gallery == FNIR_GALLERY:
            loss = search.loss[FPIR.index(FNIR_FPIR)]
            what = f"FNIR at FPIR {100 * FNIR_FPIR:g} %, {search.gallery} enrolled: int8 − float"
            bars.append(Bar(what, loss.value, FNIR_LOSS))
    bars += [Bar(f"time, {t.what}: int8 / float", t.ratio, TIME_RATIO) for t in found.times]
    return bars


def missed(bars: Sequence[Bar]) -> list[Bar]:
    """Return those that are not reached."""
    return [bar for bar in bars if not bar.held]
