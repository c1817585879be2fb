"""Enrolment and renewal at a real mosquitto with the configuration that ships."""

import gc
import shutil
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes

from edge import limits
from edge.config import parse
from edge.credentials import Credentials, read
from edge.errors import BrokerUnavailable, ConfigError, KeyRefused
from edge.files import private_folder
from edge.health import certificate as examination
from edge.link.enrolment import Renewal
from edge.link.session import Link
from edge.protocol import audit, topics
from edge.protocol.enrolment import read_request
from edge.provision import enrol as enrolling
from edge.provision.document import EnrolConfig
from fleet import approval, authority, enrolments, setup
from fleet.authority import Authority
from fleet.repository import Repository
from tests.brokers import Shipped
from tests.fleet_kit import ROOT
from tests.link.test_deployment import session
from tests.link.test_session import until

DAY = 24 * 3600.0
ME = "camera-1"
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _sockets_of_refused_handshakes():
    """paho leaves them to the garbage collector: here, and not in the test after this one."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(limits, "MQTT_RETRY_FIRST_S", 0.1)
    monkeypatch.setattr(limits, "MQTT_RETRY_MAX_S", 0.2)
    monkeypatch.setattr(limits, "ENROL_LOOK_S", 0.05)


@pytest.fixture
def deployed(mosquitto_folder):
    server = Shipped(mosquitto_folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def device(deployed, tmp_path):
    """A device that has just been given its configuration."""
    state = private_folder(tmp_path / "state")
    credentials = Credentials(state, ME)
    config = parse(
        {
            "device": {"id": ME, "state_dir": str(state)},
            "camera": {"source": "clip.mp4"},
            "watchlist": {"id": "gate"},
            "fleet": {"root": "root.json"},
            "broker": {
                "port": deployed.port,
                "ca_file": str(deployed.folder / "ca.pem"),
                "cert_file": str(credentials.client),
            },
        }
    )
    return SimpleNamespace(state=state, credentials=credentials, config=config)


def invite(deployed, device):
    token = deployed.authority.invite(ME)
    deployed.take_along()
    deployed.kill()
    deployed.start()
    enrolling.expect(device.state, EnrolConfig(token=token, port=deployed.enrol_port))


def enrol(device, stop=None):
    return enrolling.enrol(
        device.config, device.credentials, now=time.time, say=lambda _: None,
        stop=stop or threading.Event(),
    )  # fmt: skip


@contextmanager
def desk(deployed, *, register=lambda *_: None, decisions=None):
    """The operator's side, as `authority serve` does it."""
    link = session(deployed.config("authority"), "authority")
    serving = enrolments.Desk(
        link, ROOT, lambda: Authority(deployed.authority.folder, None, time.time),
        deployed.authority.folder, register,
    )  # fmt: skip

    def serve():
        for asked in serving.requests():
            decision = serving.serve(asked)
            if decisions is not None:
                decisions.append((asked, decision))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield serving
    finally:
        serving.close()
        thread.join()
        link.close()


def test_a_device_with_a_token_enrols_itself_and_its_fleet_knows_it(deployed, device, tmp_path):
    fleet = setup.found(tmp_path / "fleet")
    invite(deployed, device)

    def register(asked, renewal):
        enrolments.register(fleet, None, asked, renewal)

    with desk(deployed, register=register):
        assert enrol(device)
    session(device.config.broker, ME).close()
    assert enrolling.expected(device.state) is None
    assert (deployed.authority.folder / authority.PASSWORDS).read_bytes() == b"", "used up"
    known = setup.read_devices(Repository.existing(fleet))
    book = Authority(deployed.authority.folder, None, time.time).book
    assert known[ME] == book.members[ME].keys


def test_a_device_that_nobody_expects_waits_until_a_person_has_compared(deployed, device):
    invite(deployed, device)
    deployed.authority._save(invitations={})  # the token is over; the broker's password is not
    decisions, stop = [], threading.Event()
    with desk(deployed, decisions=decisions) as serving:
        waiting = threading.Thread(target=enrol, args=(device, stop))
        waiting.start()
        until(lambda: decisions)
        asked, decision = decisions[0]
        assert decision.verdict == "wait"
        assert asked.fingerprint == read_request(device.credentials.asked()).fingerprint
        assert not device.credentials.client.exists()
        serving.answer(asked, approval.signed(deployed.authority, asked))
        waiting.join(60)
    assert not waiting.is_alive()
    session(device.config.broker, ME).close()


def test_whoever_is_refused_is_told_why_and_the_token_stays(deployed, device):
    invite(deployed, device)
    with desk(deployed, register=_refuse), pytest.raises(KeyRefused, match="not today"):
        enrol(device)
    assert enrolling.expected(device.state) is not None
    assert not device.credentials.client.exists()


def test_without_an_answer_the_waiting_ends_and_the_request_lies_at_the_broker(deployed, device):
    invite(deployed, device)
    assert not enrolling.enrol(
        device.config, device.credentials, now=time.time, say=lambda _: None,
        stop=threading.Event(), wait_s=1.0,
    )  # fmt: skip
    assert enrolling.expected(device.state) is not None
    with desk(deployed):
        assert enrol(device)


def _refuse(_asked, _renewal):
    raise KeyRefused("not today")


def test_without_a_token_it_says_how_else(device):
    with pytest.raises(ConfigError, match="provision request"):
        enrol(device)


def aged(deployed, device, days):
    """Give the device a certificate that was signed so many days ago."""
    then = time.time() - days * DAY
    signer = Authority(deployed.authority.folder, None, lambda: then)
    request = read_request(device.credentials.ask())
    ca = deployed.authority.folder / authority.CA
    device.credentials.receive(approval.signed(signer, request), ca, then)
    device.credentials.take_over()
    return read(device.credentials.client)


def revoke_first(deployed):
    """Have the broker refuse the oldest certificate of the device, and no other."""
    signer = deployed.authority
    member = signer.book.members[ME]
    first = msgspec.structs.replace(member.issued[0], revoked=int(time.time()))
    member = msgspec.structs.replace(member, issued=(first, *member.issued[1:]))
    signer._save(members={**signer.book.members, ME: member})
    signer.write_crl()
    deployed.take_along()


@contextmanager
def renewing(device, now=time.time):
    link = session(device.config.broker, ME)
    try:
        device.recorded = []
        yield link, Renewal(
            device.credentials, link, device.config.broker, ME,
            now=now, note=device.recorded.append,
        )  # fmt: skip
    finally:
        link.close()


def test_a_certificate_is_renewed_over_the_session_that_it_opened(deployed, device):
    old = aged(deployed, device, 65)
    with renewing(device) as (link, renewal):
        connections = []
        link.on_connected(lambda: connections.append(1))
        renewal.look()
        assert "a new one was asked for" in renewal.reason
        assert read(device.credentials.client) == old, "in use until the new one is proven"
        with desk(deployed):
            until(lambda: renewal.look() or not renewal.reason)
        new = read(device.credentials.client)
        assert new.public_key() != old.public_key()
        assert renewal.ends - time.time() > 89 * DAY
        (recorded,) = device.recorded
        assert recorded == audit.Renewed(
            sha256=new.fingerprint(hashes.SHA256()).hex(), until=int(renewal.ends)
        )
        assert not connections, "no session was interrupted for it"
        revoke_first(deployed)
        deployed.kill()
        deployed.start()
        until(lambda: connections)  # with the new one: the old one is refused
    assert sorted(file.name for file in device.credentials.client.parent.iterdir()) == [
        "client.pem"
    ]


def test_days_before_it_is_due_nothing_is_said_or_asked(deployed, device):
    made = aged(deployed, device, 1)
    ends = made.not_valid_after_utc.timestamp()
    clock = SimpleNamespace(now=ends - 31 * DAY)
    with renewing(device, now=lambda: clock.now) as (_, renewal):
        renewal.look()
        assert (renewal.reason, device.credentials.asked()) == ("", None)
        clock.now = ends - 29 * DAY
        renewal.look()
        assert "ends" in renewal.reason
        assert device.credentials.asked() is not None
        clock.now = ends + DAY
        renewal.look()
        assert renewal.reason


def test_a_revoked_device_is_not_renewed_and_says_why(deployed, device):
    old = aged(deployed, device, 65)
    deployed.authority.revoke(ME)  # and the broker has not been told yet
    with renewing(device) as (_, renewal):
        renewal.look()
        with desk(deployed):
            until(lambda: renewal.look() or "was revoked" in renewal.reason)
    assert read(device.credentials.client) == old


def test_a_device_that_its_fleet_removed_is_not_renewed(deployed, device, tmp_path):
    aged(deployed, device, 65)
    fleet = setup.found(tmp_path / "fleet")

    def register(asked, renewal):
        enrolments.register(fleet, None, asked, renewal)

    with renewing(device) as (_, renewal):
        renewal.look()
        with desk(deployed, register=register):
            until(lambda: renewal.look() or "no part of the fleet" in renewal.reason)


def test_what_the_broker_does_not_take_is_not_taken_over(deployed, device, tmp_path, monkeypatch):
    old = aged(deployed, device, 65)
    both = tmp_path / "both.pem"
    authority.create(tmp_path / "next", "next", None, time.time)
    both.write_bytes(
        (deployed.folder / "ca.pem").read_bytes() + (tmp_path / "next" / authority.CA).read_bytes()
    )
    broker = msgspec.structs.replace(device.config.broker, ca_file=str(both))
    monkeypatch.setattr(limits, "RENEWAL_TRY_S", 0.5)
    link = session(broker, ME)
    renewal = Renewal(device.credentials, link, broker, ME, now=time.time)
    renewal.look()
    asked = read_request(device.credentials.asked())
    answer = approval.signed(Authority(tmp_path / "next", None, time.time), asked)
    operator = session(deployed.config("authority"), "authority")
    operator.publish(topics.enrol_answer(ROOT, ME), answer, retain=True)
    until(lambda: renewal.look() or "does not take the new one" in renewal.reason)
    assert read(device.credentials.client) == old
    assert link.publish(topics.status(ROOT, ME), b"{}"), "the old session lives"
    for each in (link, operator):
        each.close()


def test_a_certificate_of_ones_own_authority_is_only_warned_about(deployed, device, tmp_path):
    aged(deployed, device, 65)
    elsewhere = tmp_path / "elsewhere.pem"
    shutil.copy(device.credentials.client, elsewhere)
    broker = msgspec.structs.replace(device.config.broker, cert_file=str(elsewhere))
    link = Link(broker, ME)
    renewal = Renewal(device.credentials, link, broker, ME, now=time.time)
    renewal.look()
    assert f"renew {elsewhere}" in renewal.reason
    assert device.credentials.asked() is None


def test_enrolled_but_the_broker_takes_no_session(deployed, device, monkeypatch):
    invite(deployed, device)
    monkeypatch.setattr(limits, "RENEWAL_TRY_S", 0.3)
    wrong = msgspec.structs.replace(device.config.broker, port=deployed.enrol_port)
    device.config = msgspec.structs.replace(device.config, broker=wrong)
    with desk(deployed), pytest.raises(BrokerUnavailable, match="takes no session"):
        enrol(device)
    assert enrolling.expected(device.state) is not None, "tried again later"


def findings(device, now=None, **changes):
    config = msgspec.structs.replace(
        device.config, broker=msgspec.structs.replace(device.config.broker, **changes)
    )
    return examination.check_certificate(config, now or time.time()), config


def test_what_the_doctor_says_of_the_certificate(deployed, device, tmp_path):
    assert "cannot be read" in findings(device)[0].says
    made = aged(deployed, device, 1)
    ends = made.not_valid_after_utc.timestamp()
    authority.create(tmp_path / "other", "other", None, time.time)
    for now, changes, state, says in (
        (None, {}, "ok", "CN=camera-1, until"),
        (ends - 10 * DAY, {}, "note", "soon"),
        (ends + 1, {}, "problem", "ended"),
        (ends - 100 * DAY, {}, "problem", "is the clock right?"),
        (None, {"ca_file": str(tmp_path / "other" / authority.CA)}, "problem", "was signed by"),
        (None, {"ca_file": None}, "note", "no TLS"),
        (None, {"cert_file": None}, "note", "no certificate"),
    ):
        finding, _ = findings(device, now, **changes)
        assert (finding.state, says in finding.says) == (state, True), finding
    device.credentials.client.chmod(0o644)
    assert "readable by others" in findings(device)[0].says


def test_the_doctor_says_that_the_broker_refuses_a_revoked_certificate(
    deployed, device, monkeypatch
):
    aged(deployed, device, 1)
    deployed.authority.revoke(ME)
    deployed.take_along()
    deployed.kill()
    deployed.start()
    monkeypatch.setattr(limits, "DOCTOR_ALERT_S", 60.0)  # ends when the alert is there
    finding = examination.check_broker_tls(device.config)
    assert (finding.state, "certificate revoked" in finding.says) == ("problem", True), finding


def test_what_the_doctor_says_of_the_brokers_certificate(deployed, device, tmp_path):
    aged(deployed, device, 1)
    authority.create(tmp_path / "other", "other", None, time.time)
    for changes, state, says in (
        ({}, "ok", "is who it says, TLSv1.3"),
        ({"host": "localhost"}, "problem", "ostname mismatch"),
        ({"ca_file": str(tmp_path / "other" / authority.CA)}, "problem", "certificate"),
        ({"port": deployed.open_port}, "problem", "no TLS"),
    ):
        _, config = findings(device, **changes)
        finding = examination.check_broker_tls(config)
        assert (finding.state, says in finding.says) == (state, True), finding
