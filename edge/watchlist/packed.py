"""Blocks of templates in the form that numkong multiplies fastest: int8 by int8, packed once.

numkong hides the packed memory. It must not stay hidden here: templates have to be overwritten
when a list ends, and the rows are needed again to score the nearest exactly (a second copy would
cost 128 bytes a person). So it is looked at through its address. numkong's own comments say how
it lies there (a header of 64 bytes, then row after row, padded); every block compares what it
sees with what it packed, and refuses numkong if there is any difference: then numpy serves.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.watchlist.index import Block, ExactIndex, PlainBlock, Probe, inverse_lengths

log = logging.getLogger(__name__)

_HEADER = 64
_LEAN = {"serial", "haswell", "neon", "neonsdot"}
"""Kernels that pad a row of 128 to 144 bytes. Those of AVX-512 pad to 192, and lose more by
reading that than they win: 0.71 against 0.30 ms for 100,000 rows (docs/adr/0016)."""


class LayoutUnknown(Exception):
    """The installed numkong keeps its rows in another way than this module knows."""


class PackedBlock:
    """Compares int8 with int8; the probe's rounding is accounted for in `error`."""

    kind = "numkong"

    def __init__(self, rows: NDArray[np.int8]) -> None:
        """Pack rows.

        Args:
            rows: (m, dimension) int8, m at least 1, none of them zero.

        Raises:
            LayoutUnknown: what was packed is not found in the packed memory.
        """
        self._numkong = _load()
        self._packed = self._numkong.dots_pack(np.ascontiguousarray(rows), dtype="int8")
        self.rows = _rows_of(self._packed, *rows.shape)
        if not np.array_equal(self.rows, rows):
            raise LayoutUnknown
        self._inverse = inverse_lengths(rows)

    def cosines(self, probe: Probe) -> NDArray[np.float32]:
        """Return the cosines; see `Block.cosines`."""
        dots = np.asarray(self._numkong.dots_packed(probe.small, self._packed))[0]
        cosines: NDArray[np.float32] = dots.astype(
            np.float32
        )  # exactly: below 2^24 in up to 1024 dimensions
        cosines *= self._inverse
        return cosines

    def error(self, probe: Probe) -> float:
        """Return the bound: the probe's rounding and the arithmetic's."""
        return probe.rounding + probe.slack


def exact_index(rows: NDArray[np.int8]) -> ExactIndex:
    """Return the fastest exact index there is here.

    Args:
        rows: (n, dimension) int8, none of them zero; copied.
    """
    return ExactIndex(rows, PackedBlock if usable() else PlainBlock)


@functools.cache
def usable() -> bool:
    """Whether numkong is installed and its packed rows lie where this module expects them."""
    specimen = np.arange(-60, 60, dtype=np.int8).reshape(5, 24)
    try:
        block: Block = PackedBlock(specimen)
    except ImportError as error:
        log.info("numkong cannot be used (%s): numpy searches, at a quarter of the speed", error)
        return False
    except LayoutUnknown:
        log.warning(
            "this numkong packs in an unknown way: numpy searches, at a quarter of the speed"
        )
        return False
    block.rows[:] = 0
    return not block.cosines(Probe.of(np.ones(24), 24)).any()


@functools.cache
def _load() -> Any:  # noqa: ANN401 - a module
    numkong: Any = importlib.import_module("numkong")
    for name, enabled in numkong.get_capabilities().items():
        if enabled and name not in _LEAN:
            numkong.disable_capability(name)
    return numkong


def _rows_of(packed: Any, count: int, dimension: int) -> NDArray[np.int8]:  # noqa: ANN401
    """Return a view of the (count, dimension) int8 rows inside a packed matrix.

    After the rows come as many squared lengths, uint32.
    """
    stride, rest = divmod(packed.nbytes - _HEADER - 4 * count, count)
    if rest or stride < dimension:
        raise LayoutUnknown
    # In CPython an object's id is its address, and what it has room for follows its fixed part.
    buffer = (ctypes.c_int8 * packed.nbytes).from_address(id(packed) + type(packed).__basicsize__)
    buffer.owner = packed  # whoever holds the view holds the memory
    whole = np.ctypeslib.as_array(buffer)
    return whole[_HEADER : _HEADER + count * stride].reshape(count, stride)[:, :dimension]
