"""`./lethe hil`: the tests of whole devices, on the rig that an environment describes."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli.environments import ROOT, environment
from edge.errors import BadInput
from firmware.build import Record, source_epoch
from firmware.host import BUNDLE_TOOLS, VIRTUAL_MACHINE_TOOLS, need
from firmware.process import Steps
from hil_tests import plants, record
from hil_tests.plants import PLANTS
from ota.keys import AUTHORITY_CERT

app = typer.Typer(add_completion=False)

TESTS = ("rig", "boot", "main_job", "lists", "configuration", "network", "surroundings",
         "peripherals", "soak", "update", "power")  # fmt: skip
"""In the order in which they cost least: each goes on with the device that the one before left."""
RIG_TOOLS = {"mosquitto": "mosquitto", "debugfs": "e2fsprogs", "sfdisk": "fdisk"}
"""Program and the Debian package that holds it."""
QEMU = ROOT / "hil_tests" / "env" / "qemu.yaml"


@app.command(
    epilog="Examples: ./lethe hil · ./lethe hil -k 'first_start or main_job' · "
    "./lethe hil --plant immortal-list · ./lethe hil --compare build/hil/20260501-101500/run.json",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def run(
    context: typer.Context,
    env: Annotated[
        Path,
        typer.Option(
            help="The rig: a labgrid environment.", show_default="hil_tests/env/qemu.yaml"
        ),
    ] = QEMU,
    select: Annotated[str, typer.Option("-k", help="Only tests whose name fits.")] = "",
    image: Annotated[
        Path | None, typer.Option(help="Folder of a built image; build/image-TARGET if not given.")
    ] = None,
    keys: Annotated[
        Path, typer.Option(help="Folder with the update keys that the image trusts.")
    ] = Path("build/ota-keys"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; build/hil/TIME if not given.")
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, help="Power cuts a test.")] = 3,
    soak_minutes: Annotated[float, typer.Option(min=0.5, help="Length of the soak.")] = 30.0,
    compare: Annotated[
        Path | None, typer.Option(exists=True, help="run.json of an earlier run.")
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Plant a fault that the rig is to find: {', '.join(PLANTS)}; repeatable."
        ),
    ] = None,
) -> None:
    """Test whole devices: boot, main job, lists, network, updates, power cuts, soak.

    Further arguments go to pytest. Exit code 0: all that the rig can do has passed. With --plant:
    every fault was found.
    """
    for name in plant or ():
        if name not in PLANTS:
            raise BadInput(f"{name}: no fault to plant; one of {', '.join(PLANTS)}")
    now = datetime.datetime.now(datetime.UTC)
    folder = (out or ROOT / "build" / "hil" / now.strftime("%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps(folder / "rig.log")
    built = (image or ROOT / "build" / f"image-{_target(env)}").resolve()
    if not (built / "image.json").exists():
        _build(_target(env), built, keys)
    tools = BUNDLE_TOOLS | RIG_TOOLS | (VIRTUAL_MACHINE_TOOLS if env.stem == "qemu" else {})
    need(steps, tools)
    python = environment("hil", ROOT / "requirements/hil.txt", "labgrid, and what it needs (35 MB)")
    faults = {name: PLANTS[name] for name in plant or ()}
    tested = built
    if faults:
        select = select or " or ".join(fault.found_by for fault in faults.values())
        with steps.step("planting"):
            tested = plants.planted_image(built, list(faults.values()), folder / "planted")
    code = _run_tests(python, env, tested, folder, context.args, {
        "-k": select, "--cuts": str(cuts), "--soak-minutes": str(soak_minutes),
        "--plants": ",".join(faults), "--update-keys": str(keys.resolve()),
    })  # fmt: skip
    shutil.rmtree(folder / "planted", ignore_errors=True)
    if not (folder / "run.json").exists():
        typer.echo("lethe: no test has ended: there is nothing to report", err=True)
        raise typer.Exit(code)
    command: list[str | Path] = [python, "-m", "hil_tests.report", folder, "--image", built]
    command += ["--compare", compare] if compare else []
    subprocess.run(command, cwd=ROOT, check=True)
    typer.echo(f"report: {folder / 'report.html'}")
    if faults:
        found = {name: _found(folder / "run.json", faults[name].found_by) for name in faults}
        for name, fault in faults.items():
            says = "found" if found[name] else "NOT FOUND"
            typer.echo(f"{name}, {fault.about}: {says} by {fault.found_by}")
        code = 0 if all(found.values()) else 1
    raise typer.Exit(code)


def image_of_this_checkout(folder: Path) -> str:
    """Return why a built image cannot stand for this checkout; empty if it can."""
    try:
        record = msgspec.json.decode((folder / "image.json").read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return "no image is built (sudo ./lethe image build qemu)"
    if record.epoch != source_epoch():
        return "the built image is of another commit"
    return ""


def _target(env: Path) -> str:
    """Return the target of `image build` that a rig is for: its name up to the first dash."""
    return env.stem.partition("-")[0]


def _build(target: str, folder: Path, keys: Path) -> None:
    """Build the image of a target, with update keys for it if there are none.

    Raises:
        typer.Exit: it could not be built; what was said says why.
    """
    lethe: list[str | Path] = [sys.executable, "-P", "-m", "cli.main"]
    commands: list[list[str | Path]] = [["image", "build", target, "--out", folder]]
    if not (keys / AUTHORITY_CERT).exists():
        commands.insert(0, ["ota", "keys"])
    for command in commands:
        done = subprocess.run([*lethe, *command, "--keys", keys], cwd=ROOT, check=False)
        if done.returncode:
            raise typer.Exit(done.returncode)


def _found(run: Path, test: str) -> bool:
    """Return whether a test has failed, once it had begun: preparing the device does not count."""
    return any(
        one.test == test and one.outcome == "failed" and one.reason.startswith("call:")
        for one in record.read(run).outcomes
    )


def _run_tests(
    python: Path, env: Path, image: Path, folder: Path, further: list[str], options: dict[str, str]
) -> int:  # fmt: skip
    """Run pytest; return its exit code. Whatever the run made for itself is gone afterwards."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    temporary = tempfile.mkdtemp(prefix="lethe-hil-")  # short: sockets' names have 108 characters
    files = [f"hil_tests/test_{name}.py" for name in TESTS]
    command: list[str | Path] = [
        python, "-m", "pytest", "-p", "no:cacheprovider", "--lg-env", env.resolve(), "-rA",
        "--report", folder / "run.json", "--junitxml", folder / "junit.xml", "--basetemp",
        work / "pytest", "-o", "filterwarnings=default", "--capture=tee-sys",
        *[word for name, value in options.items() if value for word in (name, value)],
        *further,
        *([] if any(word.startswith("hil_tests/") for word in further) else files),
    ]  # fmt: skip
    surroundings = os.environ | {
        "LG_IMAGE": str(image), "LG_RUN": str(work), "TMPDIR": temporary,
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    # In a session of its own: a terminal's Ctrl-C would reach it twice, once by way of us.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *command],
        cwd=ROOT, env=surroundings, start_new_session=True,
    )  # fmt: skip
    before = {
        number: signal.signal(number, lambda got, _: process.send_signal(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        log = work / "console.log"
        if log.exists():
            shutil.copy2(log, folder / "console.log")
        shutil.rmtree(work)
        shutil.rmtree(temporary)
