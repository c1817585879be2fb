"""Lists are kept in memory here: their thousands of fsyncs would be most of the time."""

import tempfile
from pathlib import Path

import pytest

from tests.watchlist.lists import MEMORY


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)
