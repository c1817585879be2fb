"""The tables of docs/configuration.md, made from the types.

python -m fleet.reference docs/configuration.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edge.settings.fields import Field, describe, plain, shown
from edge.settings.layers import RULES

BEGIN, END = "<!-- fields: made by python -m fleet.reference -->", "<!-- end of fields -->"
_PATTERN = re.compile(r"matches (\S+)")


def tables() -> str:
    """Return a table a section, in Markdown."""
    sections: dict[str, list[Field]] = {}
    for path, field in describe().items():
        sections.setdefault(path.rpartition(".")[0], []).append(field)
    parts = []
    for section, fields in sections.items():
        heading = f"## [{section}]" if section else "## At the top"
        rows = [_row(field) for field in fields]
        head = ["| field | default | may hold | by the fleet | meaning |", "|---|---|---|---|---|"]
        parts.append("\n".join([heading, *head, *rows]))
    return "\n\n".join(parts)


def renewed(page: str) -> str:
    """Return a page with its tables as they are now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _row(field: Field) -> str:
    cells = (
        f"`{field.path.rpartition('.')[2]}`",
        _default(field),
        _PATTERN.sub(r"matches `\1`", field.allowed),
        _by_the_fleet(field.path),
        field.meaning.replace("<", "&lt;"),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(field: Field) -> str:
    if field.required:
        return "–"
    if field.default is None:
        return "none"
    if isinstance(field.default, frozenset) and len(plain(field.default)) > 1:
        return "all"
    return f"`{shown(field.default)}`"


def _by_the_fleet(path: str) -> str:
    rule = RULES.get(path)
    if rule is None:
        return "no"
    return ("stricter only, " if rule.stricter else "") + (
        "at once" if rule.when == "at once" else "with a restart"
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renewed(target.read_text("utf-8")), "utf-8")
