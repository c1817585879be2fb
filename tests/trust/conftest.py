"""What the tests of trust share: no patience, and no waiting for the disk."""

import os

import pytest

from edge import limits


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "TRUST_RETRY_FIRST_S", 0.05)


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Power cuts are another test's: flushing a fleet's two dozen files takes half a second."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
