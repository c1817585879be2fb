"""When a new configuration has shown that the device works with it, and when it has not. Pure."""

from __future__ import annotations

from enum import Enum

import msgspec

from edge import limits


class Verdict(Enum):
    """What is known of a configuration on trial."""

    PROVEN = "proven"
    OPEN = "open"
    FAILED = "failed"


class Evidence(msgspec.Struct, frozen=True):
    """What has happened since the start.

    Attributes:
        elapsed: seconds since then, steady.
        frames: frames that went through the pipeline.
        judged: those in which faces were looked for.
        armed: whether there is a list to look for.
        waiting: whether a file is not begun because there is no list; it has been opened.
        camera: 'ok', or why no frames come.
    """

    elapsed: float
    frames: int
    judged: int
    armed: bool
    waiting: bool
    camera: str


def judge(evidence: Evidence) -> Verdict:
    """Return whether the device does its work.

    It does when a frame was judged. Where there is no list nobody is looked for anyway: then it is
    enough that frames have come, and that no list came for as long as a trial lasts. A list that
    came late leaves as much time again.
    """
    if evidence.waiting or evidence.judged:
        return Verdict.PROVEN
    if evidence.elapsed < limits.CONFIG_TRIAL_S:
        return Verdict.OPEN
    if not evidence.frames:
        return Verdict.FAILED
    if not evidence.armed:
        return Verdict.PROVEN
    return Verdict.FAILED if evidence.elapsed >= 2 * limits.CONFIG_TRIAL_S else Verdict.OPEN


def says(evidence: Evidence) -> str:
    """Return in words why a configuration has failed."""
    if not evidence.frames:
        return f"no frame came within {limits.CONFIG_TRIAL_S:g} s; camera: {evidence.camera}"
    return f"frames came, and none was judged within {2 * limits.CONFIG_TRIAL_S:g} s"


def may_start(starts: int) -> bool:
    """Return whether it may be tried once more after so many starts that proved nothing."""
    return starts < limits.CONFIG_TRIAL_STARTS
