"""The shape of the house: who may import whom, and policy without input or output."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
POLICY_OF_LISTS = ("authorisation", "arming", "decide", "place", "timekeeping")
POLICY = [
    *sorted((ROOT / "edge" / "protocol").glob("*.py")),
    *(ROOT / "edge" / "watchlist" / f"{name}.py" for name in POLICY_OF_LISTS),
    *(ROOT / "edge" / "vision" / f"{name}.py" for name in ("track", "shots", "quality")),
    *(ROOT / "edge" / "provision" / f"{name}.py" for name in ("document", "network", "report")),
    *(ROOT / "edge" / "inference" / f"{name}.py" for name in ("choice", "recovery")),
]
IMPURE = {"os", "io", "pathlib", "socket", "sqlite3", "subprocess", "threading", "time", "paho"}


def imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("edge", ("fleet", "cli", "demo", "models", "evaluation", "tests")),
        (
            "fleet",
            (
                "cli",
                "demo",
                "evaluation",
                "edge.app",
                "edge.pipeline",
                "edge.watchlist",
                "edge.camera",
            ),
        ),
        ("demo", ("cli",)),
        ("firmware", ("cli", "fleet", "demo", "edge.app", "edge.pipeline")),
        ("ota", ("cli", "fleet", "demo", "edge.app", "edge.pipeline")),
        ("evaluation", ("cli", "fleet", "demo")),
        ("edge/protocol", ("edge.watchlist", "edge.link", "edge.files", "edge.config")),
        ("edge/vision", ("edge.watchlist", "edge.link", "edge.events", "edge.camera")),
    ],
)
def test_a_floor_never_imports_the_floors_above(folder, never):
    for path in within(folder):
        for name in imports(path):
            assert not any(name == n or name.startswith(f"{n}.") for n in never), (path, name)


@pytest.mark.parametrize("path", POLICY, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_policy_has_no_clock_no_files_no_threads(path):
    assert not {name.partition(".")[0] for name in imports(path)} & IMPURE


def test_no_module_is_longer_than_five_hundred_lines():
    for folder in (
        "edge",
        "fleet",
        "cli",
        "demo",
        "models",
        "evaluation",
        "benchmarks",
        "firmware",
        "ota",
        "hil_tests",
    ):
        for path in within(folder):
            assert len(path.read_text("utf-8").splitlines()) <= 500, path


NOT_AT_THE_START = (
    *("tuf", "securesystemslib", "urllib3", "joserfc", "cryptography.x509"),
    *("http.server", "configparser", "hnswlib", "picamera2"),
    *("edge.trust.view", "edge.protocol.jws", "edge.link.enrolment", "edge.credentials"),
    *("edge.update.updater", "edge.update.download", "edge.command.preview_server"),
    *("fleet", "models", "demo", "evaluation"),
)
"""What no frame needs to be judged by a list that is held. What needs it, imports it."""


def test_what_a_first_frame_does_not_need_is_not_imported_before_it():
    """Nor does anything make data classes, which cost a hundred times what msgspec's structs do."""
    code = (
        "import sys, dataclasses\n"
        "made, real = [], dataclasses._process_class\n"
        "def note(cls, *rest):\n"
        "    made.append(f'{cls.__module__}.{cls.__qualname__}')\n"
        "    return real(cls, *rest)\n"
        "dataclasses._process_class = note\n"
        "import cli.run\n"
        "print(*sys.modules)\n"
        "print(*made)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    imported, made = (line.split() for line in done.stdout.splitlines())
    early = [
        name for name in imported
        if any(name == n or name.startswith(f"{n}.") for n in NOT_AT_THE_START)
    ]  # fmt: skip
    assert "edge.pipeline" in imported
    assert not early
    # The wire to an accelerator's process is spoken by older Pythons too.
    ours = {name for name in made if name.startswith(("edge.", "cli."))}
    assert all(name.startswith("edge.inference.wire.") for name in ours)
