"""Updates: what is kept, what is refused, what goes back by itself."""

from __future__ import annotations

import re
import time

import pytest

from hil_tests.plants import PLANTS
from hil_tests.strategy import RigError, Status
from hil_tests.versions import expiring, stranger

pytestmark = [
    pytest.mark.timeout(6 * 3600),
    pytest.mark.lg_feature("planted-versions"),
]
BUNDLES = "/data/rig"
SLOT_B = "/dev/disk/by-partlabel/lethe-b"


def bring(device, site, *bundles):
    """Bring bundles to the device, in the place of those that are there."""
    device.run(f"rm -rf {BUNDLES} && mkdir -p {BUNDLES}")
    for bundle in bundles:
        device.fetch(site.url(bundle), f"{BUNDLES}/{bundle.name}", timeout=1800)


def install(device, bundle, *, timeout=3600):
    return device.run(f"rauc install {BUNDLES}/{bundle.name}", timeout=timeout)


def data_state(device):
    """Return what has to outlive an update, with hashes: configuration, keys, list, a witness."""
    kept = device.run(
        "cd /data && find config lethe/witness lethe/state/tls lethe/state/*.key "
        "lethe/state/*.pub lethe/state/lists -type f -exec sha256sum {} + | sort -k 2"
    )
    return {line.split()[1]: line.split()[0] for line in kept.splitlines()}


@pytest.mark.shows("Bad bundles are refused by name, and the device keeps working")
def test_bad_bundles_are_refused(device, site, versions, measure):
    good = versions.bundle("9.0.0")
    wrong_key = versions.bundle("9.0.0", signer=stranger(versions.work / "stranger"))
    older = versions.bundle("0.0.1")
    other = versions.bundle("9.0.0", compatible="lethe-other")
    soon = expiring(versions.signer, versions.work / "expiring", 300)
    over = versions.bundle("9.0.0", signer=soon)
    signed = time.monotonic()
    content = good.read_bytes()
    truncated = versions.work / "truncated.raucb"
    truncated.write_bytes(content[: len(content) * 2 // 3])
    tampered = versions.work / "tampered.raucb"
    at = len(content) // 2
    tampered.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    bad = {
        wrong_key: "signature verification failed",
        truncated: "exceeds bundle size",
        tampered: "altered",
        older: "version",
        other: "[Cc]ompatible",
        over: "certificate has expired",
    }
    state = f"rauc status --output-format=json; fw_printenv; sha256sum {SLOT_B}"
    before = device.run(state, timeout=900)
    for bundle, reason in bad.items():
        bring(device, site, bundle)
        if bundle is over:
            time.sleep(max(0.0, signed + 310 - time.monotonic()))
        measure(f"refused: {bundle.stem}", refused(device, bundle, reason))
    bring(device, site, good)
    device.run("dd if=/dev/zero of=/data/full bs=1M 2>/dev/null || true", timeout=1800)
    try:
        measure("refused: full data partition", refused(device, good, "data partition is full"))
    finally:
        device.run("rm -f /data/full")
    assert device.run(state, timeout=900) == before, "no slot and no boot state was touched"
    assert device.run("systemctl is-active lethe-good.service").strip() == "active"


def refused(device, bundle, reason):
    """Try to install; return RAUC's reason, with what the handler said."""
    with pytest.raises(RigError, match="ended with 1"):
        install(device, bundle)
    said = device.run("journalctl -u rauc --no-pager -o cat -n 12")
    assert re.search(reason, said), said
    return next(line for line in said.splitlines() if re.search(reason, line)).strip()[:300]


def planted(versions, request, version):
    """A bundle of a whole version, with the faults that the rig is to find."""
    names = request.config.getoption("plants").split(",")
    faults = [PLANTS[name] for name in names if name and PLANTS[name].in_update]

    def plant(image):
        for fault in faults:
            fault.into(image, versions.work)

    return versions.bundle(version, plant=plant)


def witness(device):
    """Leave something on the data partition; return what is there."""
    device.run("echo kept >/data/lethe/witness && chown lethe /data/lethe/witness")
    return data_state(device)


def runs_in_the_other_slot(device, slot, version, before):
    """The new version was started, is kept, and all that has to outlive it is there."""
    device.strategy.status = Status.shell
    device.strategy.await_shell()
    assert device.slot() == slot
    device.start()
    assert f"VERSION_ID={version}" in device.run("cat /usr/lib/os-release")
    assert device.run(f"fw_printenv -n BOOT_{slot}_LEFT").strip() == "3", "marked good"
    assert data_state(device) == before


def does_its_main_job(site, measure):
    """The list is in force again, and no event was lost."""
    in_force = site.owner.owned.version
    site.until(lambda: site.in_force() == in_force, 1800, "the list in force in the new version")
    measure("candidate in the new version after", site.await_candidate(1800), "s")
    assert all(one.received.skipped is None for one in site.heard), "no event was lost"


@pytest.mark.shows("An update by hand keeps list, keys and outbox; then the main job is done")
def test_update_keeps_what_is_on_the_data_partition(looking, site, versions, measure, request):
    good = planted(versions, request, "9.0.0")
    other = "B" if looking.slot() == "A" else "A"
    looking.run("systemctl stop lethe.service", timeout=600)
    before = witness(looking)
    bring(looking, site, good)
    begun = time.monotonic()
    install(looking, good)
    measure("installation", time.monotonic() - begun, "s")
    assert looking.run("fw_printenv -n BOOT_ORDER").split()[0] == other
    assert data_state(looking) == before
    begun = time.monotonic()
    with looking.restart():
        looking.expect(f"lethe: starting slot {other}", 1800)
    runs_in_the_other_slot(looking, other, "9.0.0", before)
    measure("restart to kept", time.monotonic() - begun, "s")
    looking.run(f"rm -rf {BUNDLES}")
    does_its_main_job(site, measure)


@pytest.mark.shows("An announced update is fetched, installed, started and kept by itself")
def test_an_announced_update(looking, site, versions, measure, request):
    version = "9.0.1"
    good = planted(versions, request, version)
    other = "B" if looking.slot() == "A" else "A"
    before = witness(looking)
    looking.strategy.mark()
    begun = time.monotonic()
    site.announce(good, versions.record.compatible, version)
    for state, at in follow(site, "restarting", 4 * 3600).items():
        measure(f"announced to {state}", at - begun, "s")
    looking.expect(f"lethe: starting slot {other}", 1800)
    runs_in_the_other_slot(looking, other, version, before)
    measure("announced to kept", time.monotonic() - begun, "s")
    site.until(lambda: site.updates[-1][1].software.state == "current", 900, "it says so upstream")
    assert site.updates[-1][1].software.version == version
    does_its_main_job(site, measure)


def follow(site, last, timeout):
    """Wait for what the device says of an update; returns the first moment of each state."""
    since, begun = len(site.updates), time.monotonic()
    shift = begun - time.time()
    site.until(
        lambda: site.updates[-1][1].software.state in (last, "failed", "refused", "gone-back"),
        timeout, last,
    )  # fmt: skip
    first = {}
    for at, said in site.updates[since:]:
        first.setdefault(said.software.state, at + shift)
    assert last in first, site.updates[-1][1]
    return first


@pytest.mark.shows("A version that crashes, hangs or cannot match goes back, and says why")
@pytest.mark.parametrize(
    ("fault", "version", "reason"),
    [
        ("crashing", "9.1.0", "no verdict"),
        ("hanging", "9.2.0", "no verdict"),
        ("blind", "9.3.0", "recognised"),
    ],
)
def test_a_bad_version_goes_back_by_itself(device, site, versions, measure, fault, version, reason):
    bad = versions.bundle(version, plant=getattr(versions, fault))
    bring(device, site, bad)
    slot = device.slot()
    other = "B" if slot == "A" else "A"
    device.run("rm -f /data/ota/failed")
    install(device, bad)
    begun = time.monotonic()
    with device.restart():
        for _ in range(3):
            device.expect(f"lethe: starting slot {other}", 3600)
        device.expect(f"lethe: starting slot {slot}", 3600)
        measure(f"{fault}: back after", time.monotonic() - begun, "s")
    device.start()
    assert device.slot() == slot
    failed = device.run("cat /data/ota/failed")
    measure(f"{fault}: says", " ".join(failed.split())[:300])
    assert f"version={version}" in failed
    assert reason in failed
