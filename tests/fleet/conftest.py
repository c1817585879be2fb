"""What the tests of the fleet share."""

import pytest

from edge import files


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Power cuts are another test's: flushing a fleet's two dozen files takes half a second."""
    monkeypatch.setattr(files.os, "fsync", lambda _handle: None)
