"""Finding the nearest templates by looking at every one of them (docs/adr/0016).

A scan has two steps. The first is fast and a little wrong, by no more than a bound that is known;
the second scores exactly those rows that the first cannot rule out. So the answer is exact, and
that is a theorem, not a hope:

    Let S be the cosine of a row and A its approximation, |S - A| <= e for every row. The k rows
    of largest A have S >= T - e, T being the k-th largest A; hence so has each of the k rows of
    largest S, and therefore A >= S - e >= T - 2e. No row with A < T - 2e is among the k nearest.

e has two parts. A probe q rounded to int8, q = step·small + r, moves a cosine by |r·v| / |v| <= |r|
(Cauchy and Schwarz), and |r| <= step·sqrt(d)/2, no element being off by more than half a step. And
float32 arithmetic in d dimensions errs by at most (d + 8)·2^-24 of |q| (Higham, Accuracy and
Stability of Numerical Algorithms, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge import limits
from edge.errors import IndexRefused

_ONE = 2.0**40


class Hit(NamedTuple):
    """An entry that was found, and the cosine of its best template, -1 to 1."""

    entry: str
    score: float


class Probe(NamedTuple):
    """What is searched for: a direction, in the forms that the steps of a scan want.

    Attributes:
        exact: (d,) float64, whole numbers, in units of 2^-40: products with int8 rows add up
            without any rounding, in whatever order, so that equal rows score equal.
        step: the unit of what follows: the largest element is 127 of it.
        small: (1, d) int8, in units of `step`.
        rounding: most that `small` may be off, as a length, in units of `step`.
        slack: what float32 arithmetic may err by, in units of `step`.
    """

    exact: NDArray[np.float64]
    step: float
    small: NDArray[np.int8]
    rounding: float
    slack: float

    @classmethod
    def of(cls, vector: NDArray[np.floating], dimension: int) -> Probe:
        """Return the forms of a vector's direction.

        Args:
            vector: (dimension,) float of any length but 0.
            dimension: what the list has.

        Raises:
            IndexRefused: wrong shape, not finite, or without a direction.
        """
        if vector.shape != (dimension,):
            raise IndexRefused(f"probe of shape {vector.shape}, the list has ({dimension},)")
        wide = vector.astype(np.float64)
        length = math.sqrt(wide.dot(wide))
        if not 1e-6 <= length < math.inf:  # NaN is in no range
            raise IndexRefused("probe is not finite or has no direction")
        exact = np.rint(wide * (_ONE / length))
        largest = abs(exact.item(np.abs(exact).argmax()))
        small = np.rint(exact * (127 / largest)).astype(np.int8)
        step = largest / (127 * _ONE)
        slack = (dimension + 8) * 2.0**-24 / step
        return cls(exact, step, small[None], math.sqrt(dimension) / 2, slack)

    @property
    def single(self) -> NDArray[np.float32]:
        """The direction as (d,) float32 of length 1."""
        return (self.exact / _ONE).astype(np.float32)


class Index(Protocol):
    """Templates to be searched. Searched by one thread at a time, never changed.

    Attributes:
        kind: what it is, for people: "exact int8 (numkong)".
    """

    kind: str

    def __len__(self) -> int:
        """Return the number of templates."""

    def search(self, probe: Probe, k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest templates as (row, cosine), nearest first.

        The cosines are exact to float64; of equal ones the lower row comes first.

        Args:
            probe: of the templates' dimension.
            k: at least 1.
        """

    def destroy(self) -> None:
        """Overwrite the templates. The index finds nothing afterwards."""


class Block(Protocol):
    """Some templates and a fast way to compare with all of them.

    Attributes:
        kind: what makes it fast.
        rows: (m, dimension) int8, in the memory that is searched: overwriting it is destruction.
    """

    kind: str
    rows: NDArray[np.int8]

    def cosines(self, probe: Probe) -> NDArray[np.float32]:
        """Return (m,) float32: cosines in units of the probe's step, wrong by `error` at most."""

    def error(self, probe: Probe) -> float:
        """Return the bound."""


class PlainBlock:
    """Compares with numpy alone: the rows are turned into float32 for a moment."""

    kind = "numpy"

    def __init__(self, rows: NDArray[np.int8]) -> None:
        """Copy rows.

        Args:
            rows: (m, dimension) int8, none of them zero; they are compared by direction.
        """
        self.rows = np.array(rows, np.int8, order="C")
        self._inverse = inverse_lengths(self.rows)

    def cosines(self, probe: Probe) -> NDArray[np.float32]:
        """Return the cosines; see `Block.cosines`."""
        scores: NDArray[np.float32] = self.rows.astype(np.float32) @ probe.single
        scores *= self._inverse / np.float32(probe.step)
        return scores

    def error(self, probe: Probe) -> float:
        """Return the bound: the arithmetic's alone, as the probe is not rounded."""
        return probe.slack


class ExactIndex:
    """Compares with every template; misses nobody."""

    def __init__(
        self, rows: NDArray[np.int8], block: Callable[[NDArray[np.int8]], Block] = PlainBlock
    ) -> None:
        """Copy templates, a block at a time.

        Args:
            rows: (n, dimension) int8, none of them zero; they are compared by direction.
            block: what makes a block of some of them.
        """
        size = limits.INDEX_BLOCK_ROWS
        self._blocks = [block(rows[at : at + size]) for at in range(0, len(rows), size)]
        self.kind = f"exact int8 ({self._blocks[0].kind if self._blocks else 'empty'})"

    def __len__(self) -> int:
        """Return the number of templates."""
        return sum(len(block.rows) for block in self._blocks)

    def search(self, probe: Probe, k: int) -> list[tuple[int, float]]:
        """Return the `k` nearest rows; see `Index.search`."""
        floor, begin = -math.inf, 0
        kept: list[tuple[int, Block, NDArray[np.float32], float]] = []
        for block in self._blocks:
            cosines = block.cosines(probe)
            best = cosines.item(cosines.argmax())
            if best >= floor:
                kept.append((begin, block, cosines, best))
                if k <= len(cosines):  # the k-th of one block is no better than the k-th of all
                    kth = best if k == 1 else float(np.partition(cosines, -k)[-k])
                    floor = max(floor, kth - 2 * block.error(probe))
            begin += len(cosines)
        found: list[tuple[float, int]] = []
        for begin, block, cosines, best in kept:
            if best >= floor:
                near = (cosines >= floor).nonzero()[0]
                scores = exact_cosines(block.rows[near], probe)
                found += [(-s, begin + row) for s, row in zip(scores, near.tolist(), strict=True)]
        found.sort()
        return [(row, -opposite) for opposite, row in found[:k]]

    def take(self, rows: Sequence[int]) -> NDArray[np.int8]:
        """Return a copy of some rows, (len(rows), dimension) int8."""
        places = (divmod(row, limits.INDEX_BLOCK_ROWS) for row in rows)
        return np.stack([self._blocks[block].rows[at] for block, at in places])

    def destroy(self) -> None:
        """Overwrite the templates."""
        for block in self._blocks:
            block.rows[:] = 0
        self._blocks = []


def exact_cosines(rows: NDArray[np.int8], probe: Probe) -> list[float]:
    """Return the cosines of (m, dimension) int8 rows with a probe, to the last bits of float64.

    Both products are exact: whole numbers below 2^40 · 127 · 32 for 1024 dimensions, which is below
    2^53. Only the root and the divisions round. Row by row, for there are few.
    """
    wide, exact = rows.astype(np.float64), probe.exact
    return [float(row.dot(exact)) / math.sqrt(row.dot(row)) / _ONE for row in wide]


def inverse_lengths(rows: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return 1 / length of (m, dimension) int8 rows, (m,) float32."""
    wide = rows.astype(np.float32)
    return np.asarray(1 / np.sqrt(np.einsum("ij,ij->i", wide, wide)), np.float32)
