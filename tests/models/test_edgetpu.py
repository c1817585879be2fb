"""Compiling for the Edge TPU, with a stand-in for Google's compiler that takes its command line."""

import json
import shutil
import stat

import pytest
from typer.testing import CliRunner

pytest.importorskip("ai_edge_litert", reason="the build needs ai-edge-litert's schema")

from edge.errors import ModelError
from edge.inference.manifest import SHIPPED, load_manifest
from models.build import edgetpu

STAND_IN = """#!/bin/sh
# edgetpu_compiler --min_runtime_version 13 --out_dir DIR MODEL
[ "$1 $2 $3" = "--min_runtime_version 13 --out_dir" ] || exit 64
{body}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one model, and a record of its own."""
    document = json.loads((SHIPPED / "manifest.json").read_text("utf-8"))
    name = document["defaults"]["detector"]
    document["models"] = {name: document["models"][name]}
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(document), "utf-8")
    shutil.copy(SHIPPED / document["models"][name]["file"], folder)
    monkeypatch.setattr(edgetpu, "RECORD", tmp_path / "edgetpu.json")
    return folder


def install(tmp_path, monkeypatch, body):
    program = tmp_path / "bin" / edgetpu.COMPILER
    program.parent.mkdir()
    program.write_text(STAND_IN.format(body=body), "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


COMPILES = '{ cat "$5"; echo compiled; } >"$4/$(basename "$5" .tflite)_edgetpu.tflite"'


def test_what_was_compiled_is_beside_the_plain_file_and_recorded(folder, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, COMPILES)
    (model,) = load_manifest(folder).models().values()
    (name,) = edgetpu.compile_all(folder)
    plain, compiled = (folder / model.file).read_bytes(), (folder / name).read_bytes()
    assert compiled == plain + b"compiled\n"
    variant = edgetpu.Compiled.load().variant(plain)["edgetpu"]
    assert (variant["file"], variant["bytes"]) == (name, len(compiled))
    assert edgetpu.Compiled.load().variant(b"another file") == {}


@pytest.mark.parametrize("body", ["echo no such operator >&2; exit 1", "exit 0"])
def test_a_compiler_that_fails_or_writes_nothing_is_told_of(folder, tmp_path, monkeypatch, body):
    install(tmp_path, monkeypatch, body)
    with pytest.raises(ModelError, match="edgetpu_compiler failed"):
        edgetpu.compile_all(folder)
    assert not edgetpu.RECORD.exists()


def test_without_a_compiler_nothing_is_written_and_the_command_says_so(folder, monkeypatch):
    from cli.models import app

    monkeypatch.setenv("PATH", "/nowhere")
    result = CliRunner().invoke(app, ["compile-edgetpu", "--models", str(folder)])
    assert result.exit_code == 0
    assert "skipped" in result.output
    assert not edgetpu.RECORD.exists()
