"""Limits and defaults of updates."""

AUTHORITY_YEARS = 20
"""Devices in the field trust the authority for their whole life."""
SIGNER_DAYS = 730
"""A signer's key that leaks is of use for so long at most."""
MAX_PEM_BYTES = 64 * 1024
