"""What the doctor says of one question."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """The answer to one question.

    Attributes:
        check: what was looked at.
        state: "ok"; "note": works, but worth knowing; "problem": will not work.
        says: what was found.
        todo: what to do about it; empty when ok.
    """

    check: str
    state: Literal["ok", "note", "problem"]
    says: str
    todo: str = ""
