"""Signing anew what would expire though nothing changes: what the fleet's single keys have signed.

Models, announcements and configurations are signed for a year (`limits.ROLE_LIFETIME_S`); devices
take nothing new from what is over. `lethe fleet refresh` runs from a timer, so it looks after them.
Lists are not renewed by anybody but those who sign them, and they are to end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edge import limits
from edge.errors import ConfigError
from fleet.repository import Repository
from fleet.setup import VENDOR_ROLES


def due(repository: Repository, role: str) -> list[str]:
    """Return the role, and its bins, of which half of the time is over."""
    half = datetime.now(UTC) + timedelta(seconds=limits.ROLE_LIFETIME_S / 2)
    bins = repository.bins(role)
    return [
        each
        for each in (role, *(bins.get_roles() if bins else ()))
        if repository.roles[each].signed.expires < half
    ]


def renew(repository: Repository) -> dict[str, str]:
    """Sign anew what models, firmware and config have signed, where it is due; the caller seals.

    Returns:
        Role to why it could not be: its key is not here. What it has signed stays until it expires.
    """
    left: dict[str, str] = {}
    for role in VENDOR_ROLES:
        for each in due(repository, role):
            try:
                with repository.edit_targets(each):
                    pass
            except ConfigError as error:
                left[role] = str(error)
                break
    return left
