"""Root writes into a folder of somebody else's with no more rights than they have.

Whoever owns a folder can put links into it, and rename what is in it, at any moment: between a look
at a name and what is done with it. So nothing is looked at: what root does there is done as them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edge.errors import StorageUnavailable


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Act as the owner of a folder, of their group alone, where this process is root; else as ever.

    For a process of one thread: the kernel is asked for all of them.

    Args:
        folder: whose owner; it lies where only root writes.

    Raises:
        StorageUnavailable: there is no such folder, or root may not change who it is.
    """
    try:
        owner = folder.stat()
    except OSError as error:
        raise StorageUnavailable(f"{folder}: {error.strerror}") from error
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups = os.getgroups()
    try:
        _be(owner.st_uid, owner.st_gid, [owner.st_gid])
        yield
    finally:
        _be(0, 0, groups)


def _be(user: int, group: int, groups: list[int]) -> None:
    try:
        if user == 0:
            os.seteuid(user)  # first: only root may do the rest
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(user)
    except OSError as error:
        raise StorageUnavailable(f"root may not act as user {user}: {error.strerror}") from error
