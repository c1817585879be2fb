"""What is signed of a target. Pure: nothing of python-tuf is needed to speak of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

TOP_LEVEL = "targets"
"""Name of the role that delegates to all others (TUF specification, 4.5)."""


class Target(msgspec.Struct, frozen=True):
    """What is signed of a target.

    Attributes:
        path: its name.
        role: who signed it.
        version: of that role's metadata.
        length: of the content, bytes.
        sha256: of the content, hex.
        custom: what else is signed of it.
        signers: ids of the keys whose signatures held.
        threshold: how many the role needs.
    """

    path: str
    role: str
    version: int
    length: int
    sha256: str
    custom: Mapping[str, Any]
    signers: tuple[str, ...]
    threshold: int
