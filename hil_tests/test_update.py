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
SLOTS = "/dev/disk/by-partlabel/lethe-"
EXPIRES_S = 60.0
"""A certificate that is over by the time that the other bundles have been refused."""


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
def test_bad_bundles_are_refused(looking, site, versions, measure):
    soon = expiring(versions.signer, versions.work / "expiring", EXPIRES_S)
    over = versions.bundle("9.0.0", signer=soon, whole=False)
    signed = time.monotonic()
    good = versions.bundle("9.0.0")
    size = good.stat().st_size
    file = f"{BUNDLES}/{good.name}"
    other = "b" if looking.slot() == "A" else "a"
    # RAUC's and the boot loader's state, and the sectors ever written to the other slot.
    state = (
        "rauc status --detailed --output-format=json; fw_printenv; set -- "
        f"$(cat /sys/class/block/$(basename $(readlink -f {SLOTS}{other}))/stat); echo $7"
    )
    before = looking.run(state)

    bring(looking, site, good)
    looking.run(
        "fallocate -l $(df --output=avail -B1 /data | tail -n 1) /data/full; "
        "dd if=/dev/zero of=/data/fuller bs=1M 2>/dev/null || true", timeout=1800,
    )  # fmt: skip
    try:
        measure("refused: full data partition", refused(looking, good, "data partition is full"))
    finally:
        looking.run("rm -f /data/full /data/fuller")
    looking.run(
        f"python3 -c \"f = open('{file}', 'r+b'); f.seek({size // 2}); one = f.read(1)[0]; "
        f'f.seek({size // 2}); f.write(bytes([one ^ 1]))"'
    )
    measure("refused: one bit tampered with", refused(looking, good, "altered"))
    looking.run(f"truncate -s {size * 2 // 3} {file}")
    measure("refused: truncated", refused(looking, good, "exceeds bundle size"))

    wrong_key = versions.bundle("9.0.0", signer=stranger(versions.work / "stranger"), whole=False)
    older = versions.bundle("0.0.1", whole=False)
    others = versions.bundle("9.0.0", compatible="lethe-other", whole=False)
    bring(looking, site, over, wrong_key, older, others)
    for what, bundle, reason in (
        ("wrong key", wrong_key, "signature verification failed"),
        ("older", older, "Version mismatch"),
        ("another device's", others, "[Cc]ompatible"),
    ):
        measure(f"refused: {what}", refused(looking, bundle, reason))
    time.sleep(max(0.0, signed + EXPIRES_S + 10 - time.monotonic()))
    measure("refused: expired certificate", refused(looking, over, "certificate has expired"))

    assert looking.run(state) == before, "no slot and no boot state was touched"
    assert looking.run("systemctl is-active lethe-good.service").strip() == "active"
    looking.run(f"rm -rf {BUNDLES}")
    measure("next candidate after them", site.await_candidate(1800), "s")


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
    for state, at in follow(site, version, "restarting", 4 * 3600).items():
        measure(f"announced to {state}", at - begun, "s")
    looking.expect(f"lethe: starting slot {other}", 1800)
    runs_in_the_other_slot(looking, other, version, before)
    measure("announced to kept", time.monotonic() - begun, "s")
    site.until(lambda: site.updates[-1][1].software.state == "current", 900, "it says so upstream")
    assert site.updates[-1][1].software.version == version
    does_its_main_job(site, measure)


def follow(site, version, last, timeout):
    """Wait for what the device says of a version; returns the first moment of each state."""
    shift = time.monotonic() - time.time()
    first = {}

    def there():
        for at, said in site.updates:
            if said.software.target == version:
                first.setdefault(said.software.state, at + shift)
        return first.keys() & {last, "failed", "refused", "gone-back"}

    site.until(there, timeout, f"{version} {last}")
    assert last in first, site.updates[-1][1]
    return first


@pytest.mark.shows("A version that crashes, hangs, is blind or does not come up goes back")
@pytest.mark.parametrize(
    ("fault", "version", "reason"),
    [
        ("crashing", "9.1.0", "no verdict"),
        ("hanging", "9.2.0", "no verdict"),
        ("blind", "9.3.0", "recognised"),
        ("stranded", "9.4.0", "did not get as far as saying why"),
    ],
    ids=["crashing", "hanging", "blind", "stranded"],
)
def test_a_bad_version_goes_back_by_itself(
    looking, site, versions, measure, fault, version, reason
):
    bad = versions.bundle(version, plant=getattr(versions, fault))
    slot = looking.slot()
    other = "B" if slot == "A" else "A"
    looking.strategy.mark()
    begun = time.monotonic()
    site.announce(bad, versions.record.compatible, version)
    for state, at in follow(site, version, "restarting", 4 * 3600).items():
        measure(f"{fault}: announced to {state}", at - begun, "s")
    for number in range(3):
        looking.expect(f"lethe: starting slot {other}", 3600)
        measure(f"{fault}: announced to start {number + 1}", time.monotonic() - begun, "s")
    looking.expect(f"lethe: starting slot {slot}", 3600)
    measure(f"{fault}: announced to back", time.monotonic() - begun, "s")
    looking.strategy.status = Status.shell
    looking.strategy.await_shell()
    looking.start()
    assert looking.slot() == slot
    assert f"VERSION_ID={version}" not in looking.run("cat /usr/lib/os-release")
    follow(site, version, "gone-back", 1800)
    measure(f"{fault}: announced to said upstream", time.monotonic() - begun, "s")
    said = next(one.software for _, one in reversed(site.updates) if one.software.target == version)
    measure(f"{fault}: says", said.reason)
    assert said.state == "gone-back"
    assert reason in said.reason
