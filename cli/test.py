"""`./lethe test`: lint, types and tests, with what they need installed first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from cli import environments, hil
from cli.environments import ROOT


class DebianPackage(NamedTuple):
    """A Debian package that some tests need: they skip where `program` is not found."""

    name: str
    program: str


TEST_PACKAGES = (
    DebianPackage("dbus", "dbus-daemon"),  # a bus for RAUC's service
    DebianPackage("dosfstools", "mkfs.vfat"),  # makes a boot partition
    DebianPackage("fdisk", "sfdisk"),  # makes and reads partition tables
    DebianPackage("mosquitto", "mosquitto"),  # the MQTT 5 broker that tests start
    DebianPackage("mtools", "mcopy"),  # writes into a boot partition without mounting it
    DebianPackage("rauc", "rauc"),  # makes update bundles, and refuses bad ones
    DebianPackage("shellcheck", "shellcheck"),  # reads ./lethe and the other shell scripts
    DebianPackage("squashfs-tools", "mksquashfs"),  # what bundles are made with
    DebianPackage("strace", "strace"),  # watches from outside what a device opens
    DebianPackage("swtpm", "swtpm"),  # a TPM 2.0 in software
    DebianPackage("tpm2-tools", "tpm2"),  # brings the libraries by which systemd-creds reaches it
)

CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
}

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_tests(
    context: typer.Context,
    slow: Annotated[bool, typer.Option("--slow", help="Run the slow tests too.")] = False,
) -> None:
    """Run ruff, mypy and pytest; further arguments go to pytest. Exit code 0: all of it passed."""
    environments.add("dev", "the test tools (about 70 MB)")
    _install_packages()
    failed = [name for name, command in CHECKS.items() if _module(name, command)]
    selection = [] if slow else ["-m", "not slow"]
    if _module("pytest", ["pytest", *selection, *context.args]):
        failed.append("pytest")
    if not context.args and not _whole_device():
        failed.append("hil")
    if failed:
        typer.echo(f"lethe test: failed: {', '.join(failed)} (see above)", err=True)
        raise typer.Exit(1)


def _module(name: str, command: list[str]) -> int:
    """Run a Python module in the project's root and return its exit code."""
    typer.secho(f"── {name}", bold=True, err=True)
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode


def _whole_device() -> bool:
    """Test a whole device: boot, main job, one power cut; only where an image of this commit is."""
    image = Path(os.environ.get("LETHE_IMAGE", ROOT / "build" / "image-qemu"))
    if why := hil.image_of_this_checkout(image):
        typer.echo(f"lethe: the tests of a whole device are not run: {why}", err=True)
        return True
    typer.secho("── hil (boot, main job, one power cut)", bold=True, err=True)
    command = ["cli.main", "hil", "--image", str(image), "-m", "small"]
    return _module("hil", command) == 0


def _install_packages() -> None:
    """Install missing Debian packages as root; say what will be skipped otherwise."""
    missing = [p.name for p in TEST_PACKAGES if shutil.which(p.program) is None]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        typer.echo(
            f"lethe: tests that need {', '.join(missing)} will be skipped; to run them: "
            f"sudo {' '.join(command)}",
            err=True,
        )
        return
    typer.echo(f"lethe: installing test packages: {' '.join(command)}", err=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "-qq", "update"], command):
        if subprocess.run(step, env=environment, check=False, stdout=sys.stderr).returncode:
            typer.echo(f"lethe: `{' '.join(step)}` failed: those tests will be skipped", err=True)
            return
