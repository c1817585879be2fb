"""The faults that the rig must find still fit the code that they are planted in."""

from pathlib import Path

import pytest

from hil_tests.plants import PLANTS
from hil_tests.versions import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def source(plant):
    """The file of the project that lies at the plant's place in an image."""
    inside = plant.file.removeprefix("/usr/lib/lethe/")
    folder, _, name = inside.partition("/")
    return ROOT / "ota" / "device" / name if folder == "ota" else ROOT / inside


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_it_fits(name):
    plant = PLANTS[name]
    text = source(plant).read_text("utf-8")
    assert text.count(plant.old) == 1
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "hil_tests").glob("test_*.py"))
    assert f"def {plant.found_by}(" in tests


@pytest.mark.parametrize("name", sorted(PATIENCE))
def test_what_a_version_that_hangs_may_take_is_what_the_unit_says(name):
    (unit,) = (ROOT / "firmware" / "common").glob(f"*/{name}.service")
    assert f"TimeoutStartSec={PATIENCE[name]}\n" in unit.read_text("utf-8")
