"""A camera that goes away, a clock that is wrong, a disk that is full."""

import time

import pytest

pytestmark = [pytest.mark.timeout(7200)]
TIME = "/data/lethe/state/time.json"


@pytest.fixture
def network_camera(looking, site):
    """The device looks through a network camera; afterwards through its usual one again."""

    site.reconfigure(looking, f"rtsp://{site.address}:{site.camera.port}/scene")
    yield site.camera
    site.reconfigure(looking)
    site.await_candidate(1800)


def frames(site, *kinds, since):
    """Whether telemetry of after that moment says this of the camera's frames."""
    return any(at > since and said.frames in kinds for at, said in site.telemetry)


@pytest.mark.shows("The camera goes and comes back: the device says so, and goes on by itself")
@pytest.mark.lg_feature("camera-unplug")
def test_the_camera_goes_and_comes_back(looking, site, network_camera, measure):
    now = time.time()
    site.until(lambda: frames(site, "ok", "few", since=now), 900, "frames arrive")
    process = looking.run("systemctl show -P MainPID lethe.service")
    network_camera.kill()
    try:
        took = site.until(
            lambda: any(one.startswith("camera:") for one in site.now_says().reasons),
            600, "the status says that the camera is away",
        )  # fmt: skip
        measure("camera away to the status that says so", took, "s")
        measure("the status", "; ".join(site.now_says().reasons))
    finally:
        network_camera.start()
    took = site.until(lambda: not site.now_says().reasons, 900, "nothing is wrong any more")
    measure("camera back to a status without it", took, "s")
    now = time.time()
    site.until(lambda: frames(site, "ok", "few", since=now), 900, "frames arrive again")
    assert looking.run("systemctl show -P MainPID lethe.service") == process, "the same process"


@pytest.mark.shows("With a wrong clock nobody is looked for; with the right one they are again")
@pytest.mark.lg_feature(["clock", "power"])
def test_the_clock_is_wrong_at_boot(looking, site, measure):
    begun = time.time()
    site.await_candidate()
    # What a device is certain of, it has from a clock that ran evenly for ten minutes.
    looking.await_command(
        f"grep -Eo '[0-9]{{10}}' {TIME} | awk '$1 > {begun - 3600:.0f} {{found = 1}} "
        "END {exit !found}'",
        3000,
    )
    # Its last time, which is kept every minute, would else put a clock right that has lost it.
    looking.run("systemctl stop systemd-timesyncd && rm -f /data/timesync/clock && sync")
    looking.cut_power()
    cut = time.time()

    def found_since():
        """Candidates but those that were made before the cut, and come late."""
        return [
            one for one in site.candidates(since)
            if not begun <= one.received.event.envelope.time.timestamp() <= cut
        ]  # fmt: skip

    looking.strategy.power.clock = "2021-03-04T05:06:07"
    since = len(site.heard)
    try:
        looking.strategy.transition("shell")
        looking.await_command("systemctl -q is-active lethe.service", 1800)
        print(looking.run("date"))
        said = looking.await_command(
            "journalctl -u lethe --no-pager -o cat | grep 'the clock is not trusted'", 900
        )
        measure("says", said.splitlines()[0])
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert found_since() == []
            time.sleep(1)
        said = looking.journal("lethe")
        assert "edge.events.reports: candidate" not in said
        print(said[-1500:], looking.run(f"cat {TIME}; date"))
    finally:
        looking.strategy.power.clock = ""
        looking.cut_power()
    looking.start()
    site.until(found_since, 1800, "a candidate, now that the clock is right")


@pytest.mark.shows(
    "A full data partition: the device says so, goes on, and is well again with room"
)
def test_the_disk_is_full(looking, site, measure):
    site.await_candidate()
    process = looking.run("systemctl show -P MainPID lethe.service")
    looking.run("dd if=/dev/zero of=/data/full bs=1M 2>/dev/null || true", timeout=1800)
    try:
        print(looking.run("df -h /data | tail -n 1"))
        took = site.until(
            lambda: site.telemetry and site.telemetry[-1][1].disk == "low",
            600,
            "telemetry: low disk",
        )
        measure("full to the telemetry that says so", took, "s")
        assert looking.run("systemctl is-active lethe.service").strip() == "active"
        print(looking.journal("lethe", lines=8))
    finally:
        looking.run("rm -f /data/full")
    measure("room again to the next candidate", site.await_candidate(1800), "s")
    assert looking.run("systemctl show -P MainPID lethe.service") == process, "the same process"
    site.until(lambda: site.telemetry[-1][1].disk == "ok", 600, "telemetry: disk is well")
