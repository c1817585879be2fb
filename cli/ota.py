"""`./lethe ota`: update keys, signed update bundles, and their way to the devices of a fleet."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli import ota_models, ota_rollout
from edge.errors import BadInput
from firmware.build import Record
from firmware.host import BUNDLE_TOOLS, need
from firmware.process import Steps
from ota import bundle as bundles
from ota import keys as keys_module
from ota.limits import SIGNER_DAYS

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Sign updates, announce them.")
for _part in (ota_rollout, ota_models):
    app.registered_commands += _part.app.registered_commands

Keys = Annotated[Path, typer.Option(help="Folder with the update keys.")]
DEFAULT_KEYS = Path("build/ota-keys")


@app.command(epilog="Example: ./lethe ota keys --keys /media/offline/ota --name 'Town of X'")
def keys(
    keys: Keys = DEFAULT_KEYS,
    name: Annotated[str, typer.Option(help="Organisation, in the certificates.")] = "Lethe",
    days: Annotated[int, typer.Option(min=1, help="Validity of the signer.")] = SIGNER_DAYS,
    renew: Annotated[
        bool, typer.Option("--renew", help="Only make a new signer for the authority there.")
    ] = False,
) -> None:
    """Make the authority that devices trust, and a signer for bundles.

    Move authority.key.pem offline afterwards: only `--renew` needs it.
    """
    now = datetime.datetime.now(datetime.UTC)
    if not renew:
        keys_module.make_authority(keys, name, now=now)
    keys_module.make_signer(keys, f"{name} update signer", now=now, days=days)
    typer.echo(f"{keys}: signer valid for {days} days; keep authority.key.pem offline", err=True)


@app.command(epilog="Example: ./lethe ota bundle build/image-qemu --out build/lethe-0.2.0.raucb")
def bundle(
    image: Annotated[Path, typer.Argument(help="Folder that `image build` has filled.")],
    out: Annotated[Path, typer.Option(help="The bundle.")] = Path("build/lethe.raucb"),
    keys: Keys = DEFAULT_KEYS,
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Make and sign the update bundle of a built image."""
    try:
        record = msgspec.json.decode((image / "image.json").read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput(f"{image}: no built image: {error}; ./lethe image build") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    steps = Steps(out.parent / "bundle.log")
    need(steps, BUNDLE_TOOLS)
    content = bundles.Content(record.compatible, record.version, description)
    with steps.step(f"bundle {out}"):
        images = {kind: image / name for kind, name in record.images.items()}
        bundles.make(images, content, keys, out)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.0f} MB, {content.compatible} {content.version}")


@app.command(epilog="Example: ./lethe ota examine build/lethe.raucb")
def examine(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    keys: Keys = DEFAULT_KEYS,
) -> None:
    """Check a bundle's signature as a device would, and show what it holds, as JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(bundles.examine(file, keys))).decode())
