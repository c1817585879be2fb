"""Tables for people of what was measured. Every figure is in the JSON, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.bars import Bar
from evaluation.detection import Detection
from evaluation.discard import IMPOSTOR_RATES, QualityReport
from evaluation.identification import Identification
from evaluation.knob import Growth, Reached, Refitted
from evaluation.metrics import Rate
from evaluation.parity import Cosines, Landmarks, Times
from evaluation.verification import FAR, Verification
from evaluation.views import View

SHOWN_FAILURES = 10


def table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is text, the others are figures."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=bool(i))
    return made


def percent(rate: Rate) -> str:
    """Write a rate with its interval: 99.18 (98.5 to 99.7)."""
    return f"{100 * rate.value:.2f} ({100 * rate.low:.2f} to {100 * rate.high:.2f})"


def names(console: Console, what: str, failed: Mapping[str, str], *, everything: bool) -> None:
    """Name every picture that gave nothing; the first ten, unless all are asked for."""
    for name, reason in list(failed.items())[: None if everything else SHOWN_FAILURES]:
        console.print(f"  {what}: {name}: {reason}", markup=False)
    if not everything and len(failed) > SHOWN_FAILURES:
        console.print(f"  … and {len(failed) - SHOWN_FAILURES} more; --verbose names them all")


def detection(console: Console, found: Detection, *, verbose: bool) -> None:
    """Print average precision by size of face."""
    console.print(f"{found.pictures} labelled pictures, {len(found.skipped)} skipped")
    names(console, "skipped", found.skipped, everything=verbose)
    for size in found.sizes:
        systems = list(size.buckets[0].ap)
        shown = table(
            f"{size.detector}: AP in % at IoU 0.5", "height of the face in the input, pixels",
            "faces", *systems, "float − int8, points (95 %)",
        )  # fmt: skip
        for bucket in size.buckets:
            shown.add_row(
                bucket.sizes,
                str(bucket.faces),
                *(f"{100 * bucket.ap[s]:.2f}" for s in systems),
                percent(bucket.loss) if bucket.loss else "–",
            )
        console.print(shown)


def verification(console: Console, found: Verification, *, verbose: bool) -> None:
    """Print accuracy and TAR at FAR."""
    shown = table(
        f"{found.same} pairs of one person, {found.different} of different people",
        "", "accuracy, ten folds", *(f"TAR at FAR {100 * far:g} %" for far in FAR), "failed",
    )  # fmt: skip
    for name, system in found.systems.items():
        shown.add_row(
            name,
            f"{100 * system.accuracy:.2f} ± {100 * system.deviation:.2f}",
            *(percent(t.tar) for t in system.tar),
            str(len(system.failed)),
        )
        shown.add_row(
            f"{name}, thresholds from the list's pairs",
            "",
            *(percent(t.tar_pairs) if t.tar_pairs else "too few" for t in system.tar),
            "",
        )
    if found.loss:
        shown.add_row("float − int8, points", "", *(percent(rate) for rate in found.loss), "")
    console.print(shown)
    console.print(
        f"In %, 95 % intervals from drawing people again. Thresholds from {found.people} people "
        f"compared with each other, {found.comparisons} comparisons, where not said otherwise. "
        "failed: pictures without a template; each is a pair that does not match."
    )
    for name, system in found.systems.items():
        names(console, f"{name}, failed", system.failed, everything=verbose)


def identification(console: Console, found: Identification, *, verbose: bool) -> None:
    """Print FNIR at FPIR by size of the list."""
    shown = table(
        f"Open set: {found.people} people, {found.several} with several pictures"
        + ("; poor views and photos refused" if found.gates else ""),
        "enrolled", "", "FNIR at FPIR 1 %", "threshold", "FNIR at FPIR 0.1 %", "threshold",
    )  # fmt: skip
    for search in found.searched:
        for name, points in search.systems.items():
            cells = [cell for p in points for cell in (percent(p.fnir), f"{p.threshold:.3f}")]
            shown.add_row(str(search.gallery), name, *cells)
        if search.loss:
            loss = [cell for rate in search.loss for cell in (percent(rate), "")]
            shown.add_row("", "int8 − float, points", *loss)
    console.print(shown)
    for search in found.searched:
        console.print(
            f"{search.gallery} enrolled: {search.mated} searches of enrolled people, "
            f"{search.unmated} of others, over all repetitions",
            highlight=False,
        )
    for size in found.skipped:
        console.print(f"{size} enrolled: too few people, left out")
    for name, failed in found.failed.items():
        gated = found.gated[name]
        console.print(
            f"{name}: {len(failed)} pictures without a template"
            + (f"; refused as too poor: {gated}" if found.gates else "")
        )
        names(console, f"{name}, failed", failed, everything=verbose)


def knob(console: Console, reached: Iterable[Reached], refitted: Iterable[Refitted]) -> None:
    """Print what fpir_target 1 % came to."""
    shown = table(
        "fpir_target 1 %: what is reached on people who took no part in the fit",
        "templates", "probe", "threshold", "FPIR reached, %", "people probed", "on the list",
    )  # fmt: skip
    for row in reached:
        shown.add_row(
            str(row.entries), "fused" if row.fused else "single", f"{row.threshold:.3f}",
            percent(row.fpir), str(row.probes),
            "nobody of the fit" if row.disjoint else "also people of the fit",
        )  # fmt: skip
    console.print(shown)
    shown = table(
        "The way of fitting: fitted on a third, searched among the others",
        "templates", "FPIR reached, % (least to most of ten splits)",
    )  # fmt: skip
    for fit in refitted:
        shown.add_row(str(fit.entries), percent(fit.fpir))
    console.print(shown)


def growth(console: Console, rows: Sequence[Growth], targets: Sequence[float]) -> None:
    """Print the threshold by size of the list."""
    heads = [f"{kind}, {100 * t:g} %" for kind in ("single", "track") for t in targets]
    shown = table("Threshold (cosine) by length of the list and fpir_target", "templates", *heads)
    for row in rows:
        shown.add_row(str(row.entries), *(f"{v:.3f}" for v in (*row.single, *row.fused)))
    console.print(shown)


def quality(console: Console, found: QualityReport) -> None:
    """Print error versus discard, and the scores of strangers."""
    at = [i for i, f in enumerate(found.fractions) if f in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)]
    for discard in found.discard:
        shown = table(
            f"{discard.pictures}: {discard.pairs} pairs of one person, threshold "
            f"{discard.threshold:.3f}; false non-matches in % when so many are discarded",
            "by", *(f"{100 * found.fractions[i]:g} %" for i in at),
        )  # fmt: skip
        for curve in discard.curves:
            shown.add_row(curve.measure, *(f"{100 * curve.fnmr[i]:.2f}" for i in at))
        console.print(shown)
        refused = discard.fnmr_refused
        console.print(
            f"The device would judge {100 * discard.judged:.1f} % of these probes: of them "
            f"{100 * discard.fnmr_judged:.1f} % are missed, of those it refuses "
            + ("none" if refused is None else f"{100 * refused:.1f} %")
        )
    console.print(f"{found.failed_worse} of the pictures made worse: no face found")
    shown = table(
        "Strangers: the score that so many comparisons exceed", "", "comparisons",
        *(f"{100 * rate:g} %" for rate in IMPOSTOR_RATES),
    )  # fmt: skip
    for row in found.strangers:
        cells = ["too few" if v is None else f"{v:.3f}" for v in row.score]
        shown.add_row(row.kind, str(row.comparisons), *cells)
    console.print(shown)


def parity(
    console: Console, agreed: Iterable[Cosines], points: Iterable[Landmarks], taken: Iterable[Times]
) -> None:
    """Print agreement, landmarks and times."""
    shown = table(
        "Cosine int8 to float, same crops", "", "faces", "mean", "1st percentile", "least"
    )
    for row in agreed:
        shown.add_row(
            row.pictures, str(row.faces), f"{row.mean:.4f}", f"{row.p1:.4f}", f"{row.least:.4f}"
        )
    console.print(shown)
    shown = table(
        "Landmarks int8 to float, % of the distance between the eyes",
        "detector, height of the face", "faces", "missed", "median", "p99",
        "median, eyes as seen", "p99, eyes as seen",
    )  # fmt: skip
    for mark in points:
        shown.add_row(
            f"{mark.detector}, {mark.sizes}", str(mark.faces), str(mark.missed),
            *(f"{100 * v:.2f}" for v in (mark.median, mark.p99, mark.median_seen, mark.p99_seen)),
        )  # fmt: skip
    console.print(shown)
    shown = table("Time on one thread, runs in turn", "", "int8, ms", "float, ms", "int8 / float")
    for each in taken:
        shown.add_row(each.what, f"{each.ms_int8:.2f}", f"{each.ms_float:.2f}", f"{each.ratio:.2f}")
    console.print(shown)


def bars(console: Console, judged: Iterable[Bar]) -> None:
    """Print each bar beside what was measured."""
    shown = table("Bars", "measure", "measured", "bar", "")
    for bar in judged:
        sign = "≥" if bar.at_least else "≤"
        shown.add_row(
            bar.measure, f"{bar.value:.4f}", f"{sign} {bar.bar:g}",
            "[green]held[/]" if bar.held else "[bold red]missed[/]",
        )  # fmt: skip
    console.print(shown)


def views(console: Console, photo: str, rows: Iterable[View]) -> None:
    """Print what became of a photo."""
    shown = Table(title=escape(photo), title_justify="left", box=box.SIMPLE)
    for column in ("change", "on the device", "to enrol", "quality", "cosine to the photo"):
        shown.add_column(column)
    for row in rows:
        shown.add_row(
            row.change,
            f"refused: {row.view}" if row.view else "judged",
            f"refused: {row.photo}" if row.photo else "taken",
            "–" if row.quality is None else f"{row.quality:.2f}",
            "–" if row.cosine is None else f"{row.cosine:.2f}",
        )
    console.print(shown)
