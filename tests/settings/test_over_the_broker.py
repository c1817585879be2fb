"""What the broker's operator, or a thief of another key, can try. What is in force always stays."""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Targets

from edge import config, limits
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.link.session import Link
from edge.protocol import configuration as documents
from edge.protocol import topics
from edge.settings import layers
from edge.settings.keeper import Configuration, Reactions
from edge.settings.transport import ConfigurationTransport
from edge.trust.client import Trust
from fleet import configuration as wanted
from fleet import keys, setup
from fleet.repository import COMPACT, Repository
from tests.fleet_kit import ROOT, Fleet, Intruder
from tests.test_config import document
from tests.trust.test_garbage import Shelves, garbage, some

QUIET = {"telemetry": {"period_s": 300}}
DEBUG = {"log_level": "debug"}
TARGET = documents.target("camera-1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "TRUST_RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # power cuts are another test's


class Device:
    """A device as far as its trust and its configuration go."""

    def __init__(self, fleet, link, state=None):
        state = state or fleet.state()
        own = document({"state_dir": str(state)})
        self.settings = Configuration(config.parse(own))
        self.link, self.reports, self.refused = link, [], []
        self.trust = Trust(
            link, ROOT, fleet.root, state / "trust",
            on_refusal=lambda name, reason: self.refused.append((name, reason)),
        )  # fmt: skip
        self.trust.follow("configuration", ConfigurationTransport(self.settings, "camera-1"))
        self.settings.attach(
            Reactions(
                apply=lambda _config: None,
                restart=lambda: None,
                record=lambda _entry: None,
                report=self.reports.append,
            )
        )

    @property
    def said(self):
        return self.reports[-1]


class Following(Device):
    """It follows a real broker."""

    def __init__(self, fleet, port):
        super().__init__(fleet, Link(BrokerConfig(port=port), "lethe-camera-1"))
        self.trust.start()
        self.link.start()

    def wait(self, condition):
        patience = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < patience, (self.trust.reason, self.said)
            time.sleep(0.01)

    def wait_for_version(self, version):
        self.wait(lambda: self.said.version == version and not self.trust.reason)

    def wait_for_reason(self, part):
        self.wait(lambda: part in self.trust.reason)
        assert part in self.said.refused
        assert ("configuration", self.trust.reason) in self.refused

    def close(self):
        self.trust.close()
        self.link.close()


def sign(fleet, settings_, device="camera-1"):
    with fleet.change() as state:
        return wanted.put(state, device, settings_)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path / "fleet")
    sign(fleet, QUIET)
    return fleet


@pytest.fixture
def device(fleet, mosquitto):
    fleet.publish(mosquitto.port)
    device = Following(fleet, mosquitto.port)
    device.wait_for_version(1)
    yield device
    device.close()


@pytest.fixture
def intruder(mosquitto):
    intruder = Intruder(mosquitto.port)
    yield intruder
    intruder.close()


def stays(device):
    assert device.settings.config.telemetry.period_s == 300
    assert device.settings.config.log_level == "info"
    assert device.said.version == 1


def bin_of(fleet, device="camera-1"):
    bins = Repository.existing(fleet.folder).bins(documents.ROLE)
    return bins.get_role_for_target(documents.target(device))


def metadata_path(fleet, role):
    version = Repository.existing(fleet.folder).roles[role].signed.version
    return f"metadata/{version}.{role.replace('/', '%2F')}.json"


def content_path(fleet):
    (path,) = (path for path in fleet.retained() if path.endswith(".camera-1.json"))
    return path


def put_and_announce(fleet, mosquitto, intruder, path, content):
    """Put something else in the place of a file of the newest state."""
    (fleet.folder / "retained" / path).write_bytes(content)
    fleet.publish(mosquitto.port, everything=True)


def test_what_is_signed_comes_and_only_to_its_device(fleet, device, mosquitto):
    sign(fleet, DEBUG, "camera-2")
    sign(fleet, QUIET | DEBUG)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    assert device.settings.config.log_level == "debug"


def test_altered_content_is_refused(fleet, device, mosquitto, intruder):
    sign(fleet, DEBUG)
    path = content_path(fleet)
    altered = fleet.retained()[path].replace(b"debug", b"error")
    put_and_announce(fleet, mosquitto, intruder, path, altered)
    device.wait_for_reason("does not match expected hash")
    stays(device)


def test_an_oversize_document_is_not_fetched(fleet, device, mosquitto):
    with fleet.change() as state:
        state.put(documents.ROLE, TARGET, b" " * (limits.MAX_DESIRED_BYTES + 1))
    fleet.publish(mosquitto.port)
    device.wait_for_reason("at most 16384 are read")
    stays(device)


def test_the_whole_older_state_does_not_return(fleet, device, mosquitto, intruder):
    before = fleet.retained()
    sign(fleet, DEBUG)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    for path, content in before.items():
        if path != topics.TIMESTAMP:
            intruder.put(path, content)
    intruder.put(topics.TIMESTAMP, before[topics.TIMESTAMP])
    device.wait(lambda: "New timestamp version" in device.trust.reason)
    assert device.said.version == 2


def test_an_older_version_signed_anew_is_refused(fleet, device, mosquitto):
    """Who holds the operator's key cannot hand out what was replaced as if it were new."""
    sign(fleet, DEBUG)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)
    old = documents.Desired(device="camera-1", version=1, issued=1, settings=QUIET)
    with fleet.change() as state:
        state.put(documents.ROLE, TARGET, documents.encode(old))
    fleet.publish(mosquitto.port)
    device.wait_for_reason("version 1 is older than 2")
    assert device.said.version == 2


def test_another_devices_document_is_refused(fleet, device, mosquitto):
    sign(fleet, DEBUG, "camera-2")
    foreign = wanted.read(Repository.existing(fleet.folder), "camera-2")
    with fleet.change() as state:
        state.put(documents.ROLE, TARGET, documents.encode(foreign))
    fleet.publish(mosquitto.port)
    device.wait_for_reason("made for device 'camera-2'")
    stays(device)


def test_the_top_level_role_cannot_sign_one(fleet, device, mosquitto):
    with fleet.change() as state:
        state.put(Targets.type, TARGET, b"{}")
    fleet.publish(mosquitto.port)
    device.wait_for_reason("signed by the top-level role")
    stays(device)


def test_another_role_cannot_sign_one(fleet):
    with pytest.raises(ConfigError, match="models may not sign"), fleet.change() as state:
        state.put("models", TARGET, b"{}")


def test_another_roles_key_cannot_sign_one(fleet, device, mosquitto, intruder):
    """The vendor's key is one of the fleet's, and not the operator's."""
    sign(fleet, DEBUG)
    role = bin_of(fleet)
    path = metadata_path(fleet, role)
    md = Metadata.from_bytes(fleet.retained()[path])
    vendor, _ = Repository.existing(fleet.folder).delegation("models")
    md.signatures.clear()
    md.sign(keys.Keyring(fleet.folder / "keys").signers(vendor.keyids)[0])
    put_and_announce(fleet, mosquitto, intruder, path, md.to_bytes(COMPACT))
    device.wait_for_reason(f"{role} was signed by 0/1 keys")
    stays(device)


def test_what_is_signed_of_others_does_not_pass_for_what_is_signed_of_this(
    fleet, device, mosquitto, intruder
):
    """One key signs every bin: that there is nothing in another one is not said of this."""
    sign(fleet, DEBUG)
    role = bin_of(fleet)
    path = metadata_path(fleet, role)
    repository = Repository.existing(fleet.folder)
    version = repository.roles[role].signed.version
    empty = next(name for name in repository.bins(documents.ROLE).get_roles() if name != role)
    while repository.roles[empty].signed.version < version:
        with repository.edit_targets(empty):
            pass
    other = repository.roles[empty].to_bytes(COMPACT)
    put_and_announce(fleet, mosquitto, intruder, path, other)
    device.wait_for_reason(f"this was signed as '{empty}'")
    stays(device)


def test_the_operators_key_is_replaced(fleet, device, mosquitto):
    with fleet.change() as state:
        key = keys.make_key(fleet.folder / "keys" / "config-2", None)
        state.reload_keys()
        stale = setup.replace_key(state, documents.ROLE, _config_key(state), key)
    assert stale == [documents.ROLE]
    fleet.publish(mosquitto.port)
    device.wait_for_reason("config was signed by 0/1 keys")
    stays(device)
    sign(fleet, QUIET | DEBUG)
    fleet.publish(mosquitto.port)
    device.wait_for_version(2)


def _config_key(state):
    (keyid,) = state.delegation(documents.ROLE)[0].keyids
    return keyid


def test_what_the_fleet_takes_back_is_the_files_again(fleet, device, mosquitto):
    with fleet.change() as state:
        state.put(documents.ROLE, TARGET, None)
    fleet.publish(mosquitto.port)
    device.wait_for_version(0)
    assert device.settings.config.telemetry.period_s == 60


def test_a_device_fetches_what_is_signed_of_few(tmp_path, monkeypatch):
    """The metadata of 1,000 devices' configurations, and what one of them fetches of it."""
    fleet = Fleet(tmp_path / "fleet")
    with fleet.change() as state:
        for number in range(1000):
            wanted.put(state, f"gate-{number:04d}", QUIET)
    path = metadata_path(fleet, bin_of(fleet, "gate-0007"))
    retained = fleet.retained()
    largest = max(len(c) for p, c in retained.items() if "config%2Fbin-" in p)
    snapshot = next(len(c) for p, c in retained.items() if p.endswith(".snapshot.json"))
    assert len(retained[path]) <= largest < 4096
    assert snapshot < 4096
    assert len(retained[metadata_path(fleet, documents.ROLE)]) < 1024


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_garbage_in_the_target_and_around_it(fleet, monkeypatch, data):
    """Signed or not: refused in words, or it is what was in force."""
    monkeypatch.setattr(limits, "FETCH_S", 0.001)
    retained = fleet.retained()
    device = Device(fleet, Shelves(retained), fleet.base / os.urandom(8).hex())
    if data.draw(st.booleans()):  # signed: the operator's key makes nonsense
        content = data.draw(garbage | st.builds(_document, garbage))
        repository = Repository.existing(fleet.folder)
        repository.put(documents.ROLE, TARGET, content)
        repository.seal_state()
        for path in repository.paths():
            device.link.retained[topics.trust(ROOT, path)] = repository.content(path)
    else:
        paths = [p for p in device.link.retained if "config" in p]
        device.link.retained[some(paths, data.draw(st.integers(0, 10**6)))] = data.draw(garbage)
    device.link.announce()
    done = device.trust._synchronise()
    assert done == (not device.trust.reason)
    assert "unexpected" not in device.trust.reason
    said = {0: {}, 1: QUIET, 7: {}}[device.said.version]  # 7: with no settings in it
    assert device.settings.config == layers.merged(config.parse(document(
        {"state_dir": device.settings.config.device.state_dir})), said)  # fmt: skip


def _document(content):
    """A document of the right form, with anything for its settings."""
    head = b'{"schema":1,"device":"camera-1","version":7,"issued":1,"settings":'
    return head + content + b"}"
