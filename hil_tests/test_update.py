"""A whole image in QEMU: it starts, is updated, refuses what it must, comes back from everything.

    .venv/bin/python -m pytest hil_tests -k first_start
    LETHE_POWER_CUTS=10 .venv/bin/python -m pytest hil_tests -k power

Minutes a test on a quiet machine; times are generous, since everything is emulated.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time

import pytest

from hil_tests.conftest import BLIND, CRASH, HANG
from hil_tests.machine import MachineError

CUTS = int(os.environ.get("LETHE_POWER_CUTS", "3"))
START = float(os.environ.get("LETHE_START_S", "1500"))
"""Longest start to a kept version, seconds."""
MOUNT = "mkdir -p /run/bundles && mount -o ro /dev/vdb /run/bundles"
pytestmark = [pytest.mark.timeout(6 * 3600)]


def started(machine):
    machine.start()
    machine.await_shell(START)
    machine.await_kept(START)
    return machine


def data_state(machine):
    """Every file of the device on the data partition, with its hash."""
    return machine.run("cd /data && find config lethe -type f -exec sha256sum {} + | sort")


def install(machine, bundle, *, timeout=1800):
    machine.run(MOUNT, check=False)
    return machine.run(f"rauc install /run/bundles/{bundle.name}", timeout=timeout)


def restart(machine):
    """Restart from within; returns when the new start has begun."""
    at = len(machine.said())
    machine.run("systemctl --no-block reboot")
    machine.await_console(r"U-Boot 20", 600, after=at)
    machine.await_shell(START)


def test_first_start(machine):
    one = started(machine(network=False))
    print(one.run("systemd-analyze; systemd-analyze blame | head -20; df -h / /data"))
    print(one.run("systemctl show -P ExecMainStartTimestampMonotonic lethe-selftest.service"))
    assert one.run("systemctl --failed --no-legend --plain").strip() == ""
    assert "ro," in one.run("findmnt -no OPTIONS /")
    assert one.slot() == "A"
    # Nothing listens but what is bound to loopback, nobody logs in, nothing swaps.
    assert one.run("cat /proc/swaps | tail -n +2").strip() == ""
    assert one.run("grep -v ':[*!]' /etc/shadow || true").strip() == ""
    assert one.run("ls /etc/ssh 2>/dev/null || true").strip() == ""
    exposure = one.run("systemd-analyze security --no-pager lethe.service | tail -n 1")
    print(exposure)
    assert float(exposure.split()[-3]) <= 2.0


def test_bad_bundles_are_refused_and_the_device_keeps_working(machine, bundles, stranger):
    good = bundles.make("9.0.0")
    wrong_key = bundles.make("9.0.0", signer=stranger)
    older = bundles.make("0.0.1")
    other = bundles.make("9.0.0", compatible="lethe-other")
    content = good.read_bytes()
    truncated = bundles.work / "truncated.raucb"
    truncated.write_bytes(content[: len(content) * 2 // 3])
    tampered = bundles.work / "tampered.raucb"
    at = len(content) // 2
    tampered.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    bad = {
        wrong_key: "signature verification failed",
        truncated: "exceeds bundle size",
        tampered: "altered",
        older: "version",
        other: "[Cc]ompatible",
    }
    one = machine(network=False, disks=[bundles.disk("bad", good, *bad)])
    started(one)
    before = one.run("rauc status --output-format=json; fw_printenv; sha256sum /dev/vda4")
    for bundle, reason in bad.items():
        print(bundle.name, "→", refused(one, bundle, reason))
    one.run("dd if=/dev/zero of=/data/full bs=1M || true", timeout=600)
    print("full data partition →", refused(one, good, "data partition is full"))
    one.run("rm /data/full")
    after = one.run("rauc status --output-format=json; fw_printenv; sha256sum /dev/vda4")
    assert after == before, "no slot and no boot state was touched"
    assert one.run("systemctl is-active lethe-good.service").strip() == "active"


def refused(machine, bundle, reason):
    """Try to install; return RAUC's reason, with what the handler said."""
    with pytest.raises(MachineError, match="ended with 1"):
        install(machine, bundle)
    said = machine.run("journalctl -u rauc --no-pager -o cat -n 12")
    assert re.search(reason, said), said
    (line, *_) = [line for line in said.splitlines() if re.search(reason, line)]
    return line


def test_update_keeps_what_is_on_the_data_partition(machine, bundles):
    good = bundles.make("9.0.0")
    one = started(machine(network=False, disks=[bundles.disk("good", good)]))
    one.run("echo kept >/data/lethe/witness && chown lethe /data/lethe/witness")
    one.run("systemctl stop lethe.service")
    before = data_state(one)
    begun = time.monotonic()
    install(one, good)
    print(f"installed in {time.monotonic() - begun:.0f} s")
    assert one.run("fw_printenv -n BOOT_ORDER").strip() == "B A"
    restart(one)
    assert one.slot() == "B"
    one.await_kept(START)
    assert "VERSION_ID=9.0.0" in one.run("cat /usr/lib/os-release")
    assert one.run("fw_printenv -n BOOT_B_LEFT").strip() == "3"
    after = data_state(one)
    assert [line for line in before.splitlines() if "selftest" not in line] == [
        line for line in after.splitlines() if "selftest" not in line
    ]


@pytest.mark.parametrize(
    ("fault", "version", "reason"),
    [(CRASH, "9.1.0", "no verdict"), (HANG, "9.2.0", "no verdict"), (BLIND, "9.3.0", "recognised")],
    ids=["crashes", "hangs", "cannot-match"],
)
def test_a_bad_version_goes_back_by_itself(machine, bundles, fault, version, reason):
    bad = bundles.make(version, fault=fault)
    one = started(machine(network=False, disks=[bundles.disk(version, bad)]))
    install(one, bad)
    at = len(one.said())
    one.run("systemctl --no-block reboot")
    begun = time.monotonic()
    for _ in range(3):
        at = one.await_console(r"lethe: starting slot B", 3 * START, after=at)
    one.await_console(r"lethe: starting slot A", 3 * START, after=at)
    print(f"back after {time.monotonic() - begun:.0f} s")
    one.await_shell(START)
    one.await_kept(START)
    assert one.slot() == "A"
    failed = one.run("cat /data/ota/failed")
    print(failed)
    assert f"version={version}" in failed
    assert reason in failed


def test_power_cuts_while_installing(machine, bundles):
    """After every cut: the old version starts, is kept, and the next installation goes through."""
    good = bundles.make("9.0.0")
    one = started(machine(network=False, disks=[bundles.disk("cuts", good)]))
    one.run(MOUNT)
    begun = time.monotonic()
    one.run(f"systemd-run -q --unit=install rauc install /run/bundles/{good.name}")
    one.await_command("! systemctl -q is-active install.service", 3600, every=3)
    whole = time.monotonic() - begun
    one.run("rauc status mark-active booted")
    for number in range(CUTS):
        one.run(f"systemd-run -q --unit=install{number} rauc install /run/bundles/{good.name}")
        moment = random.uniform(0, whole)
        time.sleep(moment)
        one.cut_power()
        started(one)
        print(f"cut {number} after {moment:.1f} of {whole:.0f} s: slot {one.slot()} started, kept")
        assert one.slot() == "A" or "9.0.0" in one.run("cat /usr/lib/os-release")
        assert one.run("systemctl --failed --no-legend --plain").strip() == ""
        one.run(MOUNT)
        if one.slot() == "B":
            one.run("rauc status mark-active other")
            restart(one)
            one.await_kept(START)
            one.run(MOUNT)


def test_power_cuts_in_the_first_start_after(machine, bundles):
    """After every cut the new version is tried again, or the old one starts: never a half one."""
    good = bundles.make("9.0.0")
    first = started(machine(network=False, disks=[bundles.disk("first", good)]))
    install(first, good)
    first.run("sync")
    first.cut_power()
    installed = first.folder / "installed.qcow2"
    shutil.copy(first.overlay, installed)
    begun = time.monotonic()
    started(first)
    whole = time.monotonic() - begun
    first.cut_power()
    for number in range(CUTS):
        shutil.copy(installed, first.overlay)
        first.start()
        moment = random.uniform(0, whole)
        time.sleep(moment)
        first.cut_power()
        started(first)
        print(f"cut {number} after {moment:.1f} of {whole:.0f} s: slot {first.slot()} kept")
        assert first.slot() == "B"
        first.cut_power()
