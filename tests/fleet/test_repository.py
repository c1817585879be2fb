"""What a fleet's folder takes of those who sign elsewhere, and what it does not."""

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tuf.api.metadata import Metadata

from edge import limits
from edge.errors import ConfigError, FormatError, SignatureRefused, StorageUnavailable
from edge.protocol.list_key import commitment, new_key, wrap
from fleet import devices, keys, release, repository, setup
from fleet.repository import COMPACT, target_info
from tests.fleet_kit import Fleet, listing, replace

PAYLOAD = b"* * * * * root anything\n"


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "fleet")


def altered(fleet, watchlist, change):
    """A version whose metadata one of its signers has changed before signing it alone."""
    known = devices.read(fleet.folder / "devices.json")
    draft = release.draft(watchlist, fleet.key, known, urgent=True)
    md = Metadata.from_bytes(draft.metadata)
    change(md.signed)
    return fleet.signed(replace(draft, metadata=md.to_bytes(COMPACT)), 1)


@pytest.mark.parametrize("path", ["../../../outside/x", "/tmp/lethe/x", "watchlist/other/urgent"])
def test_a_signer_cannot_have_files_written_elsewhere(fleet, path):
    def point(signed):
        signed.targets = {path: target_info(path, PAYLOAD)}

    made = replace(altered(fleet, listing(1), point), head=PAYLOAD)
    with pytest.raises(SignatureRefused, match="may not sign"), fleet.change() as state:
        release.hand_over(made, state)
    assert not list(fleet.base.rglob(f"*{hashlib.sha256(PAYLOAD).hexdigest()}*"))


@pytest.mark.parametrize("name", ["*", "gat?", "..", "a/b", ""])
def test_a_list_is_called_by_a_name_and_not_by_a_pattern_that_fits_others(fleet, name):
    with pytest.raises(ConfigError, match="name of a list"), fleet.change() as state:
        setup.add_list(state, name, [], 1)


def test_a_signer_cannot_use_up_all_versions(fleet):
    """Devices never go back: after the highest version there is nothing for those who follow."""
    fleet.issue(listing(1))
    with pytest.raises(ConfigError, match="far beyond 1"):
        fleet.issue(listing(limits.MAX_VERSION_STEP + 2), urgent=True, signatures=1)
    fleet.issue(listing(limits.MAX_VERSION_STEP + 1), urgent=True, signatures=1)
    fleet.issue(listing(limits.MAX_VERSION_STEP + 2))


def test_a_device_whose_removal_was_cut_off_can_be_removed_again(fleet, monkeypatch):
    write = repository.write_atomically

    def full(path, content, **options):
        if path.name == "timestamp.json":
            raise StorageUnavailable("disk full")
        write(path, content, **options)

    monkeypatch.setattr(repository, "write_atomically", full)
    with pytest.raises(StorageUnavailable), fleet.change() as state:
        setup.remove_device(state, "camera-1")
    monkeypatch.undo()
    with fleet.change() as state:
        assert not setup.read_policy(state).removed
        setup.remove_device(state, "camera-1")
        assert setup.read_policy(state).removed == ["camera-1"]


def test_a_request_asks_for_the_list_that_it_says(fleet):
    """Who signs is shown the name outside; what they sign is inside."""
    signer, once = fleet.people[0], new_key()
    body = release.RequestBody(
        release=release.draft_withdrawal(listing(2)), key=fleet.key, labels={}, threshold=2,
        signers=fleet.people,
    )  # fmt: skip
    box = wrap(once, list_id="a-trial", device=signer.name, public=signer.opening_key)
    sealed = bytes(12) + AESGCM(once).encrypt(
        bytes(12), msgspec.msgpack.encode(body), b"lethe request/1"
    )
    forged = release.Request(
        list_id="a-trial", version=2, sealed=sealed,
        boxes={signer.name: box + bytes.fromhex(commitment(once))},
    )  # fmt: skip
    with pytest.raises(FormatError, match="version 2 of 'gate'"):
        release.open_request(
            forged, signer.name, keys.read_opening_key(fleet.base / signer.name, None)
        )
