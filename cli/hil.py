"""`./lethe hil`: the tests of whole devices, on the rig that an environment describes."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Annotated

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

GROUPS = (
    ("rig", "boot", "provisioning", "main_job", "commands", "lists", "configuration", "network",
     "soak", "surroundings", "peripherals"),
    ("update", "power"),
)  # fmt: skip
"""Files of tests, in the order in which they cost least: each goes on with the device that the one
before left, which has run long enough after the soak to be certain of the time. With two devices
each has a group."""
RIG_TOOLS = {"mosquitto": "mosquitto", "debugfs": "e2fsprogs", "sfdisk": "fdisk"}
"""Program and the Debian package that holds it."""
NOTHING_CHOSEN = 5
"""pytest's exit code where no test was chosen."""
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
    cuts: Annotated[
        int,
        typer.Option(min=1, help="Power cuts in an installation; half as many in the start after."),
    ] = 3,
    soak_minutes: Annotated[float, typer.Option(min=0.5, help="Length of the soak.")] = 30.0,
    devices: Annotated[
        int, typer.Option(min=1, max=len(GROUPS), help="Emulated devices tested at once.")
    ] = 1,
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
    emulated = _target(env) == "qemu"
    if devices > 1 and not emulated:
        raise BadInput(f"--devices {devices}: {env.stem} has one board; only QEMU can be several")
    files = [word for word in context.args if word.startswith("hil_tests/")]
    if devices > 1 and files:
        raise BadInput(f"--devices {devices} shares all tests out; choose with -k, not {files[0]}")
    names = GROUPS if devices > 1 else (sum(GROUPS, ()),)
    groups = [[f"hil_tests/test_{name}.py" for name in group] for group in names]
    now = datetime.datetime.now(datetime.UTC)
    folder = (out or ROOT / "build" / "hil" / now.strftime("%Y%m%d-%H%M%S")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps(folder / "rig.log")
    built = (image or ROOT / "build" / f"image-{_target(env)}").resolve()
    if not (built / "image.json").exists():
        _build(_target(env), built, keys)
    tools = BUNDLE_TOOLS | RIG_TOOLS | (VIRTUAL_MACHINE_TOOLS if emulated else {})
    need(steps, tools)
    python = environment("hil", ROOT / "requirements/hil.txt", "labgrid, and what it needs (35 MB)")
    faults = {name: PLANTS[name] for name in plant or ()}
    tested = built
    if faults:
        select = select or " or ".join(fault.found_by for fault in faults.values())
        with steps.step("planting"):
            tested = plants.planted_image(built, list(faults.values()), folder / "planted")
    code = _run_tests(python, env, tested, folder, [[]] if files else groups, context.args, {
        "-k": select, "--cuts": str(cuts), "--soak-minutes": str(soak_minutes),
        "--plants": ",".join(faults), "--update-keys": str(keys.resolve()),
    })  # fmt: skip
    shutil.rmtree(folder / "planted", ignore_errors=True)
    if not (folder / record.RUN).exists():
        typer.echo("lethe: no test has ended: there is nothing to report", err=True)
        raise typer.Exit(code)
    command: list[str | Path] = [python, "-m", "hil_tests.report", folder, "--image", built]
    command += ["--compare", compare] if compare else []
    subprocess.run(command, cwd=ROOT, check=True)
    typer.echo(f"report: {folder / 'report.html'}")
    if faults:
        found = {name: _found(folder / record.RUN, faults[name].found_by) for name in faults}
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
    python: Path,
    env: Path,
    image: Path,
    folder: Path,
    groups: list[list[str]],
    further: list[str],
    options: dict[str, str],
) -> int:
    """Run pytest, a process for each group; return the exit code of all.

    Whatever the run made for itself is gone afterwards.
    """
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix="lethe-hil-"))  # short: sockets' names: 108 characters
    processes: list[subprocess.Popen[str]] = []

    def tell(number: int, _frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    before = {each: signal.signal(each, tell) for each in (signal.SIGINT, signal.SIGTERM)}
    parts = [work / str(number) for number in range(1, len(groups) + 1)]
    try:
        for part, files in zip(parts, groups, strict=True):
            part.mkdir(parents=True)
            (temporary / part.name).mkdir()
            command: list[str | Path] = [
                python, "-m", "pytest", "-p", "no:cacheprovider", "--lg-env", env.resolve(), "-rA",
                "--report", part / record.RUN, "--junitxml", part / record.JUNIT, "--basetemp",
                part / "pytest", "-o", "filterwarnings=default", "--capture=tee-sys",
                *[word for name, value in options.items() if value for word in (name, value)],
                *further, *files,
            ]  # fmt: skip
            surroundings = os.environ | {
                "LG_IMAGE": str(image), "LG_RUN": str(part), "PYTHONPATH": str(ROOT),
                "TMPDIR": str(temporary / part.name),
            }  # fmt: skip
            # In a session of its own: a terminal's Ctrl-C would reach it twice, once by way of us.
            processes.append(subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command], cwd=ROOT, env=surroundings,
                start_new_session=True, text=True, stdout=subprocess.PIPE if parts[1:] else None,
            ))  # fmt: skip
        told = [
            threading.Thread(target=_say, args=(part.name, process.stdout))
            for part, process in zip(parts, processes, strict=True)
            if process.stdout
        ]
        for thread in told:
            thread.start()
        codes = [process.wait() for process in processes]
        for thread in told:
            thread.join()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        record.collect(parts, folder)
        shutil.rmtree(work)
        shutil.rmtree(temporary)
    ran = [code for code in codes if code != NOTHING_CHOSEN] or codes
    return max(ran, key=abs)


def _say(name: str, output: IO[str]) -> None:
    """Print what a device's tests say, each line with the device's number."""
    with output:
        for line in output:
            typer.echo(f"{name}| {line.rstrip()}")
