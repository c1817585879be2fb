"""How a list is shown to those who sign it: ground, people, and what has changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from rich.console import Console

from edge.inference.manifest import EmbedderModel, load_manifest
from edge.protocol.watchlist import Watchlist
from fleet.release import Standing

NOT_OURS = (
    ", not of this software: what resembles whom is for its vendor to say, and you sign for it"
)


def plain_console() -> Console:
    """Return a console that shows text from outside as it is: no markup, no control characters."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def printable(text: str) -> str:
    """Return text from outside as it may go to a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def day(seconds: float) -> str:
    """Return a moment as people read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ground(console: Console, watchlist: Watchlist) -> None:
    """Show what a list is for, where, when, and for which devices."""
    given = watchlist.authorisation
    area = given.area
    console.print(
        f"list       {watchlist.id}, version {watchlist.version}\n"
        f"purpose    {given.purpose}\n"
        f"reference  {printable(given.reference)}\n"
        f"from       {day(given.not_before)}\n"
        f"until      {day(min(watchlist.expires, given.not_after))}\n"
        f"area       "
        + (f"{area.radius_m:g} m around {area.latitude}, {area.longitude}" if area else "anywhere")
        + f"\ndevices    {', '.join(given.devices)} ({given.profile})\n"
        f"people     {len(watchlist.entries)} of at most {given.max_entries}\n"
        f"false positives: at most {given.fpir_target:g} of those who pass and are not listed\n"
        f"pictures of candidates: {'sealed to the reviewers' if given.reviewers else 'none'}\n"
        f"embedder   {printable(watchlist.embedder)}"
        + ("" if watchlist.embedder in _embedders() else NOT_OURS)
    )


def _embedders() -> set[str]:
    """Return the ids of the embedders that came with the software."""
    models = load_manifest().models().values()
    return {model.embedder_id for model in models if isinstance(model, EmbedderModel)}


def changes(
    console: Console, before: Collection[str], watchlist: Watchlist, labels: Mapping[str, str]
) -> None:
    """Show who comes and who goes.

    Args:
        console: where.
        before: entry ids of the version before.
        watchlist: the version now.
        labels: entry id to what the owner calls the person, as far as known.
    """
    now = {entry.id: entry for entry in watchlist.entries}
    for entry_id in sorted(now.keys() - set(before)):
        label = printable(labels.get(entry_id, "?"))
        console.print(f"+ {entry_id}  {label}, until {day(now[entry_id].not_after)}")
    for entry_id in sorted(set(before) - now.keys()):
        console.print(f"- {entry_id}  {printable(labels.get(entry_id, '?'))}")
    if now.keys() == set(before):
        console.print("nobody comes or goes")


def signatures(console: Console, standing: Standing) -> None:
    """Show who has signed, and how many are missing."""
    console.print(
        f"signed by  {', '.join(standing.signed) or 'nobody'}: {len(standing.signed)} of "
        f"{standing.threshold}"
        + (f"; may still sign: {', '.join(standing.missing)}" if standing.missing else "")
    )
