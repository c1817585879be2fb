"""`./lethe watchlist`: for the owner of a list, and for those who sign it."""

from __future__ import annotations

import typer

from cli import watchlist_list, watchlist_signing

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(watchlist_list.app)
app.add_typer(watchlist_signing.app)


@app.callback()
def watchlist() -> None:
    """Enrol, sign, publish and revoke (for the owner of a list)."""
