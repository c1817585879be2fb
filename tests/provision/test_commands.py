"""`./lethe authority` and `./lethe provision`, as people call them: a device by hand."""

import json
import stat

import pytest
from typer.testing import CliRunner

from cli.main import app
from edge.protocol.enrolment import read_request

CONFIG = """
[device]
id = "gate-3"
[camera]
source = "clip.mp4"
[watchlist]
id = "gate"
[fleet]
root = "fleet/root.json"
[broker]
host = "127.0.0.1"
ca_file = "authority/ca.pem"
cert_file = "state/tls/client.pem"
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lethe.toml").write_text(CONFIG)
    call("fleet", "init", "fleet")
    call("authority", "init", "authority", "--name", "City of Example")


def test_a_device_gets_its_certificate_by_hand_and_loses_it(tmp_path):
    said = call("provision", "request", "--config", "lethe.toml")
    asked = read_request((tmp_path / "request.json").read_bytes())
    assert asked.fingerprint in said
    again = call("provision", "request", "--config", "lethe.toml")
    assert asked.fingerprint in again, "the same until it is answered"

    sign = ("authority", "sign", "authority", "request.json", "--fleet", "fleet", "--fingerprint")
    wrong = call(*sign, "0000 " * 8, code=1)
    assert "nothing was signed" in wrong
    assert not (tmp_path / "answer.json").exists()
    assert asked.fingerprint in call(*sign, "", "--dry-run")
    call(*sign, asked.fingerprint.upper())
    assert "gate-3" in call("fleet", "status", "fleet")

    assert "would be" in call("provision", "install", "answer.json", "-c", "lethe.toml",
                              "--dry-run")  # fmt: skip
    call("provision", "install", "answer.json", "--config", "lethe.toml")
    file = tmp_path / "state" / "tls" / "client.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "CN=gate-3, until" in call("provision", "status", "--config", "lethe.toml")
    over = call("provision", "install", "answer.json", "--config", "lethe.toml", code=1)
    assert "answers no request that waits here" in over

    assert "would be" in call("authority", "revoke", "authority", "gate-3", "--dry-run")
    rows = json.loads(CliRunner().invoke(app, ["authority", "list", "authority", "--json"]).stdout)
    assert [(row["name"], row["revoked"]) for row in rows] == [("gate-3", False)]
    assert "1 certificate revoked" in call("authority", "revoke", "authority", "gate-3", "--yes")
    assert "revoked" in call("authority", "list", "authority")


def test_another_request_with_a_new_key(tmp_path):
    first = call("provision", "request", "--config", "lethe.toml")
    assert call("provision", "request", "--config", "lethe.toml", "--anew") != first


def test_certificates_of_machines_and_of_the_broker_are_not_overwritten(tmp_path):
    call("authority", "server", "authority", "broker.example", "192.0.2.7", "--out", "broker")
    assert stat.S_IMODE((tmp_path / "broker" / "broker.key").stat().st_mode) == 0o600
    call("authority", "role", "authority", "reader", "--out", "reader.pem")
    again = call("authority", "role", "authority", "reader", "--out", "reader.pem", code=2)
    assert "nothing was changed" in again
    assert "no role" in call("authority", "role", "authority", "king", "--out", "k.pem", code=2)
    assert "nowhere: cannot be opened" in call("authority", "list", "nowhere", code=1)
    assert "no authority there" in call("authority", "list", "fleet", code=2)


def test_an_invitation_is_one_file_and_a_password(tmp_path):
    (tmp_path / "site.toml").write_text(
        '[camera]\nsource = "/dev/video0"\n[watchlist]\nid = "gate"\n[broker]\nhost = "b.example"\n'
    )
    invite = ("authority", "invite", "authority", "gate-4", "--template", "site.toml",
              "--fleet", "fleet", "--out", "gate-4.toml")  # fmt: skip
    call(*invite)
    assert stat.S_IMODE((tmp_path / "gate-4.toml").stat().st_mode) == 0o600
    line = (tmp_path / "authority" / "enrol.passwd").read_text()
    assert line.startswith("gate-4:$7$101$")
    assert "nothing was changed" in call(*invite, code=2)
    for name in ("boot", "config", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "boot" / "lethe.toml").write_bytes((tmp_path / "gate-4.toml").read_bytes())
    said = call("provision", "boot", "--partition", "boot", "--config-dir", "config",
                "--state", "state", "--root", "root")  # fmt: skip
    assert "TAKEN" in said
    assert "gate-4" in said
