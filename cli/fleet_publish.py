"""Bringing a fleet's folder to the broker, with a bar: what several commands end with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.progress import Progress

from edge.config import BrokerConfig
from fleet import broker as bringing
from fleet.folder import locked
from fleet.keys import read_passphrase
from fleet.repository import Repository


@contextmanager
def changing(folder: Path, passphrase_file: Path | None) -> Iterator[Repository]:
    """Open a fleet to be changed; what was changed is signed and saved at the end.

    Raises:
        ConfigError: no fleet, or keys are missing.
    """
    with locked(folder):
        repository = Repository.existing(folder, read_passphrase(passphrase_file))
        yield repository
        repository.seal_state()
        repository.save()


def bring(
    folder: Path,
    passphrase: bytes | None,
    settings: BrokerConfig,
    *,
    everything: bool = False,
    quiet: bool = False,
) -> None:
    """Bring the state in a fleet's folder to the broker and say what was sent, unless quiet.

    Raises:
        BrokerUnavailable: it does not take it; `fleet publish` tries again.
        ConfigError: the broker holds a newer state.
    """
    with locked(folder), Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("publishing", total=None)
        done = bringing.publish(
            Repository.existing(folder, passphrase),
            settings,
            everything=everything,
            on_progress=lambda n, total: progress.update(task, completed=n, total=total),
        )
    if quiet:
        return
    typer.echo(
        f"{settings.host}:{settings.port}: {done.sent} messages, {done.bytes} bytes"
        + (f", {done.cleared} topics emptied" if done.cleared else "")
        + (" (everything: it held another state)" if done.all and not everything else "")
    )
