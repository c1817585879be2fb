"""An image starts for the first time, keeps itself, and holds nothing that it should not."""

import re

import pytest

pytestmark = [pytest.mark.timeout(7200)]


@pytest.mark.small
@pytest.mark.shows("A fresh image starts, passes its self-test, and is kept")
@pytest.mark.lg_feature("fresh-image")
def test_first_start(fresh, measure):
    fresh.start()
    for line in fresh.run("systemd-analyze").splitlines()[:1]:
        measure("first start", line.removeprefix("Startup finished in "))
    print(fresh.run("systemd-analyze blame --no-pager | head -n 12; df -h / /data"))
    assert fresh.failed_units() == ""
    assert fresh.slot() == "A"
    assert fresh.run("cat /data/ota/kept").strip()


@pytest.mark.small
@pytest.mark.shows("The root is read-only, nothing swaps, nobody can log in, nothing listens")
def test_what_a_device_must_not_have(device):
    assert re.search(r"\bro\b", device.run("findmnt -no OPTIONS /"))
    assert device.run("tail -n +2 /proc/swaps").strip() == ""
    assert device.run("grep -v ':[*!]' /etc/shadow || true").strip() == ""
    assert device.run("command -v sshd || true").strip() == ""
    # State 0A is "listening", addresses are in hex (proc(5)): those of loopback end with 7F there.
    listening = device.run("awk '$4 == \"0A\" {print $2}' /proc/net/tcp /proc/net/tcp6").split()
    print("listening:", listening)
    assert [one for one in listening if one[6:9] != "7F:"] == []


@pytest.mark.shows("The units are sandboxed: systemd-analyze security at most 2.0")
@pytest.mark.parametrize("unit", ["lethe.service", "lethe-selftest.service"])
def test_exposure(device, measure, unit):
    said = device.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    exposure = float(re.search(r"(\d+\.\d+)", said)[1])
    measure(f"systemd-analyze security {unit}", exposure)
    assert exposure <= 2.0


@pytest.mark.shows("The image's root file system holds at most 900 MB")
def test_size(image_record, measure):
    measure("root file system", image_record.content_bytes / 1e6, "MB")
    assert image_record.content_bytes <= 900e6
