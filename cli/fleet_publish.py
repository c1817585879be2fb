"""Bringing a fleet's folder to the broker, with a bar: what several commands end with."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.progress import Progress

from edge.config import BrokerConfig
from fleet import broker as bringing
from fleet.folder import locked
from fleet.repository import Repository


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
