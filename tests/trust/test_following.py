"""A device follows what the fleet signs: at once, after an absence, through new keys."""

import threading

import pytest
from tuf.api.metadata import Root, Targets

from demo.broker import running_broker
from edge import limits
from edge.config import BrokerConfig
from edge.errors import AlterationRefused, ConfigError, FormatError, SignatureRefused
from edge.link.session import Link
from edge.protocol import list_key, topics
from edge.protocol.policy import Policy
from edge.trust.client import NOTHING_YET, Trust, read_root
from fleet import keys, setup
from fleet.repository import Repository
from tests.fleet_kit import ROOT, Fleet, Follower, Intruder, listing
from tests.protocol.test_sealed_list import people

PEOPLE = people(300)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path / "fleet")
    fleet.issue(listing(1, PEOPLE))
    return fleet


@pytest.fixture
def device(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
        yield device


def test_what_comes_is_what_was_signed_and_by_whom(fleet, device):
    delivery = device.keeper.deliveries[0]
    assert [e.id for e in delivery.watchlist.entries] == sorted(e.id for e in PEOPLE)
    provenance = delivery.sealed.provenance
    assert (provenance.role, provenance.threshold, provenance.ceiling) == ("regular", 2, None)
    signed = {keys.public_key(person.sign).keyid for person in fleet.people[:2]}
    assert set(provenance.signers) == signed
    assert delivery.sealed.key == fleet.key
    assert "key" not in repr(delivery)


def test_a_new_version_comes_at_once_and_only_what_changed_is_fetched(fleet, device, mosquitto):
    before = device.keeper.deliveries[0].sealed
    fleet.issue(listing(2, PEOPLE[1:]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    after = device.keeper.deliveries[1].sealed
    new = after.segments.keys() - before.segments.keys()
    assert 1 <= len(new) <= 2  # the authorisation's time may have moved by a second
    assert len(after.segments.keys() & before.segments.keys()) >= 1


def test_a_device_that_was_off_catches_up_over_many_versions(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
    for version in range(2, 6):
        fleet.issue(listing(version, PEOPLE[version:]))
        with fleet.change() as state:
            setup.rotate_root(state)
        fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(5)


def test_the_embedded_broker_serves_as_well(fleet):
    with running_broker() as port:
        fleet.publish(port)
        with Follower(fleet, port) as device:
            device.wait_for_version(1)
            fleet.issue(listing(2, PEOPLE[1:]))
            fleet.publish(port)
            device.wait_for_version(2)


def test_before_anything_was_published_it_says_so(fleet, mosquitto):
    with Follower(fleet, mosquitto.port) as device:
        assert device.trust.reason == NOTHING_YET
        fleet.publish(mosquitto.port)
        device.wait_for_version(1)


def test_a_broker_that_dies_in_the_middle_costs_nothing_but_time(fleet, device, mosquitto):
    """It goes away while pieces are fetched: the list stays, what came is not fetched again."""
    fleet.key, fleet.last = list_key.new_key(), None
    fleet.issue(listing(2, people(900, seed=5), max_entries=1000))
    shelf = device.trust._shelf
    read, asked, cut = shelf.read, [], threading.Event()

    def read_or_die(wanted):
        pieces = [path for path in wanted if path.startswith("piece/")]
        if pieces and not cut.is_set():
            asked.append(len(pieces))
            cut.set()
            found = read(dict.fromkeys(pieces[:1], limits.MAX_PIECE_BYTES))
            mosquitto.kill()
            assert found
            return read(wanted)
        asked.append(len(pieces))
        return read(wanted)

    shelf.read = read_or_die
    fleet.publish(mosquitto.port)
    device.wait_for_reason("broker")
    assert device.keeper.version == 1
    mosquitto.start()
    fleet.publish(mosquitto.port)  # what it took since its last autosave is gone
    device.wait_for_version(2)


def test_what_was_fetched_before_it_broke_off_is_not_fetched_again(
    fleet, device, mosquitto, monkeypatch
):
    monkeypatch.setattr(limits, "FETCH_TOPICS", 1)  # one piece a question
    fleet.key, fleet.last = list_key.new_key(), None
    fleet.issue(listing(2, people(900, seed=5), max_entries=1000))
    shelf, fetched = device.trust._shelf, []
    read = shelf.read

    def read_until_the_third(wanted):
        pieces = [path for path in wanted if path.startswith("piece/")]
        if pieces and len(fetched) == 2:
            fetched.append("broken off")
            raise FormatError("broken off")
        fetched.extend(pieces)
        return read(wanted)

    shelf.read = read_until_the_third
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    assert len(fetched) - 1 == len(set(fetched) - {"broken off"}) == len(fleet.last.pieces)


def test_a_broker_that_forgot_everything_is_told_everything_again(fleet, device, mosquitto):
    mosquitto.kill()
    (mosquitto._config.parent / "mosquitto.db").unlink(missing_ok=True)
    mosquitto.start()
    fleet.issue(listing(2, PEOPLE[1:]))
    summary = fleet.publish(mosquitto.port)
    assert summary.all
    assert summary.sent == len(Repository.existing(fleet.folder).paths()) + 1  # the sentinel twice
    device.wait_for_version(2)


# --- Keys ----------------------------------------------------------------------------------------


def test_root_is_rotated_and_a_device_with_the_first_root_follows(fleet, device, mosquitto):
    first = fleet.root
    old = set(Repository.existing(fleet.folder).root().roles[Root.type].keyids)
    with fleet.change() as state:
        setup.rotate_root(state)
    root = Repository.existing(fleet.folder).root()
    assert root.version == 2
    assert not old & set(root.roles[Root.type].keyids)
    fleet.issue(listing(2, PEOPLE[1:]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    assert (fleet.state() / "trust" / "root.json").read_bytes() == fleet.root != first


def test_the_old_keys_of_root_sign_nothing_any_more(fleet, device, mosquitto):
    with fleet.change() as state:
        setup.rotate_root(state)
    fleet.publish(mosquitto.port)
    for file in (fleet.folder / "keys").glob("root-2-*.key"):
        file.unlink()
    with (
        pytest.raises(ConfigError, match="role root: 2 of its 3 keys must sign"),
        fleet.change() as s,
    ):
        setup.rotate_root(s)


def test_a_stolen_timestamp_key_is_revoked(fleet, device, mosquitto):
    repository = Repository.existing(fleet.folder)
    (stolen,) = repository.root().roles["timestamp"].keyids
    with fleet.change() as state:
        key = keys.make_key(fleet.folder / "keys" / "timestamp-2", None)
        state.reload_keys()
        assert setup.replace_key(state, "timestamp", stolen[:12], key) == []
    fleet.issue(listing(2, PEOPLE[1:]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    intruder = Intruder(mosquitto.port)
    md = Repository.existing(fleet.folder).open("timestamp")
    md.signed.version += 1
    md.sign(keys.Keyring(fleet.folder / "keys").signers([stolen])[0])
    intruder.put(topics.TIMESTAMP, md.to_bytes())
    device.wait_for_reason("timestamp was signed by 0/1 keys")
    assert device.keeper.version == 2
    intruder.close()


def test_a_signer_who_left_counts_no_more_until_the_list_is_signed_anew(fleet, device, mosquitto):
    left = keys.public_key(fleet.people[0].sign).keyid
    newcomer = keys.make_signer(fleet.base / "signer-3", "signer-3", None)
    with fleet.change() as state:
        unsigned = setup.replace_key(state, "watchlist/gate", left, keys.public_key(newcomer.sign))
    assert unsigned == ["watchlist/gate"]
    fleet.publish(mosquitto.port)
    device.wait_for_reason("watchlist/gate was signed by 1/2 keys")
    assert device.keeper.version == 1
    with pytest.raises(SignatureRefused, match="1/2"):
        fleet.issue(listing(2, PEOPLE[1:]))  # signed by the one who left and by another
    fleet.people[0] = newcomer
    (fleet.base / "signer-0").rename(fleet.base / "gone")
    (fleet.base / "signer-3").rename(fleet.base / "signer-0")
    fleet.issue(listing(2, PEOPLE[1:]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)


# --- Lists and devices ---------------------------------------------------------------------------


def test_two_lists_are_two_and_each_device_obeys_its_own(fleet, device, mosquitto):
    key = list_key.new_key()
    fleet.issue(listing(1, people(3, seed=9), list_id="other", devices=["camera-2"]), key=key)
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port, device="camera-2", list_id="other") as second:
        second.wait_for_version(1)
        assert len(second.keeper.deliveries[-1].watchlist.entries) == 3
    assert [d.watchlist.id for d in device.keeper.deliveries] == ["gate"]


def test_a_list_that_is_withdrawn_is_destroyed_and_may_come_back(fleet, device, mosquitto):
    fleet.withdraw(2)
    fleet.publish(mosquitto.port)
    device.wait(lambda: device.keeper.withdrawn)
    assert "withdrawn" in device.keeper.withdrawn[0]
    assert device.keeper.version is None
    fleet.issue(listing(3, PEOPLE))
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)


def test_a_removed_device_is_told_and_gets_no_key_again(fleet, device, mosquitto):
    with fleet.change() as state:
        setup.remove_device(state, "camera-1")
    fleet.publish(mosquitto.port)
    device.wait(lambda: device.keeper.withdrawn)
    assert "removed from the fleet" in device.keeper.withdrawn[0]
    with pytest.raises(ConfigError, match="not registered with the fleet: camera-1"):
        fleet.issue(listing(2, PEOPLE))
    fleet.key = list_key.new_key()  # what the owner's command does when a device is taken off
    fleet.issue(listing(2, PEOPLE, devices=["camera-2"]))
    assert not [p for p in fleet.retained() if p.startswith("key/camera-1/")]
    with fleet.change() as state:
        setup.add_device(state, keys.read_party(fleet.state() / "device.json"))
    fleet.issue(listing(3, PEOPLE))
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)


def test_an_urgent_list_needs_one_signature_and_gives_way_to_a_countersigned_one(
    fleet, device, mosquitto
):
    fleet.issue(listing(2, PEOPLE[:5]), signatures=1, urgent=True)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    provenance = device.keeper.deliveries[-1].sealed.provenance
    assert (provenance.role, provenance.threshold, len(provenance.signers)) == ("urgent", 1, 1)
    fleet.issue(listing(3, PEOPLE[:5]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)
    assert device.keeper.deliveries[-1].sealed.provenance.role == "regular"


def test_who_sign_together_can_withdraw_what_one_has_signed_alone(fleet, device, mosquitto):
    fleet.issue(listing(2, PEOPLE[:5]), signatures=1, urgent=True)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    fleet.withdraw(3)
    fleet.publish(mosquitto.port)
    device.wait(lambda: device.keeper.withdrawn)


def test_an_urgent_role_that_has_expired_does_not_block_the_other(fleet, device, mosquitto):
    fleet.issue(listing(2, PEOPLE[:5], not_after=1), signatures=1, urgent=True)
    fleet.issue(listing(3, PEOPLE[:6]))
    fleet.publish(mosquitto.port)
    device.wait_for_version(3)


def test_the_root_of_trust_may_allow_a_longer_list(fleet, device, mosquitto):
    with fleet.change() as state:
        setup.set_policy(state, Policy(ceilings={"gate": 20_000}))
    fleet.publish(mosquitto.port)
    device.wait(lambda: len(device.keeper.deliveries) == 2)
    assert device.keeper.deliveries[-1].sealed.provenance.ceiling == 20_000


def test_a_policy_that_is_none_is_refused(fleet, device, mosquitto):
    with fleet.change() as state:
        state.put(Targets.type, "policy", b'{"removed": 5}')
    fleet.publish(mosquitto.port)
    device.wait_for_reason("not a policy in the documented form")
    assert device.keeper.version == 1


def test_a_list_can_be_had_once_more(fleet, device):
    """As after an order to stop that was lifted."""
    device.trust._consumers["list"].forget()
    device.trust.again()
    device.wait(lambda: len(device.keeper.deliveries) == 2)
    assert device.keeper.version == 1


# --- What else the channel carries ---------------------------------------------------------------


class Taker:
    """Follows one target, as later consumers will."""

    def __init__(self, path, role):
        self.path, self.role, self.got = path, role, []

    def __call__(self, view):
        target = view.find(self.path, self.role)
        self.got.append(None if target is None else view.read(target))


@pytest.mark.parametrize(
    ("path", "role", "content"),
    [
        ("config/camera-1", "config", b'{"vision": {"threads": 1}}'),
        ("models/embedder", "models", bytes(range(256)) * 4096),
        ("firmware/raspberrypi", "firmware", b'{"version": "1.2", "sha256": "..."}'),
    ],
)
def test_models_configuration_and_announcements_come_the_same_way(
    fleet, mosquitto, path, role, content
):
    taker = Taker(path, role)
    with fleet.change() as state:
        state.put(role, path, content)
    fleet.publish(mosquitto.port)
    device = Follower(fleet, mosquitto.port)
    device.trust.follow(role, taker)
    with device:
        device.wait_for_version(1)
        device.wait(lambda: taker.got == [content])
        with fleet.change() as state:
            state.put(role, path, content + b"2")
        fleet.publish(mosquitto.port)
        device.trust._on_change = lambda: None
        for _ in range(2000):
            if taker.got[-1] == content + b"2":
                break
            threading.Event().wait(0.01)
        assert taker.got[-1] == content + b"2"
        intruder = Intruder(mosquitto.port)
        (stored,) = (p for p in fleet.retained() if p.startswith(f"target/{role}/"))
        with fleet.change() as state:
            state.seal_state(force=True)
        intruder.put(stored, b"altered")
        view_errors = []

        def read_again(view):
            try:
                view.read(view.find(path, role))
            except AlterationRefused as error:
                view_errors.append(error)

        device.trust.follow("again", read_again)
        fleet.publish(mosquitto.port)
        for _ in range(2000):
            if view_errors:
                break
            threading.Event().wait(0.01)
        assert view_errors
        intruder.close()


def test_a_role_signs_what_is_its_own_only(fleet):
    with (
        pytest.raises(ConfigError, match="config may not sign 'models/embedder'"),
        fleet.change() as s,
    ):
        s.put("config", "models/embedder", b"x")


def test_a_target_of_another_role_is_not_found(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    found = []

    def look(view):
        found.append(view.find("config/camera-1", "models"))
        found.append(view.find("config/camera-1", "nobody"))

    device = Follower(fleet, mosquitto.port)
    device.trust.follow("look", look)
    with device:
        device.wait_for_version(1)
        device.wait(lambda: len(found) == 2)
    assert found == [None, None]


# --- What a device is given ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda root: root[:-30], FormatError),
        (lambda root: b"", FormatError),
        (lambda root: b'{"a":' * 10**5, FormatError),
        (lambda root: root.replace(b'"version":1', b'"version":2'), SignatureRefused),
    ],
)
def test_a_root_that_is_none_is_refused_at_the_start(fleet, tmp_path, change, error):
    with pytest.raises(error):
        Trust(Link(BrokerConfig(), "x"), ROOT, change(fleet.root), tmp_path / "trust")


def test_a_root_that_cannot_be_read_says_what_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"fleet\.root.*root\.json of the fleet"):
        read_root(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "root.json"])
@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"{"])
def test_damaged_metadata_on_the_disk_is_fetched_again(fleet, mosquitto, name, content):
    fleet.publish(mosquitto.port)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
    (fleet.state() / "trust" / name).write_bytes(content)
    with Follower(fleet, mosquitto.port) as device:
        device.wait_for_version(1)
