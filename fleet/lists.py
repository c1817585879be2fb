"""From an owner's folder to the fleet's: lists begun, versions drafted, signed, handed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from securesystemslib.signer import Signer

from edge import limits
from edge.errors import ConfigError
from edge.protocol.party import Party
from edge.protocol.watchlist import Authorisation, Watchlist
from fleet import devices, release, setup
from fleet.devices import DEVICES
from fleet.folder import locked
from fleet.keys import Keyring, make_signer, public_key
from fleet.owner import SIGNERS, Owner, validate
from fleet.release import LAST, PENDING, Kept, Release, Standing
from fleet.repository import Repository

SIGNERS_MADE, THRESHOLD = 3, 2


def begin(
    folder: Path,
    list_id: str,
    authorisation: Authorisation,
    *,
    fleet: Path | None,
    signers: Sequence[Party] = (),
    threshold: int = THRESHOLD,
    passphrase: bytes | None = None,
) -> Owner:
    """Make an owner's folder, and let the list's signers sign for the fleet.

    Args:
        folder: must hold no list yet.
        list_id: name of the list.
        authorisation: on what ground it will be used.
        fleet: the fleet's folder, if it is on this machine.
        signers: who signs; three are made here if none is given.
        threshold: how many of them must.
        passphrase: of the keys that are made, and of the fleet's.

    Raises:
        ConfigError: there is a list already, or a value is out of range.
    """
    if (folder / SIGNERS).exists():
        raise ConfigError(f"{folder}: holds {SIGNERS} already; nothing was changed")
    validate(list_id, authorisation)
    if fleet is not None:
        Repository.existing(fleet)  # refused before anything is made
    made = list(signers) or [
        make_signer(folder / SIGNERS / name, name, passphrase)
        for name in (f"{list_id}-{number}" for number in range(1, SIGNERS_MADE + 1))
    ]
    owner = Owner.init(
        folder, list_id, authorisation, signers=made, threshold=threshold, fleet=fleet
    )
    if fleet is not None:
        with locked(fleet):
            repository = Repository.existing(fleet, passphrase)
            keys = [public_key(signer.sign) for signer in made]
            setup.add_list(repository, list_id, keys, threshold)
            repository.seal_state()
            repository.save()
    return owner


def known_devices(owner: Owner, file: Path | None) -> Mapping[str, Party]:
    """Return the fleet's devices, from its folder or from a copy of its devices.json.

    Raises:
        ConfigError: neither is there.
    """
    if file is None and owner.owned.fleet is not None:
        file = Path(owner.owned.fleet) / DEVICES
    if file is None or not file.exists():
        raise ConfigError("which devices there are is not known here: --devices devices.json")
    return devices.read(file)


def prepare(
    owner: Owner,
    make: Callable[[Watchlist], Release],
    *,
    now: float,
    embedder: str,
    dimension: int,
    urgent: bool = False,
    dry_run: bool = False,
) -> Kept:
    """Return the next version of a list, unsigned; its number is used up unless it is a dry run.

    Args:
        owner: the list's folder.
        make: `draft` or `release.draft_withdrawal`.
        now: seconds since 1970.
        embedder: id used where nobody is enrolled yet.
        dimension: the same.
        urgent: it lives for a day.
        dry_run: leave everything as it is.

    Raises:
        ConfigError: the authorisation is over, or another command changed the list.
    """
    issue = owner.draft if dry_run else owner.issue
    watchlist = issue(now=now, embedder=embedder, dimension=dimension)
    if urgent:
        end = min(watchlist.expires, watchlist.issued + limits.URGENT_VALIDITY_S)
        watchlist = msgspec.structs.replace(watchlist, expires=end)
    made = Kept(release=make(watchlist), key=owner.owned.key)
    if not dry_run:
        release.write(owner.folder / PENDING, made)
    return made


def draft(
    owner: Owner, known: Mapping[str, Party], *, urgent: bool = False
) -> Callable[[Watchlist], Release]:
    """Return what turns a version of an owner's list into a draft."""
    kept = release.read_kept(owner.folder, LAST)
    last = None if kept is None else kept.release
    return lambda watchlist: release.draft(
        watchlist, owner.owned.key, known, urgent=urgent, last=last
    )


def pending(owner: Owner) -> Kept:
    """Return the draft that waits for signatures.

    Raises:
        ConfigError: there is none.
    """
    found = release.read_kept(owner.folder, PENDING)
    if found is None:
        raise ConfigError(f"{owner.folder}: nothing waits for signatures; see `watchlist request`")
    return found


def attach(owner: Owner, drafted: Kept, signature: Path) -> Kept:
    """Return a draft with a signature that came in a file.

    Raises:
        SignatureRefused: of another draft, of nobody who may sign, or it does not hold.
    """
    found = release.read_signature(signature)
    return _with(drafted, release.attach(drafted.release, found, owner.owned.signers))


def standing(owner: Owner, drafted: Kept) -> Standing:
    """Return who has signed a draft."""
    return release.standing(drafted.release, owner.owned.signers, owner.owned.threshold)


def sign_here(owner: Owner, drafted: Kept, passphrase: bytes | None) -> Kept:
    """Return a draft with the signatures that can be made on this machine, as many as are needed.

    Raises:
        ConfigError: a key is open to others, damaged, or the passphrase is wrong.
    """
    so_far = standing(owner, drafted)
    missing = [party for party in owner.owned.signers if party.name in so_far.missing]
    here = _signers(owner.folder / SIGNERS, missing, passphrase)
    needed = max(0, so_far.threshold - len(so_far.signed))
    return _with(drafted, release.sign(drafted.release, here[:needed]))


def hand_over(owner: Owner, signed: Kept, fleet: Path, passphrase: bytes | None) -> None:
    """Have the fleet's folder take a signed version, and remember it as the last one.

    Raises:
        SignatureRefused: too few have signed.
        ConfigError: the fleet holds this version or a newer one, or its keys are missing.
    """
    with locked(fleet):
        repository = Repository.existing(fleet, passphrase)
        release.hand_over(signed.release, repository)
        repository.seal_state()
        repository.save()
    keep(owner, signed)


def issue_here(
    owner: Owner,
    make: Callable[[Watchlist], Release],
    *,
    embedder: str = "",
    dimension: int = 0,
    passphrase: bytes | None = None,
) -> Kept:
    """Draft, sign and hand over the next version, where the fleet and enough keys are here.

    Arguments and errors are those of `prepare` and `hand_over`.
    """
    if owner.owned.fleet is None:
        raise ConfigError(f"{owner.folder}: its fleet is not on this machine")
    drafted = prepare(owner, make, now=time.time(), embedder=embedder, dimension=dimension)
    signed = sign_here(owner, drafted, passphrase)
    hand_over(owner, signed, Path(owner.owned.fleet), passphrase)
    return signed


def keep(owner: Owner, signed: Kept) -> None:
    """Remember a version as the last one; nothing waits any more."""
    release.write(owner.folder / LAST, signed)
    (owner.folder / PENDING).unlink(missing_ok=True)


def _with(kept: Kept, changed: Release) -> Kept:
    return msgspec.structs.replace(kept, release=changed)


def _signers(folder: Path, wanted: Sequence[Party], passphrase: bytes | None) -> list[Signer]:
    keyids = [public_key(party.sign).keyid for party in wanted]
    found: list[Signer] = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        found += Keyring(place, passphrase).signers(keyids)
    return found
