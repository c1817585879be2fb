"""docs/configuration.md says what the types say."""

from pathlib import Path

from edge.settings.fields import describe
from fleet import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_tables_are_those_of_the_types():
    page = PAGE.read_text("utf-8")
    assert reference.renewed(page) == page, "run: python -m fleet.reference docs/configuration.md"


def test_every_field_is_explained():
    assert [path for path, field in describe().items() if not field.meaning] == []
