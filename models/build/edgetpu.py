"""Compiles the int8 files for the Edge TPU, and remembers what came out.

`edgetpu_compiler` is a program of Google's for x86-64 Debian
(https://coral.ai/docs/edgetpu/compiler/); without it nothing is compiled. What it makes of a file
is written down beside the numbers, so that a build without it writes the same manifest. *Not yet
run:* no compiler was at hand; the command line is the documented one, tested with a stand-in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import ModelError
from edge.inference.manifest import load_manifest

RECORD = Path(__file__).resolve().parent / "numbers" / "edgetpu.json"
COMPILER = "edgetpu_compiler"
MIN_RUNTIME = "13"
"""The oldest Edge TPU runtime that the files shall run on."""

TIMEOUT_S = 600


@dataclass(frozen=True)
class Compiled:
    """What was made of which file.

    Attributes:
        files: by the SHA-256 of the plain file, the manifest's entry of the compiled one.
    """

    files: dict[str, dict[str, Any]]

    @classmethod
    def load(cls) -> Compiled:
        """Read the record; empty where nothing was compiled yet."""
        return cls(json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {})

    def variant(self, plain: bytes) -> dict[str, dict[str, Any]]:
        """Return the manifest's "edgetpu" variant of a file, if there is one."""
        found = self.files.get(hashlib.sha256(plain).hexdigest())
        return {"edgetpu": found} if found else {}


def compile_all(folder: Path) -> list[str]:
    """Compile every model of a folder, beside the plain files, and write the record.

    Returns:
        The names of the files written; none where the compiler is not installed.

    Raises:
        ModelError: the compiler failed, or wrote nothing.
    """
    program = shutil.which(COMPILER)
    if program is None:
        return []
    manifest = load_manifest(folder)
    files: dict[str, dict[str, Any]] = {}
    for model in manifest.models().values():
        content = _compiled(program, manifest.read(model), model.file)
        name = f"{Path(model.file).stem}_edgetpu.tflite"
        (folder / name).write_bytes(content)
        files[model.sha256] = {
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
    RECORD.write_text(json.dumps(files, indent=1) + "\n", "utf-8")
    return [str(entry["file"]) for entry in files.values()]


def _compiled(program: str, content: bytes, file: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / file
        source.write_bytes(content)
        command = [program, "--min_runtime_version", MIN_RUNTIME, "--out_dir", scratch, str(source)]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"{file}: {COMPILER} did not end within {TIMEOUT_S} s") from error
        made = source.with_name(f"{source.stem}_edgetpu.tflite")
        if result.returncode or not made.is_file():
            raise ModelError(f"{file}: {COMPILER} failed: {result.stdout}{result.stderr}")
        return made.read_bytes()
