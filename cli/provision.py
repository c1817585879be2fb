"""`./lethe provision`: a device's certificate for its broker, on the device."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from edge import config as configuration
from edge import limits
from edge.credentials import Credentials
from edge.ending import when_asked_to_end
from edge.errors import BadInput, ConfigError
from edge.files import private_folder, read_small, write_atomically
from edge.health.certificate import check_certificate
from edge.protocol import certificate
from edge.protocol.enrolment import read_request
from edge.provision import boot as booting
from edge.provision import document, report
from edge.provision import enrol as enrolling

app = typer.Typer(add_completion=False, no_args_is_help=True)

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration, see docs/configuration.md.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.callback()
def provision() -> None:
    """Ask for this device's certificate for the broker, install it, look after it."""


def _open(file: Path) -> tuple[configuration.Config, Credentials]:
    config = configuration.load(file)
    state = private_folder(Path(config.device.state_dir))
    return config, Credentials(state, config.device.id)


@app.command(
    epilog="""\b
Example:
  ./lethe provision request --config lethe.toml --out request.json
"""
)
def request(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="File for the request.")] = Path("request.json"),
    anew: Annotated[
        bool, typer.Option("--anew", help="With a new key, also where one was asked for.")
    ] = False,
) -> None:
    """Make this device's keys if there are none, and ask for a certificate: carry it by hand."""
    _, credentials = _open(config)
    if anew:
        credentials.drop()
    content = credentials.ask()
    write_atomically(out, content, mode=0o644)
    asked = read_request(content)
    typer.echo(
        f"{out}: {asked.name} asks for a certificate\nfingerprint {asked.fingerprint}\n"
        f"On the operator's machine: ./lethe authority sign AUTHORITY {out.name} --fleet FLEET"
    )


@app.command(
    epilog="""\b
Example:
  ./lethe provision install answer.json --config lethe.toml
"""
)
def install(
    answer: Annotated[Path, typer.Argument(help="From `./lethe authority sign`.")],
    config: ConfigFile,
    dry_run: DryRun = False,
) -> None:
    """Take the certificate that was signed, if it is for this device's key and from its authority.

    It replaces the one in use; a device that runs takes it at its next start.
    """
    settings, credentials = _open(config)
    if settings.broker.ca_file is None:
        raise ConfigError(f"{config}: broker.ca_file is not set: whose certificate would be right?")
    try:
        content = read_small(answer, limits.MAX_ENROLMENT_BYTES)
    except OSError as error:
        raise ConfigError(f"{answer}: cannot be read: {error.strerror or error}") from error
    found = credentials.receive(content, Path(settings.broker.ca_file), time.time())
    if found is None:
        raise BadInput(f"{answer}: answers no request that waits here: `provision request` first")
    until = certificate.day(found.not_valid_after_utc.timestamp())
    if dry_run:
        typer.echo(f"would be installed: {credentials.client}, until {until}")
        return
    credentials.take_over()
    typer.echo(f"{credentials.client}: certificate of {settings.device.id} until {until}")
    if settings.broker.cert_file != str(credentials.client):
        typer.echo(f'In {config}, [broker]: cert_file = "{credentials.client}"')


@app.command(
    epilog="""\b
Example:
  ./lethe provision enrol --config lethe.toml
"""
)
def enrol(
    config: ConfigFile,
    timeout: Annotated[
        float, typer.Option(help="End after so many seconds without an answer; 0: never.", min=0)
    ] = 0.0,
) -> None:
    """Ask at the broker, with the one-time token that this device was given, and wait."""
    settings, credentials = _open(config)
    stop = threading.Event()
    when_asked_to_end(stop.set)
    done = enrolling.enrol(
        settings, credentials, now=time.time, say=typer.echo, stop=stop, wait_s=timeout or None
    )
    if not done:
        typer.echo("no answer yet; the request waits at the broker", err=True)
        raise typer.Exit(1)


@app.command(
    epilog="""\b
Example:
  ./lethe provision boot --partition /boot/lethe
"""
)
def boot(
    partition: Annotated[Path, typer.Option(help="The boot partition, mounted.")],
    config_dir: Annotated[Path, typer.Option(help="Folder of the configuration.")] = Path(
        "/etc/lethe"
    ),
    state: Annotated[Path, typer.Option(help="The device's state.")] = Path(document.STATE_DIR),
    root: Annotated[Path, typer.Option(help="Where /run and /var are.")] = Path("/"),
) -> None:
    """Take lethe.toml from the boot partition, and write a report beside it (at each boot)."""
    made = booting.boot(
        booting.Places(boot=partition, config=config_dir, state=state, root=root), now=time.time
    )
    typer.echo(report.text(made).replace("\r\n", "\n"))


@app.command(
    epilog="""\b
Example:
  ./lethe provision status --config lethe.toml
"""
)
def status(config: ConfigFile) -> None:
    """Say what this device shows the broker, until when, and what it waits for."""
    settings, credentials = _open(config)
    finding = check_certificate(settings, time.time())
    typer.echo(finding.says)
    if finding.todo:
        typer.echo(f"→ {finding.todo}")
    if (waiting := credentials.asked()) is not None:
        typer.echo(f"asked for another; fingerprint {read_request(waiting).fingerprint}")
    if finding.state == "problem":
        raise typer.Exit(1)
