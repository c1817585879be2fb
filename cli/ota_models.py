"""`./lethe ota models`: new models to the devices of a fleet, without a new image."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli import broker_options as options
from cli.fleet_publish import bring, changing
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.inference.manifest import load_manifest
from edge.protocol import model_bundle
from edge.update.model_store import ModelStore
from fleet.keys import read_passphrase

app = typer.Typer()


@app.command(
    epilog="""\b
Examples:
  ./lethe ota models my-fleet models/quantized --broker broker.example
  ./lethe ota models my-fleet models/quantized --dry-run
  ./lethe ota models my-fleet --withdraw
"""
)
@options.at_broker
def models(
    fleet: Annotated[Path, typer.Argument(help="The fleet's folder.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Argument(help="With manifest.json, and the files that it names.")
    ] = None,
    channel: Annotated[str, typer.Option(help="Which devices: their update.models.")] = "default",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Back to those that came with the software.")
    ] = False,
    broker: BrokerConfig = options.LOCAL,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the keys that are here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and try them out; sign nothing.")
    ] = False,
) -> None:
    """Sign models, after the self-test that devices do; devices start anew with them when idle."""
    if (folder is None) != withdraw:
        raise ConfigError("name the folder with the models, or --withdraw")
    content = None if folder is None else _checked(folder)
    says = "those of the software" if content is None else f"{len(content) / 1e6:.1f} MB"
    if dry_run:
        typer.echo(f"would be: models/{channel}: {says}")
        return
    with changing(fleet, passphrase_file) as repository:
        repository.put(model_bundle.ROLE, model_bundle.target_path(channel), content)
    typer.echo(f"models/{channel}: {says}")
    bring(fleet, read_passphrase(passphrase_file), broker)


def _checked(folder: Path) -> bytes:
    """Return the bundle of a folder, once it has passed what it must pass on a device."""
    manifest = load_manifest(folder)
    files = {model_bundle.MANIFEST: (folder / model_bundle.MANIFEST).read_bytes()}
    for model in manifest.models().values():
        variants = [each for each in model.variants.values() if (folder / each.file).exists()]
        files |= {each.file: manifest.read(each) for each in (model, *variants)}
    content = model_bundle.encode(files)
    sha256 = hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory() as place:
        store = ModelStore(Path(place))
        store.unpack(sha256, model_bundle.decode(content))
        store.try_out(sha256, "", "")
    return content
