"""One file on the boot partition: refused with what is wrong, or taken, and the device enrols."""

import json
import re
import time

import pytest
import tomli_w
from cryptography import x509
from cryptography.x509.oid import NameOID

from edge.provision.document import Refused
from firmware import configure
from hil_tests.site import DEVICE

pytestmark = [pytest.mark.timeout(7200), pytest.mark.lg_feature("fresh-image")]
BOOT = "/dev/disk/by-partlabel/lethe-boot"
CARD = "/run/rig-card"
REPORT = "lethe-report.txt"


@pytest.fixture
def unprovisioned(session_device):
    """A device that nobody has told anything; on or off, as the last test left it."""
    if session_device.configured:
        session_device.renew()
    return session_device


@pytest.fixture
def template(site):
    """What the operator writes before inviting the device."""
    path = site.folder / "site.toml"
    wanted = site.settings() | {
        "enrol": {"port": site.access.door.port},
        "network": {"kind": "ethernet"},
    }
    path.write_text(tomli_w.dumps(wanted))
    return path


def put_in(device, edit):
    """Have the card changed on another machine, and start; the console counts from here."""
    device.edit_medium(edit)
    device.strategy.mark()
    begun = time.monotonic()
    device.strategy.transition("shell")
    return begun


def on_the_card(device, name):
    """Return what a person with the card finds in one of its files; empty if it is not there."""
    return with_the_card(device, f"cat {CARD}/{name} 2>/dev/null || true")


def with_the_card(device, command):
    """Run a command with the boot partition mounted, once the device has let go of it."""
    device.await_command("! mountpoint -q /boot/lethe", 300)
    return device.run(
        f"mkdir -p {CARD} && mount -o ro {BOOT} {CARD} && {{ {command}; }}; umount {CARD}"
    )


@pytest.mark.shows("A wrong lethe.toml: its mistakes and their lines, on the console and the card")
def test_a_wrong_file_is_refused(unprovisioned, site, measure):
    wrong = site.folder / "wrong.toml"
    text = tomli_w.dumps(
        site.settings()
        | {"device": {"id": DEVICE}, "network": {"kind": "wifi", "ssid": "Yard 4"}}
        | {"broker": {"host": site.address, "port": 70000, "ca_pem": "none"}}
    )
    wrong.write_text(text)
    line = text[: text.index("port = 70000")].count("\n") + 1
    with pytest.raises(Refused):
        configure.configure(wrong, wrong)  # where an image is prepared, before anything is flashed
    begun = put_in(unprovisioned, lambda card: configure.put(card, wrong))
    unprovisioned.expect(r"REFUSED: lethe\.toml has mistakes", 600)
    measure("switched on to the refusal on the console", time.monotonic() - begun, "s")
    said = [f"line {line}: broker.port", "fleet.root_json: missing", "broker.ca_pem: not a PEM",
            "network.passphrase: missing"]  # fmt: skip
    report = on_the_card(unprovisioned, REPORT)
    print(report)
    assert [one for one in said if one not in report] == []
    console = unprovisioned.run("journalctl -u lethe-provision -o cat --no-pager")
    assert [one for one in said if one not in console] == []
    assert json.loads(on_the_card(unprovisioned, "lethe-report.json"))["state"] == "refused"
    assert on_the_card(unprovisioned, "lethe.toml").strip() == text.strip(), "to be corrected"
    assert unprovisioned.run("ls /etc/lethe").strip() == ""
    unprovisioned.start()
    assert unprovisioned.failed_units() == "", "it waits for a right one"


@pytest.mark.shows("One file: the device makes its keys, enrols itself, wipes the file, and works")
def test_a_device_enrols_itself(unprovisioned, site, template, measure):
    unprovisioned.start()
    site.bring_clip(unprovisioned)
    content = site.access.invite(DEVICE, template)
    token = re.search(rb'token = "(.+)"', content)[1].decode()
    file = site.folder / "invitation" / "lethe.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    begun = put_in(unprovisioned, lambda card: configure.configure(card, file))
    unprovisioned.expect(r"TAKEN\. The device asks its broker for a certificate", 600)
    measure("switched on to TAKEN, on the console", time.monotonic() - begun, "s")
    unprovisioned.expect(r"fingerprint  ", 60)
    report = on_the_card(unprovisioned, REPORT)
    print(report)
    shown = re.search(r"fingerprint +(.+)", report)[1].strip()
    request = x509.load_pem_x509_csr(on_the_card(unprovisioned, "lethe-request.csr").encode())
    assert request.is_signature_valid
    (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == DEVICE
    # Nothing of the token is left on the partition, in no block of it.
    assert on_the_card(unprovisioned, "lethe.toml") == ""
    assert unprovisioned.run(f"grep -ac {token} {BOOT} || true").strip() == "0"
    waiting = time.monotonic()
    with site.access.desk() as decided:
        unprovisioned.expect(f"{DEVICE} is enrolled at", 900)
        measure("the operator's desk open to enrolled", time.monotonic() - waiting, "s")
    (asked, decision), *_ = decided
    assert asked.fingerprint == shown, "the device's own request, and nobody else's"
    assert decision.verdict == "sign", decision
    unprovisioned.expect(r"ENROLLED\. The device has its certificate", 600)
    assert json.loads(on_the_card(unprovisioned, "lethe-report.json"))["state"] == "enrolled"
    left = with_the_card(unprovisioned, f"ls {CARD}").split()
    assert {one for one in left if one.startswith("lethe")} == {REPORT, "lethe-report.json"}, left
    assert unprovisioned.run(f"grep -rl {token} /data || true").strip() == "", "used up"
    keys = unprovisioned.run("cd /data/lethe/state && stat -c '%a %U %n' *.key tls/*").splitlines()
    print("\n".join(keys))
    assert [one for one in keys if not one.startswith("600 lethe ")] == []
    version = site.publish()
    site.keep_looking(unprovisioned)
    site.until(lambda: site.in_force() == version, 900, f"version {version} in force")
    site.await_candidate(1800)
    measure("switched on to the first candidate", time.monotonic() - begun, "s")
    unprovisioned.start()  # a restart while it shows that it stays up would be held against it
    # As the other tests want it: updates are fetched from a server of the rig's authority.
    site.reconfigure(unprovisioned)
    unprovisioned.configured = True
