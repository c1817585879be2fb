"""docs/threat-model.md: complete by its own rule, and no test is named that is not there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
BOUNDARIES = re.findall(r"^## \d+\. (.+?)\n(.+?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"([a-z0-9_/]+\.py)::(\w+)")


def rows(table: str) -> list[list[str]]:
    """Return the cells of each row below a table's head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("name", "section"), BOUNDARIES, ids=[name for name, _ in BOUNDARIES])
def test_no_boundary_leaves_out_a_letter_and_each_threat_has_its_test(name, section):
    threats = rows(section)
    assert {row[0] for row in threats} == set("STRIDE")
    assert [row[0] for row in threats] == sorted((row[0] for row in threats), key="STRIDE".index)
    for _, threat, stands_against_it, tests in threats:
        assert stands_against_it, threat
        assert NAMED.search(tests), threat


def test_every_misuse_has_its_test():
    misuse = PAGE.split("## Misuse", 1)[1]
    assert all(NAMED.search(row[2]) for row in rows(misuse))


def test_the_tests_that_are_named_exist():
    known: dict[str, set[str]] = {}
    for file, test in NAMED.findall(PAGE):
        if file not in known:
            tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
            known[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert test in known[file], f"{file}::{test}"
