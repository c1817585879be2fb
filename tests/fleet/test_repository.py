"""What a fleet's folder takes of those who sign elsewhere, and what it does not."""

import hashlib

import pytest
from tuf.api.metadata import Metadata

from edge.errors import ConfigError, SignatureRefused
from fleet import devices, release, setup
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
