"""Fuzz one target, or all one after the other, with Atheris (coverage-guided).

    python -m pip install --require-hashes -r requirements/fuzz.txt
    python -m fuzz event --inputs 200000
    python -m fuzz --inputs 200000

Ends with a report per target. A crash, a hang of more than ten seconds, or more than 512 MiB of
memory end it with what was fed; libFuzzer writes that to a file in the present folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


def fuzz(name: str, corpus: Path, inputs: int) -> None:
    """Run one target; never returns."""
    import atheris  # optional: requirements/fuzz.in

    with atheris.instrument_imports(
        include=["edge.protocol", "edge.provision", "edge.settings", "fleet"],
        enable_loader_override=False,
    ):
        from fuzz.targets import TARGETS  # here: what was imported before is not instrumented

    target, seeds = TARGETS[name]
    for i, seed in enumerate(seeds):
        (corpus / f"seed-{i}").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], f"-runs={inputs}", "-timeout=10", "-rss_limit_mb=512", "-max_len=4096",
         "-print_final_stats=1", str(corpus)],
        target,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="?")
    parser.add_argument("--inputs", type=int, default=100_000)
    options = parser.parse_args()
    if options.target:
        with tempfile.TemporaryDirectory() as corpus:
            fuzz(options.target, Path(corpus), options.inputs)
    from fuzz.targets import TARGETS

    for name in TARGETS:
        command = [sys.executable, "-m", "fuzz", name, "--inputs", str(options.inputs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if line.startswith("stat::")]
        sys.stdout.write(f"{name}: exit code {done.returncode}; {'; '.join(said[:2])}\n")
        if done.returncode:
            sys.stdout.write(done.stderr[-3000:])
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
