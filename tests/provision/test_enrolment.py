"""A request and its answer: whose they are, what is refused, and what a power cut leaves."""

import json
import stat
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, strategies

from edge import limits
from edge.credentials import Credentials, read
from edge.errors import BadInput, ConfigError, KeyRefused, LetheError, SignatureRefused
from edge.files import private_folder
from edge.protocol import certificate, enrolment
from edge.protocol.enrolment import Answer, read_request
from edge.protocol.party import party
from fleet import approval, authority
from fleet.authority import Authority

NOW = 1_790_000_000.0  # September 2026
DAY = 24 * 3600.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ours(tmp_path, clock):
    authority.create(tmp_path / "authority", "authority", None, clock)
    return Authority(tmp_path / "authority", None, clock)


@pytest.fixture
def device(tmp_path):
    return Credentials(private_folder(tmp_path / "state"), "gate-3")


def ca(ours):
    return ours.folder / authority.CA


def answered(ours, request):
    return approval.signed(ours, read_request(request))


def test_one_request_brings_certificate_event_key_and_list_key(ours, device, clock):
    asked = read_request(device.ask())
    found = device.receive(approval.signed(ours, asked), ca(ours), clock())
    device.take_over()
    assert read(device.client) == found
    assert found.subject.rfc4514_string() == "CN=gate-3"
    assert found.not_valid_after_utc.timestamp() == NOW + limits.CERTIFICATE_LIFETIME_S
    keys = ours.book.members["gate-3"].keys
    described = json.loads((device.client.parents[1] / "device.json").read_text())
    assert keys.open == described["open"]
    assert keys.sign.keyval == described["sign"]["keyval"]


def test_keys_are_private_and_the_request_holds_none(device):
    request = device.ask()
    assert b"PRIVATE" not in request
    for file in device.client.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(device.client.parent.stat().st_mode) == 0o700


def test_the_same_request_until_it_is_answered_then_another_key(ours, device, clock):
    first = device.ask()
    assert Credentials(device.client.parents[1], "gate-3").ask() == first
    device.receive(answered(ours, first), ca(ours), clock())
    device.take_over()
    second = device.ask()
    keys = {read_request(each).csr.public_key().public_numbers() for each in (first, second)}
    assert len(keys) == 2


def signed_anew(request, **changes):
    """A request that somebody else has made of another's, signed with a key of their own."""
    document = json.loads(request) | changes
    mine = Ed25519PrivateKey.generate()
    document["device"] = json.loads(json.dumps(document["device"]))
    document["device"]["sign"]["keyval"]["public"] = mine.public_key().public_bytes_raw().hex()
    return json.dumps(enrolment.sign_document(document, typ=enrolment.TYPE, key=mine)).encode()


def test_an_altered_request_is_refused(device):
    request = json.loads(device.ask())
    for field, value in (("proof", "0" * 64), ("csr", request["csr"].replace("A", "B", 1))):
        with pytest.raises(SignatureRefused):
            read_request(json.dumps(request | {field: value}).encode())


def test_another_name_or_kind_of_key_in_the_inner_request_is_refused():
    mine, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    who = party("gate-3", mine.public_key(), X25519PrivateKey.generate().public_key())
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())

    def made(names, key):
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in names])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
        document = json.loads(enrolment.make_request(who, mine, p256, ""))
        document["csr"] = csr.sign(key, hashes.SHA256()).public_bytes(pem).decode()
        return json.dumps(enrolment.sign_document(document, typ=enrolment.TYPE, key=mine)).encode()

    name, unit = x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATIONAL_UNIT_NAME
    assert read_request(made([(name, "gate-3")], p256)).name == "gate-3"
    for names, key, says in (
        ([(name, "fleet")], p256, "not for 'gate-3' alone"),
        ([(name, "gate-3"), (name, "fleet")], p256, "not for 'gate-3' alone"),
        ([(unit, "x"), (name, "gate-3")], p256, "not for 'gate-3' alone"),
        ([], p256, "not for 'gate-3' alone"),
        ([(name, "gate-3")], p384, "no P-256 key"),
    ):
        with pytest.raises(KeyRefused, match=says):
            read_request(made(names, key))


@given(strategies.binary(max_size=200) | strategies.text(max_size=200).map(str.encode))
def test_garbage_is_refused_as_bad_input(content):
    for parse in (read_request, enrolment.read_answer):
        with pytest.raises(BadInput):
            parse(content)


def test_what_is_too_large_is_not_parsed():
    for parse in (read_request, enrolment.read_answer):
        with pytest.raises(BadInput, match="at most"):
            parse(b" " * (limits.MAX_ENROLMENT_BYTES + 1))


def test_a_token_proves_one_request_of_one_device(ours, tmp_path, clock):
    token = ours.invite("gate-3")
    state = private_folder(tmp_path / "state")
    asked = read_request(Credentials(state, "gate-3").ask(token))
    assert approval.decide(ours, asked).verdict == "sign"
    stranger = read_request(signed_anew(Credentials(state, "gate-3").ask()))
    assert approval.decide(ours, stranger).verdict == "wait", "the proof covers the keys"
    approval.signed(ours, asked)
    assert ours.invitation("gate-3") is None, "one time"
    assert enrolment.password(token) not in asked.request.proof


def test_a_token_is_over_after_its_time(ours, device, clock):
    asked = read_request(device.ask(ours.invite("gate-3")))
    clock.now += limits.INVITATION_LIFETIME_S
    assert approval.decide(ours, asked).verdict == "wait"


def test_who_is_unknown_waits_for_a_person_and_who_is_known_is_renewed(ours, device, clock):
    first = read_request(device.ask())
    assert approval.decide(ours, first).verdict == "wait"
    device.receive(approval.signed(ours, first), ca(ours), clock())
    device.take_over()
    again = read_request(device.ask())
    decision = approval.decide(ours, again)
    assert (decision.verdict, decision.renewal) == ("sign", True)
    other = read_request(signed_anew(device.ask()))
    assert approval.decide(ours, other).verdict == "wait"
    assert ours.revoke("gate-3") == 1
    assert approval.decide(ours, again).verdict == "refuse"
    clock.now += 2 * limits.CERTIFICATE_LIFETIME_S
    assert approval.decide(ours, again).verdict == "refuse", "also when all of it is over"


@pytest.mark.parametrize("name", [*authority.ROLES, authority.SERVER])
def test_no_device_gets_the_name_of_a_role(ours, tmp_path, name):
    asked = read_request(Credentials(private_folder(tmp_path / "x"), name).ask())
    assert approval.decide(ours, asked).verdict == "refuse"
    with pytest.raises(ConfigError, match="role"):
        ours.sign_device(asked)
    with pytest.raises(ConfigError, match="role"):
        ours.invite(name)


def test_asked_twice_the_same_certificate_is_given(ours, device):
    asked = read_request(device.ask())
    assert ours.sign_device(asked) == ours.sign_device(asked)
    assert len(ours.book.members["gate-3"].issued) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("other key", "another key"), ("other device", "this device is"),
        ("other authority", "was signed by"), ("server", "not for clients"),
        ("early", "not valid before"), ("over", "ended"), ("refused", "no: gone"),
    ],
)  # fmt: skip
def test_a_certificate_that_is_not_what_was_asked_for_is_refused(
    ours, device, tmp_path, clock, wrong, says
):
    asked, at = read_request(device.ask()), NOW
    pem = ours.sign_device(asked)
    other = Credentials(private_folder(tmp_path / "other"), "gate-4")
    if wrong == "other key":
        pem = ours.sign_device(read_request(other.ask()))
    elif wrong == "other device":
        made = ours._client("gate-4", asked.csr.public_key())
        pem = made.public_bytes(serialization.Encoding.PEM).decode()
    elif wrong == "other authority":
        authority.create(tmp_path / "theirs", "theirs", None, clock)
        pem = Authority(tmp_path / "theirs", None, clock).sign_device(asked)
    elif wrong == "server":
        made = ours._leaf("gate-3", asked.csr.public_key(),
            authority.ExtendedKeyUsageOID.SERVER_AUTH, 10**6, None)  # fmt: skip
        pem = made.public_bytes(serialization.Encoding.PEM).decode()
    elif wrong == "early":
        at -= 2 * limits.CERTIFICATE_BACKDATE_S
    elif wrong == "over":
        at += limits.CERTIFICATE_LIFETIME_S
    refused = "no: gone" if wrong == "refused" else ""
    answer = Answer(device="gate-3", request=asked.digest,
                    certificate="" if refused else pem, refused=refused)  # fmt: skip
    with pytest.raises(BadInput, match=says):
        device.receive(enrolment.encode_answer(answer), ca(ours), at)
    assert not device.next.exists()
    assert device.asked() is not None, "what was asked waits on"


def test_an_answer_to_another_request_is_not_ours(ours, device, clock):
    old = answered(ours, device.ask())
    device.drop()
    device.ask()
    assert device.receive(old, ca(ours), clock()) is None


@pytest.mark.parametrize("at", range(1, 12))
def test_a_power_cut_at_any_step_leaves_a_whole_certificate_and_the_rest_can_be_done(
    ours, tmp_path, clock, monkeypatch, at
):
    """Each change of the disk, the `at`th and all that follow, does not happen."""
    state = private_folder(tmp_path / "state")

    def renew():
        device = Credentials(state, "gate-3")
        device.receive(answered(ours, device.ask()), ca(ours), clock())
        device.take_over()
        return read(device.client)

    first, count = renew(), 0

    class PowerCut(BaseException):
        pass

    def cut(real):
        def change(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= at:
                raise PowerCut
            return real(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", cut(type(state).replace))
        patch.setattr("pathlib.Path.unlink", cut(type(state).unlink))
        try:
            second = renew()
        except PowerCut:
            second = None
    used = read(state / "tls" / "client.pem")
    key = serialization.load_pem_private_key((state / "tls" / "client.pem").read_bytes(), None)
    assert certificate.public_bytes(used.public_key()) == certificate.public_bytes(key.public_key())
    issued = [each.pem for each in ours.book.members["gate-3"].issued]
    assert used.public_bytes(serialization.Encoding.PEM).decode() in issued
    assert second in (None, used)
    assert renew() not in (first, None)


def test_it_is_due_in_the_last_third_at_most_thirty_days_before(ours, device, clock):
    device.receive(answered(ours, device.ask()), ca(ours), clock())
    found = certificate.read(device.next.read_bytes())
    ends = found.not_valid_after_utc.timestamp()
    assert not certificate.is_due(found, ends - 31 * DAY)
    assert certificate.is_due(found, ends - 30 * DAY)
    assert certificate.validity(found, ends - 1) == ""
    assert "ended" in certificate.validity(found, ends)


def test_an_authority_whose_key_is_open_to_others_or_whose_book_is_damaged_does_not_sign(
    ours, clock
):
    (ours.folder / authority.BOOK).write_text("{")
    with pytest.raises(LetheError, match="damaged"):
        Authority(ours.folder, None, clock)
    (ours.folder / authority.CA_KEY).chmod(0o644)
    with pytest.raises(LetheError, match="readable by others"):
        Authority(ours.folder, None, clock)
    with pytest.raises(ConfigError, match="not empty"):
        authority.create(ours.folder, "x", None, clock)


def test_a_passphrase(tmp_path, clock):
    authority.create(tmp_path / "a", "a", b"secret", clock)
    assert b"ENCRYPTED" in (tmp_path / "a" / authority.CA_KEY).read_bytes()
    Authority(tmp_path / "a", b"secret", clock).invite("gate-3")
    for wrong in (None, b"guess"):
        with pytest.raises(ConfigError, match="passphrase"):
            Authority(tmp_path / "a", wrong, clock)


def test_the_list_of_the_revoked_names_who_is_and_is_valid_as_long_as_the_authority(
    ours, device, clock
):
    made = certificate.read(ours.sign_device(read_request(device.ask())).encode())
    ours.revoke("gate-3")
    crl = x509.load_pem_x509_crl((ours.folder / authority.CRL).read_bytes())
    assert [each.serial_number for each in crl] == [made.serial_number]
    assert crl.is_signature_valid(ours.certificate.public_key())
    assert crl.next_update_utc == ours.certificate.not_valid_after_utc
    assert crl.next_update_utc - crl.last_update_utc > timedelta(days=3000)
