"""Plots of what was measured: numbers only, never a picture of anybody.

The format follows the file's ending (SVG, PDF, PNG). An SVG of the same figures is the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from edge.errors import EvaluationError
from edge.inference.manifest import ImpostorTail
from edge.watchlist.decide import threshold
from evaluation.detection import Detection
from evaluation.discard import QualityReport
from evaluation.identification import Identification
from evaluation.verification import Verification

mpl.use("Agg")  # before pyplot is imported: no window system

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "lethe",  # the same ids every time
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}
DASHES = {"int8": "-", "float": "--"}


@contextmanager
def drawing(target: Path, panels: int = 1) -> Iterator[list[Axes]]:
    """Give axes to draw on, side by side, and write the file.

    Raises:
        EvaluationError: the format is not known, or the file cannot be written.
    """
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, panels, figsize=(6.4 * panels, 4.4), layout="constrained", squeeze=False
        )
        try:
            yield list(axes[0])
            # An SVG carries its date unless told not to.
            meta = {"Date": None} if target.suffix == ".svg" else {}
            figure.savefig(target, metadata=meta)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{target}: cannot be drawn: {error}") from error
        finally:
            plt.close(figure)


def _percent(axis: Axes, which: str) -> None:
    target = axis.xaxis if which == "x" else axis.yaxis
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def det(found: Identification, target: Path) -> None:
    """Draw the detection error trade-off, a colour a length of the list."""
    with drawing(target) as (axis,):
        for i, search in enumerate(found.searched):
            for name, points in search.det.items():
                fpir, fnir = np.array(points).T
                axis.plot(
                    fpir, np.maximum(fnir, 1e-4), DASHES[name], color=f"C{i}",
                    label=f"{search.gallery} enrolled, {name}",
                )  # fmt: skip
        axis.set(
            xscale="log", yscale="log", xlabel="FPIR: found though not enrolled",
            ylabel="FNIR: enrolled, not found", title="Open-set identification",
        )  # fmt: skip
        _percent(axis, "x")
        _percent(axis, "y")
        axis.legend(fontsize="small")


def roc(found: Verification, target: Path) -> None:
    """Draw TAR over FAR."""
    with drawing(target) as (axis,):
        for name, system in found.systems.items():
            far, tar = np.array(system.curve).T
            axis.plot(far, tar, DASHES[name], color="C0", label=name)
        axis.set(
            xscale="log", xlabel="FAR: different people accepted",
            ylabel="TAR: one person accepted", title="Comparison of two pictures",
        )  # fmt: skip
        _percent(axis, "x")
        _percent(axis, "y")
        axis.legend()


def precision(found: Detection, target: Path) -> None:
    """Draw average precision by size of face, a group a detector."""
    with drawing(target, len(found.sizes)) as axes:
        for axis, size in zip(axes, found.sizes, strict=True):
            systems = list(size.buckets[0].ap)
            for k, name in enumerate(systems):
                axis.bar(
                    np.arange(len(size.buckets)) + k * 0.4, [b.ap[name] for b in size.buckets],
                    width=0.38, label=name,
                )  # fmt: skip
            axis.set_xticks(
                np.arange(len(size.buckets)) + 0.2 * (len(systems) - 1),
                [f"{b.sizes}\n({b.faces})" for b in size.buckets],
            )
            axis.set(
                ylim=(0, 1), title=size.detector, ylabel="AP at IoU 0.5",
                xlabel="height of the face in the input, pixels (faces)",
            )  # fmt: skip
            _percent(axis, "y")
            axis.legend(loc="lower right")


def discard(found: QualityReport, target: Path) -> None:
    """Draw error versus discard, a panel a kind of pictures."""
    with drawing(target, len(found.discard)) as axes:
        for axis, kind in zip(axes, found.discard, strict=True):
            for curve in kind.curves:
                strong, ideal = curve.measure == "overall", curve.measure == "ideal"
                axis.plot(
                    found.fractions, curve.fnmr, ":" if ideal else "-",
                    color="black" if strong or ideal else None,
                    linewidth=2.5 if strong else 1.2, label=curve.measure,
                )  # fmt: skip
            axis.set(
                xlabel="discarded, poorest first", ylabel="false non-matches among the rest",
                title=kind.pictures, ylim=(0, None),
            )  # fmt: skip
            _percent(axis, "x")
            _percent(axis, "y")
            axis.legend(fontsize="small")


def thresholds(tail: ImpostorTail, targets: tuple[float, ...], target: Path) -> None:
    """Draw the threshold of a track over the length of the list, with its uncertainty."""
    sizes = np.unique(np.logspace(0, 4, 81).astype(int))
    with drawing(target) as (axis,):
        for i, fpir in enumerate(targets):
            axis.plot(
                sizes, [threshold(tail, int(n), fpir, fused=True) for n in sizes], color=f"C{i}",
                label=f"fpir_target {fpir:g}",
            )  # fmt: skip
            bounds = [b for b in tail.fused.bounds if fpir / b.fmr <= sizes[-1]]
            at = [np.log1p(-fpir) / np.log1p(-b.fmr) for b in bounds]
            inside = [(n, b) for n, b in zip(at, bounds, strict=True) if n >= 1]
            axis.fill_between(
                [n for n, _ in inside], [b.low for _, b in inside], [b.high for _, b in inside],
                color=f"C{i}", alpha=0.15, linewidth=0,
            )  # fmt: skip
        axis.set(
            xscale="log", xlabel="templates on the list", ylabel="threshold (cosine)",
            title="What a track must reach; shaded: 95 % of refits with other people",
        )  # fmt: skip
        axis.legend()
