"""`./lethe fleet`: keys, devices and what is signed for all of them, for the fleet's operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Targets

from cli import broker_options as options
from cli.fleet_publish import bring
from cli.fleet_publish import changing as _change
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.protocol.configuration import ROLE
from edge.protocol.policy import Policy
from fleet import keys, release, renewal, setup
from fleet.folder import locked
from fleet.keys import read_party, read_passphrase
from fleet.repository import KEYS, ROOT, Repository

app = typer.Typer(add_completion=False, no_args_is_help=True)
device_app = typer.Typer(no_args_is_help=True, help="Devices: which there are, and their keys.")
list_app = typer.Typer(no_args_is_help=True, help="Lists: who signs them, how long they may be.")
root_app = typer.Typer(no_args_is_help=True, help="The keys that vouch for all others.")
key_app = typer.Typer(no_args_is_help=True, help="Keys of the other roles.")
operator_app = typer.Typer(no_args_is_help=True, help="Operators: who may command devices.")
for _sub, _name in (
    (device_app, "device"), (list_app, "list"), (root_app, "root"), (key_app, "key"),
    (operator_app, "operator"),
):  # fmt: skip
    app.add_typer(_sub, name=_name)

Folder = Annotated[Path, typer.Argument(help="The fleet's folder.", show_default=False)]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase of the keys that are here.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

PUBLISH = "in force for devices after: ./lethe fleet publish"


@app.callback()
def fleet() -> None:
    """Keys, devices, lists: what is signed for a fleet, and its way to the broker."""


def _agreed(says: str, *, dry_run: bool, yes: bool) -> bool:
    """Return whether to go on: not in a dry run, and after a yes only."""
    if dry_run:
        typer.echo(f"would be: {says}")
        return False
    return yes or typer.confirm(f"{says}. Go on?", abort=True)


@app.command(
    epilog="""\b
Examples:
  ./lethe fleet init my-fleet
  ./lethe fleet init my-fleet --keys 5 --threshold 3 --passphrase-file secret
"""
)
def init(
    folder: Folder,
    key_count: Annotated[int, typer.Option("--keys", help="Keys of root, and of targets.")] = 3,
    threshold: Annotated[int, typer.Option(help="How many of them must sign.", min=1)] = 2,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a fleet: its keys, and the metadata that devices trust."""
    passphrase = read_passphrase(passphrase_file)
    repository = setup.init(folder, keys=key_count, threshold=threshold, passphrase=passphrase)
    repository.seal_state()
    repository.save()
    typer.echo(
        f"{folder}: {threshold} of {key_count} keys must sign for root and for targets; devices "
        f"are given {folder / ROOT}\n"
        f"Take {folder / KEYS}/root-* off this machine: they are needed to change keys only"
        + ("" if passphrase else "; they are not encrypted (--passphrase-file)")
    )


# --- Devices -------------------------------------------------------------------------------------


@device_app.command(
    "add",
    epilog="""\b
Example:
  ./lethe fleet device add my-fleet state/device.json
""",
)
def device_add(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="device.json from the devices' state.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Register devices: lists can be opened by those that are registered only."""
    with _change(folder, passphrase_file) as repository:
        for file in files:
            device = read_party(file)
            setup.add_device(repository, device)
            typer.echo(f"{device.name}: signs with {device.sign.keyval['public'][:16]}…")


@device_app.command(
    "remove",
    epilog="""\b
Example:
  ./lethe fleet device remove my-fleet gate-3 --dry-run
""",
)
def device_remove(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Id of the device.")],
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take a device out: it destroys what it holds, and no list is made openable for it again."""
    says = f"{name}: no part of the fleet any more; it destroys its list"
    with locked(folder):
        if name not in setup.read_devices(Repository.existing(folder)):
            raise ConfigError(f"{name!r} is not registered; see `lethe fleet status {folder}`")
    if not _agreed(says, dry_run=dry_run, yes=yes):
        return
    with _change(folder, passphrase_file) as repository:
        setup.remove_device(repository, name)
    typer.echo(
        f"{says}; {PUBLISH}\n"
        "It knows the keys of its lists: for each of them, their owners run\n"
        f"  ./lethe watchlist device LIST --remove {name} && ./lethe watchlist publish LIST"
    )


# --- Lists ---------------------------------------------------------------------------------------


@list_app.command(
    "add",
    epilog="""\b
Examples:
  ./lethe fleet list add my-fleet gate --signer anna.json --signer ben.json --threshold 2
  ./lethe fleet list add my-fleet gate --signer anna.json --signer dora.json --dry-run
""",
)
def list_add(
    folder: Folder,
    list_id: Annotated[str, typer.Argument(help="Name of the list.")],
    signer: Annotated[list[Path], typer.Option(help="signer.json of each person who signs.")],
    threshold: Annotated[int, typer.Option(help="How many of them must.", min=1)] = 2,
    urgent: Annotated[
        list[Path] | None,
        typer.Option(help="signer.json of those who may sign alone for a day; all if not given."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Let people sign a list; for a list that is there already: these instead of those so far."""
    signers, alone = ([_signer_key(file) for file in files] for files in (signer, urgent or []))
    with locked(folder):
        replaces = setup.has_list(Repository.existing(folder), list_id)
    says = f"{list_id}: {threshold} of {len(signers)} sign it"
    if replaces:
        says += " instead of those so far; it must be published anew, signed by them"
    if not _agreed(says, dry_run=dry_run, yes=yes or not replaces):
        return
    with _change(folder, passphrase_file) as repository:
        setup.add_list(repository, list_id, signers, threshold, alone)
    typer.echo(f"{says}; {PUBLISH}")


@list_app.command("ceiling")
def list_ceiling(
    folder: Folder,
    list_id: Annotated[str, typer.Argument(help="Name of the list.")],
    entries: Annotated[int, typer.Argument(help="Most people; 0 for the usual limit.", min=0)],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Allow a list more people than its devices' profile does. Signed by the keys of targets."""
    with _change(folder, passphrase_file) as repository:
        rules = setup.read_policy(repository)
        ceilings = {name: most for name, most in rules.ceilings.items() if name != list_id}
        if entries:
            ceilings[list_id] = entries
        setup.set_policy(repository, Policy(ceilings=ceilings, removed=rules.removed))
    typer.echo(f"{list_id}: {f'at most {entries}' if entries else 'the usual limit'}; {PUBLISH}")


# --- Keys ----------------------------------------------------------------------------------------


@root_app.command(
    "rotate",
    epilog="""\b
Examples:
  ./lethe fleet root rotate my-fleet --dry-run
  ./lethe fleet root rotate my-fleet && ./lethe fleet publish my-fleet
""",
)
def root_rotate(
    folder: Folder,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Replace all keys of root by new ones. Devices follow by themselves."""
    with locked(folder):
        count = len(Repository.existing(folder).root().roles["root"].keyids)
    says = f"all {count} keys of root replaced by new ones"
    if not _agreed(says, dry_run=dry_run, yes=yes):
        return
    with _change(folder, passphrase_file) as repository:
        names = setup.rotate_root(repository, passphrase=read_passphrase(passphrase_file))
        version = repository.root().version
    typer.echo(
        f"root version {version}, keys {', '.join(names)}; {PUBLISH}\n"
        "Keep the old keys until then, and destroy them; take the new ones off this machine"
    )


@key_app.command(
    "revoke",
    epilog="""\b
Examples:
  ./lethe fleet key revoke my-fleet timestamp 4f1d0c8be2a9 --make
  ./lethe fleet key revoke my-fleet watchlist/gate 4f1d0c8be2a9 --new dora/signer.json
""",
)
def key_revoke(
    folder: Folder,
    role: Annotated[str, typer.Argument(help="Whose key, as `fleet status` shows it.")],
    keyid: Annotated[str, typer.Argument(help="Its id, or the beginning.")],
    new: Annotated[
        Path | None, typer.Option(help="signer.json or .pub of the key that takes its place.")
    ] = None,
    make: Annotated[bool, typer.Option("--make", help="Make a new key for its place.")] = False,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take a key away from a role. What it has signed alone is refused from then on."""
    says = f"{role}: key {keyid} signs no more"
    if not _agreed(says, dry_run=dry_run, yes=yes):
        return
    with _change(folder, passphrase_file) as repository:
        keyid, key = setup.find_key(repository, role, keyid), None
        if new is not None:
            read = keys.read_public if new.suffix == ".pub" else _signer_key
            key = read(new)
        elif make:
            number = len(list((folder / KEYS).glob("*.pub"))) + 1
            key = keys.make_key(
                folder / KEYS / f"{role.replace('/', '-')}-{number}",
                read_passphrase(passphrase_file),
            )
            repository.reload_keys()
        unsigned = setup.replace_key(repository, role, keyid, key)
    typer.echo(f"{says}; {PUBLISH}")
    for each in unsigned:
        todo = (
            "publish that list anew"
            if each.startswith("watchlist/")
            else "sign it anew: `lethe config set`, `lethe fleet put`"
        )
        typer.echo(f"{each}: too few of those who signed it are left; {todo}")


def _signer_key(file: Path) -> SSlibKey:
    return keys.public_key(read_party(file).sign)


@key_app.command("token")
def key_token(
    name: Annotated[Path, typer.Argument(help="FOLDER/NAME: where its address is kept.")],
    slot: Annotated[int, typer.Option(help="Id of the key on the token.")] = 2,
) -> None:
    """Have a key on a PKCS#11 token sign; PYKCS11LIB names the token's module."""
    key = keys.import_token(name, slot)
    typer.echo(f"{name}.hsm: key {key.keyid[:12]}, {key.scheme}")


# --- Operators -----------------------------------------------------------------------------------


@operator_app.command(
    "key",
    epilog="""\b
Example:
  ./lethe fleet operator key anna --passphrase-file secret
""",
)
def operator_key(
    name: Annotated[Path, typer.Argument(help="Made: NAME.key, which stays, and NAME.pub.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a key that signs commands, on the machine of whoever gives them."""
    made = keys.make_key(name, read_passphrase(passphrase_file))
    typer.echo(f"{name}.key: key {made.keyid[:12]}; the fleet is given {name}.pub")


@operator_app.command(
    "add",
    epilog="""\b
Example:
  ./lethe fleet operator add my-fleet anna.pub && ./lethe fleet publish my-fleet
""",
)
def operator_add(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="NAME.pub from `operator key`.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let somebody command devices. Taken back by: ./lethe fleet key revoke my-fleet command ID."""
    key = keys.read_public(file)
    with _change(folder, passphrase_file) as repository:
        setup.add_operator(repository, key)
    typer.echo(f"command: key {key.keyid[:12]} may sign commands; {PUBLISH}")


# --- What is signed ------------------------------------------------------------------------------


@app.command(
    epilog="""\b
Examples:
  ./lethe fleet put my-fleet models/embedder sface.tflite
  ./lethe fleet put my-fleet firmware/raspberrypi announcement.json
"""
)
def put(
    folder: Folder,
    target: Annotated[str, typer.Argument(help="models/… or firmware/….")],
    file: Annotated[Path, typer.Argument(help="Its content.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a model, or an announcement of firmware."""
    role = target.partition("/")[0]
    if role == ROLE:
        raise ConfigError("what devices are to do is signed by `lethe config set`, which checks it")
    if role not in setup.VENDOR_ROLES:
        raise ConfigError(f"{target!r}: it begins with {', '.join(setup.VENDOR_ROLES)}")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    with _change(folder, passphrase_file) as repository:
        repository.put(role, target, content)
    typer.echo(f"{target}: {len(content)} bytes, signed; {PUBLISH}")


@app.command("release")
@options.at_broker
def take_release(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="From `watchlist publish --out`.")],
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Take a version of a list that its owner has signed elsewhere, and publish it."""
    with _change(folder, passphrase_file) as repository:
        release.hand_over(release.read_release(file), repository)
    bring(folder, read_passphrase(passphrase_file), broker)


def _publishing(everything: bool, force: bool) -> Callable[..., None]:
    @options.at_broker
    def command(
        folder: Folder,
        broker: BrokerConfig = options.LOCAL,
        passphrase_file: PassphraseFile = None,
    ) -> None:
        if force:
            with _change(folder, passphrase_file) as repository:
                for role, reason in renewal.renew(repository).items():
                    ends = f"{repository.roles[role].signed.expires:%Y-%m-%d}"
                    typer.echo(f"{role} ends {ends} and cannot be renewed: {reason}", err=True)
                repository.seal_state(force=True)
        bring(folder, read_passphrase(passphrase_file), broker, everything=everything)

    return command


app.command("publish", help="Bring what has changed to the broker.")(_publishing(False, False))
app.command("announce", help="Bring everything to a broker that forgot it, or to another broker.")(
    _publishing(True, False)
)
app.command(
    "refresh",
    help="Sign anew what would expire, and publish: at least every 7 days, from a timer.",
)(_publishing(False, True))


@app.command()
def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show roles, versions, when they expire, who may sign them, and the devices."""
    with locked(folder):
        repository = Repository.existing(folder)
    top, rules = repository.targets(), setup.read_policy(repository)
    delegated = (top.delegations and top.delegations.roles) or {}
    rows = []
    for name in (*repository.root().roles, *delegated):
        md = repository.roles.get(name)
        role = delegated[name] if name in delegated else repository.root().roles[name]
        rows.append(
            {
                "role": name,
                "version": md.signed.version if md else 0,
                "expires": md.signed.expires.isoformat() if md else None,
                "threshold": role.threshold,
                "keys": [keyid[:12] for keyid in role.keyids],
                "targets": sorted(repository.signed_by(name))
                if md and isinstance(md.signed, Targets)
                else [],
            }
        )
    devices = sorted(setup.read_devices(repository))
    if as_json:
        shown = {
            "roles": rows,
            "devices": devices,
            "removed": rules.removed,
            "ceilings": rules.ceilings,
        }
        typer.echo(json.dumps(shown, indent=1))
        return
    table = Table(Column("role", overflow="fold"), "version", "expires", "signed by", "keys")
    now = datetime.now(UTC)
    for row in rows:
        expires = row["expires"]
        over = expires is not None and datetime.fromisoformat(str(expires)) <= now
        table.add_row(
            str(row["role"]),
            str(row["version"] or "none yet"),
            f"{str(expires or '')[:16]}{' OVER' if over else ''}",
            str(row["threshold"]),
            " ".join(map(str, row["keys"])),  # type: ignore[arg-type]
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"devices: {', '.join(devices) or 'none'}", soft_wrap=True)
    if rules.removed:
        console.print(f"removed: {', '.join(rules.removed)}", soft_wrap=True)
