"""What the broker's operator, or a thief of one key, can try. The list in force always stays."""

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from edge import limits
from edge.config import BrokerConfig
from edge.protocol import list_key, topics
from edge.protocol.watchlist import list_role
from fleet import broker, keys, release, repository
from fleet.repository import COMPACT, Repository
from tests.fleet_kit import Fleet, Follower, Intruder, listing
from tests.protocol.test_sealed_list import people

TIMESTAMP = topics.TIMESTAMP


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path / "fleet")
    fleet.issue(listing(1, people(300)))
    return fleet


@pytest.fixture
def intruder(mosquitto):
    intruder = Intruder(mosquitto.port)
    yield intruder
    intruder.close()


@pytest.fixture
def device(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
        yield device


def refused(device, reason):
    device.wait_for_reason(reason)
    assert device.keeper.version == 1, "the list in force stays"
    assert not device.keeper.withdrawn


def metadata(fleet, role):
    return Repository.existing(fleet.folder).open(role)


def forge(fleet, role):
    """Metadata rightly signed by whoever stole the role's one key."""
    md = metadata(fleet, role)
    md.signed.version += 1
    ring = keys.Keyring(fleet.folder / "keys")
    md.signatures.clear()
    for signer in ring.signers(metadata(fleet, Root.type).signed.roles[role].keyids):
        md.sign(signer, append=True)
    return md


# --- Old, held back, mixed -----------------------------------------------------------------------


def test_an_older_timestamp_is_refused(fleet, device, mosquitto, intruder):
    old = fleet.retained()[TIMESTAMP]
    with fleet.change() as state:
        state.seal_state(force=True)
    fleet.publish(mosquitto.port)
    device.wait(lambda: _stored(fleet, "timestamp") == fleet.retained()[TIMESTAMP])
    intruder.put(TIMESTAMP, old)
    refused(device, "New timestamp version")


def _stored(fleet, role):
    return (fleet.state() / "trust" / f"{role}.json").read_bytes()


def test_a_revoked_entry_does_not_return_with_the_whole_old_state(
    fleet, device, mosquitto, intruder
):
    before = fleet.retained()
    fleet.issue(listing(2, people(299)))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    for path, content in before.items():
        if path != TIMESTAMP:
            intruder.put(path, content)
    intruder.put(TIMESTAMP, before[TIMESTAMP])
    device.wait_for_reason("New timestamp version")
    assert device.keeper.version == 2


def test_an_older_snapshot_is_refused_even_from_the_holder_of_the_timestamp_key(
    fleet, device, mosquitto, intruder
):
    snapshot = metadata(fleet, Snapshot.type).signed.version
    md = forge(fleet, Timestamp.type)
    md.signed.snapshot_meta.version = snapshot - 1
    ring = keys.Keyring(fleet.folder / "keys")
    (keyid,) = md.signatures
    md.sign(ring.signers([keyid])[0])
    intruder.put(TIMESTAMP, md.to_bytes(COMPACT))
    refused(device, "New snapshot version must be >=")


def test_an_older_list_is_refused_even_from_the_holder_of_both_online_keys(
    fleet, device, mosquitto, intruder
):
    fleet.issue(listing(2, people(299)))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    ring = keys.Keyring(fleet.folder / "keys")
    snapshot = forge(fleet, Snapshot.type)
    snapshot.signed.meta[f"{list_role('gate')}.json"].version = 1
    snapshot.sign(ring.signers(list(snapshot.signatures))[0])
    timestamp = forge(fleet, Timestamp.type)
    timestamp.signed.snapshot_meta.version = snapshot.signed.version
    timestamp.sign(ring.signers(list(timestamp.signatures))[0])
    intruder.put(f"metadata/{snapshot.signed.version}.snapshot.json", snapshot.to_bytes(COMPACT))
    intruder.put(TIMESTAMP, timestamp.to_bytes(COMPACT))
    device.wait_for_reason("Expected watchlist/gate.json version 1, got 2")
    assert device.keeper.version == 2


@pytest.mark.parametrize("role", [Timestamp.type, Snapshot.type])
def test_what_is_expired_is_refused_for_something_newer_may_be_held_back(
    fleet, device, mosquitto, monkeypatch, role
):
    monkeypatch.setitem(repository.LIFETIMES, role, -5)
    fleet.issue(listing(2, people(299)))
    fleet.publish(mosquitto.port)
    refused(device, f"{role}.json is expired")
    monkeypatch.undo()
    with fleet.change() as state:
        state.seal_state(force=True)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)


# --- Not signed, or not by enough ----------------------------------------------------------------


def test_an_altered_timestamp_is_refused(device, fleet, intruder):
    content = fleet.retained()[TIMESTAMP]
    intruder.put(TIMESTAMP, content.replace(b'"version":', b'"version":9', 1))
    refused(device, "timestamp was signed by 0/1 keys")


def test_a_key_that_nobody_knows_is_refused(device, fleet, intruder, tmp_path):
    md = metadata(fleet, Timestamp.type)
    md.signed.version += 1
    key = keys.make_key(tmp_path / "stranger", None)
    md.sign(keys.Keyring(tmp_path).signers([key.keyid])[0])
    intruder.put(TIMESTAMP, md.to_bytes(COMPACT))
    refused(device, "timestamp was signed by 0/1 keys")


def weaken(fleet, path_part):
    """Take one of two signatures off metadata that is about to be published."""
    (file,) = (fleet.folder / "retained" / "metadata").glob(path_part)
    md = Metadata.from_bytes(file.read_bytes())
    assert len(md.signatures) >= 2
    kept = next(iter(md.signatures))
    md.signatures = {kept: md.signatures[kept]}
    file.write_bytes(md.to_bytes(COMPACT))


def test_a_threshold_that_is_not_met_is_refused_at_the_top(fleet, device, mosquitto):
    with fleet.change() as state:
        state.put(Targets.type, "policy", b'{"schema":1,"removed":["camera-1"]}')
    weaken(fleet, "*.targets.json")
    fleet.publish(mosquitto.port)
    refused(device, "targets was signed by 1/2 keys")


def test_a_list_signed_by_one_of_two_is_refused(fleet, device, mosquitto):
    fleet.issue(listing(2, people(1)))
    weaken(fleet, "2.watchlist%2Fgate.json")
    fleet.publish(mosquitto.port)
    refused(device, "watchlist/gate was signed by 1/2 keys")


def test_a_root_signed_by_one_of_two_is_refused(fleet, device, mosquitto, intruder):
    root = metadata(fleet, Root.type)
    root.signed.version += 1
    ring = keys.Keyring(fleet.folder / "keys")
    root.signatures.clear()
    root.sign(ring.signers(root.signed.roles[Root.type].keyids)[0])
    intruder.put(f"metadata/{root.signed.version}.root.json", root.to_bytes(COMPACT))
    intruder.put(TIMESTAMP, b"anything that wakes the device")
    refused(device, "root was signed by 1/2 keys")


def test_a_list_that_the_top_level_role_signs_itself_is_refused(fleet, device, mosquitto):
    """Its threshold is another one: who signs a list is what its delegation says."""
    with fleet.change() as state:
        state.put(Targets.type, "watchlist/gate/list", b"anything")
    fleet.publish(mosquitto.port)
    refused(device, "signed by the top-level role")


# --- Altered, missing, oversize content ----------------------------------------------------------


@pytest.fixture
def second(fleet, device):
    """Version 2 with all pieces new, signed but not yet published."""
    fleet.key = list_key.new_key()
    fleet.last = None
    fleet.issue(listing(2, people(299)))
    return fleet


def a_piece(fleet):
    return next(path for path in sorted(fleet.retained()) if path.startswith("piece/gate/"))


def put_and_announce(fleet, mosquitto, path, content):
    """Publish the state with one file of it replaced."""
    state = Repository.existing(fleet.folder)
    (fleet.folder / "retained" / path).write_bytes(content)
    broker.publish(state, BrokerConfig(port=mosquitto.port), everything=True)


def test_an_altered_piece_is_refused(second, device, mosquitto):
    piece = a_piece(second)
    content = bytearray(second.retained()[piece])
    content[100] ^= 1
    put_and_announce(second, mosquitto, piece, bytes(content))
    refused(device, "its SHA-256 is another")


def test_an_oversize_piece_is_refused(second, device, mosquitto):
    put_and_announce(second, mosquitto, a_piece(second), bytes(limits.MAX_PIECE_BYTES + 1))
    refused(device, "at most 1048576 are read")


def test_a_missing_piece_is_named_and_fetched_as_soon_as_it_is_there(
    second, device, mosquitto, intruder
):
    piece = a_piece(second)
    content = second.retained()[piece]
    put_and_announce(second, mosquitto, piece, b"")
    refused(device, f"{piece}: the broker holds nothing there")
    intruder.put(piece, content)
    device.wait_for_version(2)


def test_a_piece_of_another_list_is_refused(second, device, mosquitto):
    other = list_key.new_key()
    second.last = None
    second.issue(listing(1, people(50), list_id="other"), key=other)
    foreign = next(p for p in sorted(second.retained()) if p.startswith("piece/other/"))
    put_and_announce(second, mosquitto, a_piece(second), second.retained()[foreign])
    refused(device, "its SHA-256 is another")


def test_the_head_of_another_list_is_refused(second, device, mosquitto):
    second.last = None
    second.issue(listing(1, people(50), list_id="other"), key=list_key.new_key())
    heads = {path.split("/")[2]: path for path in second.retained() if path.endswith(".list")}
    put_and_announce(second, mosquitto, heads["gate"], second.retained()[heads["other"]])
    refused(device, "length")


@pytest.mark.parametrize(
    "size", [limits.MAX_TARGETS_BYTES + 1, limits.MAX_SNAPSHOT_METADATA_BYTES + 1]
)
def test_oversize_metadata_is_refused(second, device, mosquitto, size):
    version = metadata(second, Snapshot.type).signed.version
    put_and_announce(second, mosquitto, f"metadata/{version}.snapshot.json", b"{" * size)
    refused(device, "bytes")


def test_an_oversize_timestamp_is_not_looked_at(device, fleet, mosquitto, intruder, caplog):
    intruder.put(TIMESTAMP, b"{" * (limits.MAX_TIMESTAMP_BYTES + 1))
    fleet.issue(listing(2, people(299)))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    assert "dropped: at most" in caplog.text


# --- The wrong device, the wrong key -------------------------------------------------------------


def test_a_list_for_other_devices_is_not_opened(second, device, mosquitto):
    second.issue(listing(3, people(5), devices=["camera-2"]), key=list_key.new_key())
    second.publish(mosquitto.port)
    refused(device, "no key of list 'gate' for device 'camera-1'")


def test_another_devices_key_does_not_open_it(second, device, mosquitto, intruder):
    key = list_key.new_key()
    second.issue(listing(3, people(5), devices=["camera-2"]), key=key)
    committed = list_key.commitment(key)
    wrapped = second.retained()[topics.list_key("gate", committed, "camera-2")]
    intruder.put(topics.list_key("gate", committed, "camera-1"), wrapped)
    second.publish(mosquitto.port)
    refused(device, "was not wrapped for device 'camera-1'")


def test_a_key_that_the_broker_chose_does_not_open_it(second, device, mosquitto):
    """Anyone may wrap a key for a device: it takes the one that is signed."""
    path = topics.list_key("gate", list_key.commitment(second.key), "camera-1")
    swapped = list_key.wrap(
        list_key.new_key(), list_id="gate", device="camera-1",
        public=second.opening_key().public_key(),
    )  # fmt: skip
    put_and_announce(second, mosquitto, path, swapped)
    refused(device, "was not wrapped for device 'camera-1'")


def test_a_list_signed_under_another_version_than_its_own_is_refused(fleet, device, mosquitto):
    draft = release.draft(listing(2, people(5)), fleet.key, {"camera-1": _party(fleet)})
    md = Metadata.from_bytes(draft.metadata)
    md.signed.version = 3
    draft = fleet.signed(
        release.msgspec.structs.replace(draft, version=3, metadata=md.to_bytes(COMPACT))
    )
    with fleet.change() as state:
        release.hand_over(draft, state)
    fleet.publish(mosquitto.port)
    refused(device, "version 2 signed as 3")


def _party(fleet):
    from fleet import devices

    return devices.read(fleet.folder / "devices.json")["camera-1"]
