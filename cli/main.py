"""The entry of the command line. A command's module is imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge.errors import ConfigError, LetheError

COMMANDS = {
    "demo": "Show it at work on a made-up scene: no camera, broker or key needed.",
    "run": "Run the device: camera, watchlist, events.",
    "identity": "Make this device's keys, for its fleet to register.",
    "config": "What devices are to do: show, set, compare.",
    "provision": "Get this device its certificate for the broker, and look after it.",
    "authority": "Who may connect to the broker: certificates of devices (for its operator).",
    "fleet": "Keys, devices, lists of a fleet, and their way to the broker (for its operator).",
    "watchlist": "Enrol, sign, publish and revoke (for the owner of a list).",
    "command": "Stop, resume, test, restart or find a device (for whoever may command it).",
    "events": "Follow and verify what devices report.",
    "audit": "Read and check what a device recorded.",
    "evaluate": "Measure the models, on your own pictures or on research data.",
    "bench": "Measure what it costs, beside peers, in one run.",
    "models": "Rebuild the models from the published weights, and check them.",
    "doctor": "Check this machine, and the configuration if one is given.",
    "selftest": "Do the main job on built-in pictures: does this version work here?",
    "image": "Build the flashable image of a target.",
    "deb": "Build the Debian package, for those who keep their own system.",
    "ota": "Sign updates, announce them to a fleet, follow and stop them.",
    "hil": "Test whole devices on a rig: QEMU here, or boards.",
    "test": "Run every check and test of the project.",
}
"""Command and its line in the help. Each is the `app` of the module `cli.<command>`."""
HERE = Path(__file__).resolve().parent


class _Commands(TyperGroup):
    """Puts the real command in the place of its line in the help, and words our errors."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 (typer's own types are private)
        name, _, rest = super().resolve_command(ctx, args)
        gc.disable()  # what modules are made of is no garbage, and looking through it takes long
        command = typer.main.get_command(importlib.import_module(f"cli.{name}").app)
        gc.freeze()
        gc.enable()
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except LetheError as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"lethe: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


app = typer.Typer(
    cls=_Commands,
    name="lethe",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        project = HERE.parent / "pyproject.toml"
        typer.echo(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Recognise only the people it was lawfully told to look for, and forget everyone else."""


for _name, _help in COMMANDS.items():
    if (HERE / f"{_name}.py").exists():  # a device has only those that are of use there
        app.command(_name, help=_help)(lambda: None)

if __name__ == "__main__":
    app(prog_name="lethe")
