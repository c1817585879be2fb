"""The fleet's folder: whole or not at all, one command at a time, sent in the right order."""

import json
import shutil
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tuf.api.metadata import Metadata

from edge import limits
from edge.config import BrokerConfig
from edge.errors import BrokerUnavailable, ConfigError, FormatError, SignatureRefused
from edge.files import write_atomically
from edge.link.session import Link
from edge.protocol import party, topics
from fleet import broker, devices, keys, release, setup
from fleet import repository as repository_module
from fleet.folder import locked
from fleet.repository import RETAINED, Repository
from tests.fleet_kit import ROOT, Fleet, listing
from tests.protocol.test_sealed_list import people


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "fleet")


def state(fleet):
    return {
        path.relative_to(fleet.folder).as_posix(): path.read_bytes()
        for path in sorted(fleet.folder.rglob("*"))
        if path.is_file()
    }


def test_keys_and_folder_are_private_and_root_is_public(fleet):
    assert fleet.folder.stat().st_mode & 0o777 == 0o700
    for file in (fleet.folder / "keys").glob("*.key"):
        assert file.stat().st_mode & 0o777 == 0o600
    assert (fleet.folder / "root.json").stat().st_mode & 0o777 == 0o644


def test_every_role_is_signed_by_enough(fleet):
    repository = Repository.existing(fleet.folder)
    root, top = repository.root(), repository.targets()
    for role, md in repository.roles.items():
        delegator = root if role in root.roles else top
        delegator.verify_delegate(role, md.signed_bytes, md.signatures)
    assert root.roles["root"].threshold == root.roles["targets"].threshold == 2
    assert root.consistent_snapshot


def test_a_fleet_is_not_made_over_anything(tmp_path, fleet):
    with pytest.raises(ConfigError, match="not empty; nothing was changed"):
        setup.init(fleet.folder)
    with pytest.raises(ConfigError, match="threshold 4 of 3 keys is impossible"):
        setup.init(tmp_path / "new", threshold=4)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="no fleet here"):
        Repository.existing(tmp_path)


def test_encrypted_keys_need_the_passphrase(tmp_path):
    repository = setup.init(tmp_path / "fleet", keys=1, threshold=1, passphrase=b"sesame")
    repository.seal_state()
    repository.save()
    for wrong in (None, b"guess"):
        opened = Repository.existing(tmp_path / "fleet", wrong)
        with pytest.raises(ConfigError, match="is the passphrase file right"):
            opened.seal_state(force=True)
    Repository.existing(tmp_path / "fleet", b"sesame").seal_state(force=True)


def test_without_enough_keys_it_says_how_many_and_which(fleet):
    for file in (fleet.folder / "keys").glob("targets-[23].key"):
        file.unlink()
    before = state(fleet)
    with (
        pytest.raises(ConfigError, match="role targets: 2 of its 3 keys must sign"),
        fleet.change() as s,
    ):
        setup.add_list(s, "third", [keys.public_key(fleet.people[0].sign)], 1)
    assert state(fleet) == before


def test_what_was_cut_off_before_the_timestamp_did_not_happen(fleet, monkeypatch):
    """The timestamp is written last: without it the folder holds the old state."""
    fleet.issue(listing(1, people(5)))
    before = Repository.existing(fleet.folder)

    def cut(path, content, **options):
        if path.name == "timestamp.json":
            raise KeyboardInterrupt
        write_atomically(path, content, **options)

    monkeypatch.setattr(repository_module, "write_atomically", cut)
    with pytest.raises(KeyboardInterrupt):
        fleet.issue(listing(2, people(6)))
    monkeypatch.undo()
    after = Repository.existing(fleet.folder)
    assert after.paths() == before.paths()
    assert [after.content(path) for path in after.paths()]
    fleet.last = None
    fleet.issue(listing(2, people(7)))
    assert Repository.existing(fleet.folder).roles["watchlist/gate"].signed.version == 2
    stray = set(fleet.retained()) - set(Repository.existing(fleet.folder).paths())
    assert not stray


def test_what_nothing_leads_to_is_removed(fleet):
    fleet.issue(listing(1, people(5)))
    old = {path for path in fleet.retained() if path.startswith(("piece/", "target/watchlist"))}
    fleet.key = b"\1" * 32
    fleet.issue(listing(2, people(5)))
    assert not old & set(fleet.retained())
    assert set(fleet.retained()) | {topics.SENTINEL} == set(
        Repository.existing(fleet.folder).paths()
    )


def test_two_commands_at_once_wait_for_each_other(fleet):
    order = []

    def change(name):
        with locked(fleet.folder):
            order.append(f"{name} begins")
            time.sleep(0.05)
            repository = Repository.existing(fleet.folder)
            repository.seal_state(force=True)
            repository.save()
            order.append(f"{name} ends")

    before = Repository.existing(fleet.folder).timestamp().version
    threads = [threading.Thread(target=change, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(order[i].split()[0] == order[i + 1].split()[0] for i in range(0, 6, 2))
    assert Repository.existing(fleet.folder).timestamp().version == before + 3


# --- What others bring ---------------------------------------------------------------------------


def drafted(fleet, version=1, **changes):
    draft = release.draft(
        listing(version, people(5)), fleet.key, devices.read(fleet.folder / "devices.json")
    )
    return release.msgspec.structs.replace(draft, **changes)


def test_a_release_that_too_few_have_signed_is_not_taken(fleet):
    before = state(fleet)
    with pytest.raises(SignatureRefused, match="1/2"), fleet.change() as repository:
        release.hand_over(fleet.signed(drafted(fleet), 1), repository)
    assert state(fleet) == before


def test_a_version_is_taken_once(fleet):
    signed = fleet.signed(drafted(fleet))
    with fleet.change() as repository:
        release.hand_over(signed, repository)
    with pytest.raises(ConfigError, match="version 1 is not newer than 1"), fleet.change() as state:
        release.hand_over(signed, state)


@pytest.mark.parametrize("path", ["key/../../x", "piece/a/b/c", "/etc/passwd", "key/.x/y", ""])
def test_a_release_cannot_write_elsewhere(fleet, path):
    wrapped = release.Wrapped(public="00" * 32, sealed=b"x")
    signed = fleet.signed(drafted(fleet, keys={path: wrapped}))
    with pytest.raises(FormatError, match="no path of a piece or key"), fleet.change() as state:
        release.hand_over(signed, state)


def test_a_release_without_its_head_is_refused(fleet):
    signed = release.msgspec.structs.replace(fleet.signed(drafted(fleet)), head=b"another")
    says = pytest.raises(ConfigError, match="the content of watchlist/gate/list is missing")
    with says, fleet.change() as repository:
        release.hand_over(signed, repository)


@pytest.mark.parametrize("metadata", [b"", b"{}", b"[" * 9999, b'{"signed":{"_type":"root"}}'])
def test_a_release_whose_metadata_is_none_is_refused(fleet, metadata):
    says = pytest.raises((SignatureRefused, FormatError))
    with says, fleet.change() as repository:
        release.hand_over(drafted(fleet, metadata=metadata), repository)


def test_a_device_with_an_id_that_is_taken_is_refused(fleet):
    other = party.party("camera-1", *[k.public_key() for k in _new_keys()])
    says = pytest.raises(ConfigError, match="camera-1: registered with other keys")
    with says, fleet.change() as repository:
        setup.add_device(repository, other)


def _new_keys():
    return Ed25519PrivateKey.generate(), X25519PrivateKey.generate()


# --- To the broker -------------------------------------------------------------------------------


def test_what_refers_comes_after_what_it_refers_to_and_the_timestamp_last(fleet, mosquitto):
    fleet.issue(listing(1, people(300)))
    seen, done = [], threading.Event()
    link = Link(BrokerConfig(port=mosquitto.port), "watcher")

    def take(topic, payload):
        seen.append(topic.removeprefix(topics.trust(ROOT, "")))
        if seen[-1] == topics.TIMESTAMP:
            done.set()

    link.subscribe(topics.trust(ROOT, "#"), take, 10**7)
    subscribed = threading.Event()
    link.subscribe("ready", lambda *_: subscribed.set(), 10)
    link.start()
    while not subscribed.wait(0.05):
        link.publish("ready", b"1", retain=True)
    fleet.publish(mosquitto.port)
    assert done.wait(10)
    link.close()
    assert seen[-1] == topics.TIMESTAMP
    position = {path: at for at, path in enumerate(seen)}
    timestamp = Metadata.from_bytes(fleet.retained()[topics.TIMESTAMP]).signed
    snapshot = f"metadata/{timestamp.snapshot_meta.version}.snapshot.json"
    for path in position:
        if path.startswith("metadata/") and path not in (snapshot, topics.TIMESTAMP):
            assert position[path] < position[snapshot]
        if path.startswith(("piece/", "key/", "target/")):
            assert position[path] < min(position[p] for p in position if p.startswith("metadata"))


def test_only_what_is_new_is_sent_and_what_is_old_is_emptied(fleet, mosquitto):
    fleet.issue(listing(1, people(300)))
    assert fleet.publish(mosquitto.port).all
    fleet.issue(listing(2, people(299)))
    summary = fleet.publish(mosquitto.port)
    assert not summary.all
    assert summary.sent <= 8
    assert summary.cleared >= 3
    again = fleet.publish(mosquitto.port)
    assert (again.sent, again.cleared) == (2, 0)
    assert fleet.publish(mosquitto.port, everything=True).sent > summary.sent


def test_another_broker_is_told_everything(fleet, mosquitto, embedded_broker):
    fleet.publish(mosquitto.port)
    assert fleet.publish(embedded_broker).all


def test_an_old_copy_of_the_folder_does_not_go_back(fleet, mosquitto, tmp_path):
    old = Fleet(tmp_path / "copy")
    for name in ("keys", RETAINED):
        shutil.rmtree(old.folder / name)
        shutil.copytree(fleet.folder / name, old.folder / name)
    fleet.issue(listing(1, people(5)))
    fleet.publish(mosquitto.port)
    with pytest.raises(ConfigError, match="is it an old copy"):
        old.publish(mosquitto.port)


def test_somebody_elses_timestamp_does_not_stop_the_fleet(fleet, mosquitto):
    link = Link(BrokerConfig(port=mosquitto.port), "x")
    connected = threading.Event()
    link.on_connected(connected.set)
    link.start()
    assert connected.wait(10)
    for junk in (b"junk", b"x" * (limits.MAX_TIMESTAMP_BYTES + 1)):
        link.publish(topics.trust(ROOT, topics.TIMESTAMP), junk, retain=True)
        assert fleet.publish(mosquitto.port).all
    link.close()


def test_a_broker_that_is_not_there_is_said_and_the_folder_stays(fleet, mosquitto, monkeypatch):
    monkeypatch.setattr(limits, "PUBLISH_ACK_S", 0.2)
    mosquitto.kill()
    before = state(fleet)
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{mosquitto.port}.*is it running"):
        fleet.publish(mosquitto.port)
    assert state(fleet) == before


def test_a_damaged_note_of_what_was_published_is_said(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    (fleet.folder / broker.PUBLISHED).write_bytes(b"{")
    with pytest.raises(ConfigError, match="remove it: all is sent then"):
        fleet.publish(mosquitto.port)


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json"])
def test_damaged_metadata_is_said(fleet, name):
    file = fleet.folder / RETAINED / "metadata" / name
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="damaged"):
        Repository.existing(fleet.folder)


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"name": "a"}]', b"\xff"])
def test_damaged_devices_are_said(fleet, content):
    (fleet.folder / "devices.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"devices\.json"):
        devices.read(fleet.folder / "devices.json")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"\xff", b'{"keytype": "rsa", "scheme": "x", "keyval": {"public": "x"}}',
        json.dumps(
            {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}
        ).encode(),
        json.dumps(
            {"keytype": "ed25519", "scheme": "other", "keyval": {"public": "00" * 32}}
        ).encode(),
    ],
)  # fmt: skip
def test_a_public_key_that_is_none_is_said(tmp_path, content):
    file = tmp_path / "x.pub"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="no public key in it"):
        keys.read_public(file)


def test_a_private_key_of_another_public_one_is_said(tmp_path):
    one = keys.make_key(tmp_path / "one", None)
    keys.make_key(tmp_path / "two", None)
    (tmp_path / "two.key").rename(tmp_path / "one.key")
    with pytest.raises(ConfigError, match=r"not the private key of the \.pub file"):
        keys.Keyring(tmp_path).signers([one.keyid])
