"""What an accelerator's process imports: it may run under a Python older than ours, with less."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 9)
"""Python of the last tflite-runtime that Coral publishes."""


def runtime_imports(path):
    """What a module imports when it runs; not what it imports for the type checker."""
    tree = ast.parse(path.read_text("utf-8"), feature_version=OLDEST)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_path(name):
    base = ROOT / name.replace(".", "/")
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def reached(*names):
    """Every module of ours that these import, themselves included."""
    waiting, found = list(names), {}
    while waiting:
        name = waiting.pop()
        path = module_path(name)
        if path is None or name in found:
            continue
        found[name] = path
        parts = name.split(".")
        waiting += [".".join(parts[:i]) for i in range(1, len(parts))]
        waiting += [n for n in runtime_imports(path) if n.startswith("edge")]
    return found


MODULES = reached("edge.inference.worker", "edge.inference.edgetpu", "edge.inference.tensorrt")


def test_all_of_them_are_looked_at():
    assert {"edge", "edge.limits", "edge.inference.wire", "edge.inference.litert"} < set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_it_needs_nothing_but_numpy_and_an_old_python(name):
    text = MODULES[name].read_text("utf-8")
    # `X | None` in an annotation that is evaluated is an error before Python 3.10.
    assert "->" not in text or "|" not in text or "from __future__ import annotations" in text
    packages = {n.partition(".")[0] for n in runtime_imports(MODULES[name])}
    assert packages <= set(sys.stdlib_module_names) | {"edge", "numpy"}
