"""`./lethe authority`: who may connect to the broker, for the fleet's operator."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import broker_options as options
from edge import limits
from edge.config import BrokerConfig
from edge.ending import when_asked_to_end
from edge.errors import BadInput, ConfigError, LetheError
from edge.files import read_small, write_atomically
from edge.protocol.enrolment import Asked, read_request
from fleet import approval, enrolments, invitation
from fleet import authority as authorities
from fleet.authority import CA, CRL, PASSWORDS, Authority
from fleet.broker import session
from fleet.folder import locked
from fleet.keys import read_passphrase

app = typer.Typer(add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The authority's folder.", show_default=False)]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the authority's key.")
]
FleetFolder = Annotated[
    Path | None, typer.Option("--fleet", help="The fleet's folder: registers the device there too.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback()
def authority() -> None:
    """Certificates for the broker: who may connect, until when, and who no longer."""


def _opener(folder: Path, passphrase_file: Path | None) -> Callable[[], Authority]:
    passphrase = read_passphrase(passphrase_file)
    return lambda: Authority(folder, passphrase, time.time)


def _registering(fleet: Path | None, passphrase_file: Path | None) -> Callable[[Asked, bool], None]:
    if fleet is None:
        return lambda _asked, _renewal: None
    folder, passphrase = fleet, read_passphrase(passphrase_file)
    return lambda asked, renewal: enrolments.register(folder, passphrase, asked, renewal)


@app.command(
    epilog="""\b
Example:
  ./lethe authority init my-authority --name "City of Example, cameras"
"""
)
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="What it is called in certificates.")] = "Lethe",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make an authority: a key that signs certificates for the broker, and nothing else."""
    authorities.create(folder, name, read_passphrase(passphrase_file), time.time)
    typer.echo(f"{folder / CA}: brokers and devices are given it; {folder}/ca.key stays here")


@app.command(
    epilog="""\b
Example:
  ./lethe authority server my-authority broker.example 192.0.2.7 --out broker
"""
)
def server(
    folder: Folder,
    hosts: Annotated[list[str], typer.Argument(help="Names and addresses of the broker.")],
    out: Annotated[Path, typer.Option(help="Folder for broker.pem and broker.key.")] = Path(),
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make the broker's own certificate, for those who have no other authority for it."""
    with locked(folder):
        chain, key = _opener(folder, passphrase_file)().issue_server(hosts)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "broker.key", key)
    write_atomically(out / "broker.pem", chain, mode=0o644)
    typer.echo(f"{out / 'broker.pem'}, {out / 'broker.key'}: to the broker, with {folder / CA}")


@app.command(
    epilog="""\b
Example:
  ./lethe authority role my-authority reader --out reader.pem
  ./lethe events watch --broker broker.example:8883 --ca-file ca.pem --cert-file reader.pem
"""
)
def role(
    folder: Folder,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(authorities.ROLES)}.")],
    out: Annotated[Path, typer.Option(help="File for certificate and key, mode 0600.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a certificate for a machine of yours: what it may do, the broker's `acl` says."""
    if out.exists():
        raise ConfigError(f"{out}: there already; nothing was changed")
    with locked(folder):
        write_atomically(out, _opener(folder, passphrase_file)().issue_role(name))
    typer.echo(f"{out}: {name}, for {limits.CERTIFICATE_LIFETIME_S // 86400} days")


@app.command(
    epilog="""\b
Example:
  ./lethe authority invite my-authority gate-3 --template site.toml --fleet my-fleet \\
      --out lethe.toml
"""
)
def invite(
    folder: Folder,
    device: Annotated[str, typer.Argument(help="Id of the device that is to come.")],
    template: Annotated[
        Path, typer.Option(help="TOML: what else the device is told (docs/provisioning.md).")
    ],
    fleet: Annotated[Path, typer.Option(help="The fleet's folder, for its root of trust.")],
    out: Annotated[Path, typer.Option(help="The one file for the device, mode 0600.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Expect a device: write its lethe.toml, with a one-time token, and the broker's password."""
    if out.exists():
        raise ConfigError(f"{out}: there already; nothing was changed")
    with locked(folder):
        opened = _opener(folder, passphrase_file)()
        document = invitation.complete(
            template, device, fleet / "root.json", folder / CA, opened.invite
        )
        write_atomically(out, document)
    typer.echo(
        f"{out}: drop it on {device}'s boot partition; it is a secret until then\n"
        f"{folder / PASSWORDS}: to the broker, then reload it (systemctl reload mosquitto)"
    )


@app.command(
    epilog="""\b
Example:
  ./lethe authority sign my-authority request.json --fleet my-fleet --out answer.json
"""
)
def sign(
    folder: Folder,
    request: Annotated[Path, typer.Argument(help="From `lethe provision request`.")],
    out: Annotated[Path, typer.Option(help="File for the answer.")] = Path("answer.json"),
    fingerprint: Annotated[
        str, typer.Option(help="What the device says; asked for if not given.")
    ] = "",
    fleet: FleetFolder = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Sign a request that was brought here, once you have compared its fingerprint."""
    try:
        asked = read_request(read_small(request, limits.MAX_ENROLMENT_BYTES))
    except OSError as error:
        raise ConfigError(f"{request}: cannot be read: {error.strerror or error}") from error
    if dry_run:
        typer.echo(f"would sign for {asked.name}, fingerprint {asked.fingerprint}")
        return
    _compare(asked, fingerprint)
    register = _registering(fleet, passphrase_file)
    with locked(folder):
        opened = _opener(folder, passphrase_file)()
        register(asked, False)
        write_atomically(out, approval.signed(opened, asked), mode=0o644)
    typer.echo(f"{out}: bring it to {asked.name}: ./lethe provision install {out.name}")


def _compare(asked: Asked, given: str) -> None:
    """Go on only if whoever is here says the fingerprint that the device says."""
    if not given:
        typer.echo(f"{asked.name} asks for a certificate.")
        given = typer.prompt("Fingerprint that the device shows")
    if "".join(given.split()).lower() != asked.fingerprint.replace(" ", ""):
        raise BadInput(
            f"{asked.name}: the fingerprint of this request is {asked.fingerprint}, not what was "
            "given: somebody else's request, or a typing error; nothing was signed"
        )


@app.command(
    epilog="""\b
Examples:
  ./lethe authority serve my-authority --broker broker.example:8883 --ca-file my-authority/ca.pem \\
      --cert-file authority.pem --fleet my-fleet
  ./lethe authority serve my-authority … --once         # answer what waits, and end
"""
)
@options.at_broker
def serve(
    folder: Folder,
    broker: BrokerConfig = options.LOCAL,
    fleet: FleetFolder = None,
    passphrase_file: PassphraseFile = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing more comes.")] = False,
) -> None:
    """Answer devices: renewals, and those that bear their one-time token. The others wait."""
    with session(broker) as link:
        desk = enrolments.Desk(
            link, broker.topic_root, _opener(folder, passphrase_file), folder,
            _registering(fleet, passphrase_file),
        )  # fmt: skip
        when_asked_to_end(desk.close)
        for asked in desk.requests(limits.DOCTOR_QUIET_S if once else None):
            try:
                decision = desk.serve(asked)
            except LetheError as error:  # the next device is served all the same
                typer.echo(f"{asked.name}: not answered: {error}", err=True)
                continue
            said = {"sign": "signed", "wait": "waits for you", "refuse": "refused"}
            typer.echo(f"{asked.name}: {said[decision.verdict]}: {decision.reason}")
            if decision.verdict == "wait":
                typer.echo(
                    f"  fingerprint {asked.fingerprint}; if the device shows the same:\n"
                    f"  ./lethe authority approve {folder} {asked.name}"
                )


@app.command(
    epilog="""\b
Example:
  ./lethe authority approve my-authority gate-3 --broker broker.example:8883 \\
      --ca-file my-authority/ca.pem --cert-file authority.pem --fleet my-fleet
"""
)
@options.at_broker
def approve(
    folder: Folder,
    device: Annotated[str, typer.Argument(help="Id of the device that waits.")],
    broker: BrokerConfig = options.LOCAL,
    fingerprint: Annotated[
        str, typer.Option(help="What the device says; asked for if not given.")
    ] = "",
    fleet: FleetFolder = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign the request of a device that waits at the broker, and send it the certificate."""
    register = _registering(fleet, passphrase_file)
    with session(broker) as link:
        opener = _opener(folder, passphrase_file)
        desk = enrolments.Desk(link, broker.topic_root, opener, folder)
        asked = next((a for a in desk.requests(limits.DOCTOR_QUIET_S) if a.name == device), None)
        if asked is None:
            raise BadInput(f"{device}: no request of it waits at {broker.host}:{broker.port}")
        _compare(asked, fingerprint)
        with locked(folder):
            register(asked, False)
            answer = approval.signed(opener(), asked)
        desk.answer(asked, answer)
    typer.echo(f"{device}: signed and sent")


@app.command(
    epilog="""\b
Example:
  ./lethe authority revoke my-authority gate-3 --dry-run
"""
)
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Id of the device, or a role.")],
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Have the broker refuse a device at once, and renew its certificate no more."""
    says = f"{name}: may not connect any more"
    if dry_run:
        typer.echo(f"would be: {says}")
        return
    if not yes:
        typer.confirm(f"{says}. Go on?", abort=True)
    with locked(folder):
        count = _opener(folder, passphrase_file)().revoke(name)
    typer.echo(
        f"{says}: {count} certificate{'s' if count != 1 else ''} revoked\n"
        f"In force after: {folder / CRL} to the broker, systemctl restart mosquitto; what it "
        "obeys: ./lethe fleet device remove"
    )


@app.command("list")
def list_command(
    folder: Folder,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who may connect, until when, and who is expected."""
    with locked(folder):
        book = _opener(folder, passphrase_file)().book
    rows = [
        {"name": name, "kind": "device" if member.keys else "role", "revoked": member.out,
         "ends": member.issued[-1].ends if member.issued else None}
        for name, member in sorted(book.members.items())
    ]  # fmt: skip
    rows += [
        {"name": name, "kind": "expected", "revoked": False, "ends": each.ends}
        for name, each in sorted(book.invitations.items())
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("name", "", "until", box=None)
    for row in rows:
        until = f"{datetime.fromtimestamp(float(str(row['ends'])), UTC):%Y-%m-%d}"
        over = "revoked" if row["revoked"] else until
        table.add_row(str(row["name"]), str(row["kind"]), over)
    Console(highlight=False, markup=False).print(table)
