"""The one file: what is taken, what is refused and how it is said, what a power cut leaves."""

import errno
import json
import os
import re
import stat
import tempfile
import time
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, strategies

from edge import config, files, limits
from edge import credentials as credentials_module
from edge.credentials import Credentials
from edge.errors import ConfigError, StorageUnavailable
from edge.files import private_folder
from edge.protocol.enrolment import read_request
from edge.provision import boot, document, enrol, network
from edge.provision.document import Refused, parse
from edge.provision.network import NetworkConfig
from fleet import approval, authority, invitation, setup
from fleet.authority import Authority

TEMPLATE = """
[camera]
source = "/dev/video0"
[watchlist]
id = "gate"
[broker]
host = "broker.example"
[network]
kind = "wifi"
ssid = "Yard 4"
passphrase = "correct horse"
ntp = ["time.example"]
"""


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """An authority and a fleet."""
    folder = tmp_path_factory.mktemp("operator")
    authority.create(folder / "authority", "authority", None, time.time)
    setup.found(folder / "fleet")
    return folder


def ours(operator):
    return Authority(operator / "authority", None, time.time)


@pytest.fixture
def given_file(operator, tmp_path):
    """What `authority invite` writes for gate-3."""
    template = tmp_path / "site.toml"
    template.write_text(TEMPLATE)
    return invitation.complete(
        template, "gate-3", operator / "fleet" / "root.json",
        operator / "authority" / authority.CA, ours(operator).invite,
    )  # fmt: skip


def test_a_template_with_a_number_that_no_program_reads_is_refused_in_words(operator, tmp_path):
    template = tmp_path / "site.toml"
    template.write_text(TEMPLATE + "\nport = " + "1" * 5000)
    with pytest.raises(ConfigError, match=r"site\.toml: not TOML: .*4300"):
        invitation.complete(
            template, "gate-3", operator / "fleet" / "root.json",
            operator / "authority" / authority.CA, ours(operator).invite,
        )  # fmt: skip


@pytest.fixture
def places(tmp_path):
    for name in ("boot", "config", "root"):
        (tmp_path / name).mkdir()
    return boot.Places(
        boot=tmp_path / "boot", config=tmp_path / "config",
        state=private_folder(tmp_path / "state"), root=tmp_path / "root",
    )  # fmt: skip


def started(places):
    """What a start reports; the same lies on the card."""
    made = boot.boot(places, now=time.time)
    assert json.loads((places.boot / boot.REPORT_JSON).read_bytes())["state"] == made.state
    return made, (places.boot / boot.REPORT).read_text("utf-8")


def test_the_file_is_taken_keys_are_made_and_secrets_leave_the_card(places, given_file, operator):
    (places.boot / "LETHE.TOML").write_bytes(given_file)  # FAT has no case
    made, text = started(places)
    assert made.state == "waiting"
    assert not (places.boot / "LETHE.TOML").exists()
    secrets = [tomllib.loads(given_file.decode())["enrol"]["token"], "correct horse"]
    for file in places.boot.iterdir():
        assert not any(secret.encode() in file.read_bytes() for secret in secrets)
        assert b"PRIVATE" not in file.read_bytes()
    asked = read_request((places.boot / boot.REQUEST).read_bytes())
    assert asked.fingerprint in text
    assert approval.decide(ours(operator), asked).verdict == "sign"
    assert b"CERTIFICATE REQUEST" in (places.boot / boot.CSR).read_bytes()
    settings = config.load(places.config / "lethe.toml")
    assert settings.device.id == "gate-3"
    assert settings.broker.port == 8883
    assert (
        Path(settings.fleet.root).read_bytes().strip()
        == (operator / "fleet" / "root.json").read_bytes().strip()
    )
    for secret in (places.config / boot.NETWORK, places.state / enrol.PENDING):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert all(len(line) <= 78 for line in text.splitlines())


def test_the_network_is_laid_out_at_each_boot(places, given_file):
    (places.boot / "lethe.toml").write_bytes(given_file)
    made, _ = started(places)
    assert any("no software for it" in note for note in made.notes)
    psk = places.root / "var/lib/iwd/Yard 4.psk"
    for _ in range(2):
        assert "Type=wlan" in (places.root / network.NETWORK).read_text()
        assert psk.read_text() == "[Security]\nPassphrase=correct horse\n"
        assert stat.S_IMODE(psk.stat().st_mode) == 0o600
        assert "NTP=time.example" in (places.root / network.NTP).read_text()
        psk.unlink()  # /var is in memory
        started(places)


def test_without_a_token_the_answer_is_brought_by_hand(places, given_file, operator):
    plain = tomllib.loads(given_file.decode())
    del plain["enrol"]
    (places.boot / "lethe.toml").write_bytes(tomli_w.dumps(plain).encode())
    made, text = started(places)
    assert made.state == "by hand"
    assert "lethe-answer.json" in text
    asked = read_request((places.boot / boot.REQUEST).read_bytes())
    (places.boot / boot.ANSWER).write_bytes(approval.signed(ours(operator), asked))
    made, text = started(places)
    assert made.state == "enrolled"
    assert re.search(r"certificate +until 20\d\d-", text)
    assert Credentials(places.state, "gate-3").client.exists()
    assert {file.name for file in places.boot.iterdir()} == {boot.REPORT, boot.REPORT_JSON}


def test_a_second_file_changes_the_configuration_and_keeps_the_device(places, given_file, operator):
    (places.boot / "lethe.toml").write_bytes(given_file)
    started(places)
    credentials = Credentials(places.state, "gate-3")
    answer = approval.signed(ours(operator), read_request(credentials.asked()))
    credentials.receive(answer, places.config / "ca.pem", time.time())
    credentials.take_over()
    enrol.forget(places.state)
    before = credentials.client.read_bytes()
    changed = given_file.replace(b"/dev/video0", b"/dev/video2")
    (places.boot / "lethe.toml").write_bytes(changed)
    assert started(places)[0].state == "enrolled"
    assert config.load(places.config / "lethe.toml").camera.source == "/dev/video2"
    assert credentials.client.read_bytes() == before
    other = given_file.replace(b'id = "gate-3"', b'id = "gate-9"')
    (places.boot / "lethe.toml").write_bytes(other)
    assert started(places)[0].state == "waiting", "another name needs another certificate"
    assert not credentials.client.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "wifi"', 'kind = "wi-fi"'), r"line \d+: network.kind: Invalid enum value"),
        (('id = "gate"', 'id = "the gate"'), r"line \d+: watchlist.id: .* 1 to 64 letters"),
        (('host = "broker.example"', "host = 7"), r"line \d+: broker.host: Expected `str`"),
        (("[camera]", "[kamera]"), r"line \d+: kamera: there is no such section"),
        (("[camera]\nsource", "[camera]\nsauce"), r"line \d+: camera.sauce: .*unknown field"),
        (('source = "/dev/video0"', "source = "), r"line \d+: Invalid value \(column \d+\)"),
        (('passphrase = "correct horse"', 'passphrase = "short"'), r"line \d+: network.passphrase"),
        (('ssid = "Yard 4"', ""), r"line \d+: network.ssid: missing"),
        (("[watchlist]", "[broker.x]\n[watchlist]"), r"broker"),
        (("-----BEGIN CERTIFICATE", "-----BEGIN CERTAINTY"), r"line \d+: broker.ca_pem: not a PEM"),
        (
            (r"\"_type\":\"root\"", r"\"_type\":\"soot\""),
            r"line \d+: fleet.root_json: not a fleet's",
        ),
        (
            ("[fleet]", '[fleet]\nroot = "root.json"'),
            r"line \d+: fleet.root: not in this file: put",
        ),
        (("[device]", '[device]\nprofile = "body-worn"'), r"line \d+: device.indicator"),
    ],
)
def test_a_wrong_file_says_where_and_what_and_changes_nothing(places, given_file, change, says):
    assert change[0].encode() in given_file
    wrong = given_file.replace(change[0].encode(), change[1].encode(), 1)
    (places.boot / "lethe.toml").write_bytes(wrong)
    made, text = started(places)
    assert made.state == "refused"
    assert any(re.search(says, problem) for problem in made.problems), made.problems
    assert "REFUSED" in text
    if found := re.match(r"line (\d+)", made.problems[0]):
        assert 1 <= int(found[1]) <= len(wrong.splitlines())
    assert (places.boot / "lethe.toml").read_bytes() == wrong, "to be corrected"
    assert not list(places.config.iterdir())
    assert not list(places.state.iterdir())
    (places.boot / "lethe.toml").write_bytes(given_file)
    assert started(places)[0].state == "waiting"


def test_every_mistake_is_told_at_once(given_file):
    wrong = given_file.replace(b"/dev/video0", b"").replace(b'"wifi"', b'"wi-fi"')
    with pytest.raises(Refused) as refused:
        parse(wrong.replace(b'id = "gate"', b'id = ""'))
    assert {each.field for each in refused.value.problems} == {
        "camera.source", "network.kind", "watchlist.id",
    }  # fmt: skip


def test_a_wrong_file_leaves_a_device_that_runs_as_it_is(places, given_file):
    (places.boot / "lethe.toml").write_bytes(given_file)
    started(places)
    before = {path.name: path.read_bytes() for path in places.config.iterdir()}
    (places.boot / "lethe.toml").write_bytes(b"[")
    assert started(places)[0].state == "refused"
    assert {path.name: path.read_bytes() for path in places.config.iterdir()} == before


@pytest.mark.parametrize("name", ["lethe.toml.txt", "Lethe.txt"])
def test_a_name_that_is_almost_right_is_said(places, name):
    (places.boot / name).write_bytes(b"")
    assert f"it must be called {boot.FILE}" in started(places)[0].problems[0]


def test_nothing_there_is_no_mistake(places):
    assert started(places)[0].state == "no file"


def test_as_windows_saves_it(places, given_file):
    windows = b"\xef\xbb\xbf" + given_file.replace(b"\n", b"\r\n")
    (places.boot / "lethe.toml").write_bytes(windows)
    assert started(places)[0].state == "waiting"


@given(strategies.binary(max_size=300))
def test_garbage_is_refused_with_reasons(content):
    with pytest.raises(Refused) as refused:
        parse(content)
    assert refused.value.problems


def test_a_number_that_no_program_reads_is_said_and_the_network_is_laid_out(places, given_file):
    (places.boot / boot.FILE).write_bytes(given_file)
    started(places)
    (places.root / network.NTP).unlink()
    (places.boot / boot.FILE).write_bytes(given_file + b"\nheight = " + b"1" * 5000)
    made, _ = started(places)
    assert made.state == "refused"
    assert "4300 digits" in made.problems[0]
    assert (places.root / network.NTP).exists()


OWNER, GROUPS = 12_345, os.getgroups()
"""Stands for the device's own user: any that is not root."""


@pytest.fixture
def owned(places, given_file):
    """Places whose state lies in a folder of the device's own user, as on a device."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    # Python imports some modules when they are first needed, maybe from where root alone reads.
    (places.boot / boot.FILE).write_bytes(given_file)
    assert started(places)[0].state == "waiting"
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        base.chmod(0o755)
        for name in ("boot", "config", "root", "lethe", "roots"):
            (base / name).mkdir(mode=0o755)
        (base / "roots").chmod(0o700)
        os.chown(base / "lethe", OWNER, OWNER)
        os.chown(base / "config", 0, OWNER)
        yield boot.Places(
            boot=base / "boot", config=base / "config", state=base / "lethe/state",
            root=base / "root",
        )  # fmt: skip


def owners(folder):
    return {path.lstat().st_uid for path in folder.rglob("*")}


def test_what_root_makes_in_the_state_is_the_devices_own_users(owned, given_file):
    (owned.boot / boot.FILE).write_bytes(given_file)
    made, _ = started(owned)
    assert made.state == "waiting", made.problems
    assert owners(owned.state.parent) == {OWNER}
    assert owners(owned.config) == {0}
    assert os.geteuid() == os.getegid() == 0
    assert os.getgroups() == GROUPS


@pytest.mark.parametrize("name", ["", "tls", "tls/request.json", "device.key"])
def test_roots_part_is_not_led_out_of_the_state(owned, given_file, name):
    """The device's own user can put a link there; what they may not touch stays as it is."""
    (owned.boot / boot.FILE).write_bytes(given_file)
    assert started(owned)[0].state == "waiting"
    elsewhere = owned.state.parent.parent / "roots/elsewhere"
    link = owned.state / name if name else owned.state
    link.rename(elsewhere)
    os.chown(elsewhere, 0, 0)
    link.symlink_to(elsewhere)
    os.chown(link, OWNER, OWNER, follow_symlinks=False)
    (owned.boot / boot.FILE).write_bytes(given_file)

    def held():
        return {
            path: (path.lstat().st_uid, path.is_file() and path.read_bytes())
            for path in elsewhere.parent.rglob("*")
        }

    before = held()
    made, _ = started(owned)
    assert held() == before
    assert made.state == "failed"
    assert os.geteuid() == 0


def test_a_link_that_is_put_there_between_two_steps_leads_nowhere(owned, given_file, monkeypatch):
    """No look beforehand could cover this: the folder of keys is exchanged while it is used."""
    (owned.boot / boot.FILE).write_bytes(given_file)
    elsewhere = owned.state.parent.parent / "roots"
    make = files.write_atomically

    def exchanged(path, content, **more):
        if path.parent.name == "tls" and not path.parent.is_symlink():
            path.parent.rmdir()
            path.parent.symlink_to(elsewhere)
        make(path, content, **more)

    monkeypatch.setattr(credentials_module, "write_atomically", exchanged)
    made, _ = started(owned)
    assert made.state == "failed"
    assert "Permission denied" in made.problems[0]
    assert not list(elsewhere.iterdir())


def test_root_that_may_not_become_the_devices_user_writes_nothing(owned, given_file, monkeypatch):
    def refused(_user):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (owned.boot / boot.FILE).write_bytes(given_file)
    with monkeypatch.context() as patch:
        patch.setattr(os, "seteuid", lambda user: refused(user) if user else None)
        made, _ = started(owned)
    assert made.state == "failed"
    assert "may not act as user 12345" in made.problems[0]
    assert not owned.state.exists()


def test_what_is_too_large_is_not_parsed():
    with pytest.raises(Refused, match="at most"):
        parse(b"#" * (limits.MAX_CONFIG_BYTES + 1))


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("at", range(1, 30))
def test_a_power_cut_at_any_step_loses_nothing(places, given_file, monkeypatch, at):
    """Each change of a file's name, the `at`th and all that follow, does not happen."""
    (places.boot / "lethe.toml").write_bytes(given_file)
    count = 0

    def cut(real):
        def change(*args, **kwargs):
            nonlocal count
            count += 1
            if count >= at:
                raise PowerCut
            return real(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut(Path.replace))
        patch.setattr(Path, "unlink", cut(Path.unlink))
        try:
            started(places)
        except PowerCut:
            if (places.config / "lethe.toml").exists():
                config.load(places.config / "lethe.toml")
    made, _ = started(places)
    assert made.state == "waiting"
    assert not (places.boot / "lethe.toml").exists()
    assert enrol.expected(places.state) is not None
    assert config.load(places.config / "lethe.toml").device.id == "gate-3"


def test_a_card_that_cannot_be_written_is_said(places, given_file, monkeypatch):
    (places.boot / "lethe.toml").write_bytes(given_file)

    def locked(_file):
        raise StorageUnavailable("lethe.toml: taken, but it cannot be wiped")

    monkeypatch.setattr(boot, "wipe", locked)
    made, _ = started(places)
    assert made.state == "failed"
    assert "cannot be wiped" in made.problems[0]


def test_wiping_overwrites_where_it_lies(tmp_path):
    file, linked = tmp_path / "secret", tmp_path / "linked"
    file.write_bytes(b"secret" * 1000)
    linked.hardlink_to(file)  # sees what happens to the blocks' owner
    boot.wipe(file)
    assert not file.exists()
    assert linked.read_bytes() == b""
    with pytest.raises(StorageUnavailable, match="cannot be wiped"):
        boot.wipe(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"address": "192.0.2.1"}, "address"), ({"address": "here/24"}, "address"),
        ({"gateway": "192.0.2.1"}, "gateway"), ({"dns": ("192.0.2.1",)}, "dns"),
        ({"address": "192.0.2.1/24", "gateway": "x1"}, "gateway"),
        ({"address": "192.0.2.1/24", "dns": ("x1",)}, "dns"),
        ({"ssid": "a"}, "kind"), ({"kind": "wifi", "passphrase": "12345678"}, "ssid"),
        ({"kind": "wifi", "ssid": "a"}, "passphrase"),
        ({"kind": "wifi", "ssid": "ä" * 32, "passphrase": "12345678"}, "ssid"),
    ],
)  # fmt: skip
def test_a_network_that_contradicts_itself(section, field):
    wanted = NetworkConfig(**section)
    assert wanted.trouble()[0] == field
    with pytest.raises(ConfigError, match=f"network.{field}"):
        network.files(wanted)


def test_an_address_adds_no_lines_to_what_it_is_written_into():
    wanted = NetworkConfig(address="192.0.2.1/24", dns=("fe80::1%\nDNSSEC=no",))
    assert wanted.trouble()[0] == "dns"


def test_a_fixed_address():
    made = network.files(
        NetworkConfig(address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.2",))
    )
    (text,) = made.values()
    for line in ("Type=ether", "Address=192.0.2.10/24", "Gateway=192.0.2.1", "DNS=192.0.2.2"):
        assert line in text.splitlines()
    assert "DHCP" not in text


@pytest.mark.parametrize(
    ("ssid", "name"), [("Yard_4-b c", "Yard_4-b c.psk"), ("käfig", "=6bc3a4666967.psk"),
                       ("a/b", "=612f62.psk"), ("..", "=2e2e.psk")],
)  # fmt: skip
def test_names_of_wireless_networks_as_iwd_wants_them(ssid, name):
    made = network.files(NetworkConfig(kind="wifi", ssid=ssid, passphrase=" back\\slash"))
    assert made[f"{network.IWD}/{name}"] == "[Security]\nPassphrase=\\sback\\\\slash\n"


def test_an_invitation_that_a_device_would_refuse_is_not_given(operator, tmp_path):
    template = tmp_path / "site.toml"
    template.write_text(TEMPLATE.replace('"wifi"', '"radio"'))
    with pytest.raises(Refused, match=r"network\.kind"):
        invitation.complete(
            template, "gate-7", operator / "fleet" / "root.json",
            operator / "authority" / authority.CA, ours(operator).invite,
        )  # fmt: skip
    assert ours(operator).invitation("gate-7") is None


def test_secrets_are_not_in_what_is_printed(given_file):
    plan = parse(given_file)
    assert document.EXAMPLE_TOKEN not in repr(plan)
    assert "correct horse" not in repr(plan) + repr(plan.network)
