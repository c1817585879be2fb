"""The device at its main job for a while: memory, temperature, latency, and nothing breaks."""

import statistics
import time

import pytest

from hil_tests.test_lists import clock_ahead

pytestmark = [pytest.mark.timeout(8 * 3600)]
EVERY_S = 15.0
GROWTH = 1.15
"""Memory of the last quarter may be so much larger than that of the second."""


@pytest.mark.shows("Soak: memory does not grow, the process does not restart, events keep coming")
def test_soak(looking, site, measure, request):
    recorder = request.config.pluginmanager.getplugin("hil-recorder")
    looking.run("systemctl restart lethe.service", timeout=900)  # a clip begins anew with it
    site.await_candidate()
    process = int(looking.run("systemctl show -P MainPID lethe.service"))
    ahead = clock_ahead(looking)
    memory, load, temperature = [], [], []
    since, begun, began_at = len(site.heard), time.monotonic(), time.time()
    end = begun + 60 * request.config.getoption("soak_minutes")
    while (now := time.monotonic()) < end:
        said = looking.run(
            f"grep VmRSS /proc/{process}/status | tr -dc '0-9\\n'; cut -d' ' -f1 /proc/loadavg; "
            "cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null | sort -n | tail -n 1"
        ).split()
        at = now - begun
        memory.append((at, int(said[0]) / 1024))
        load.append((at, float(said[1])))
        if len(said) > 2:
            temperature.append((at, int(said[2]) / 1000))
        time.sleep(max(0.0, min(end, now + EVERY_S) - time.monotonic()))
    latency = [
        (one.at - began_at, one.at - one.received.event.envelope.time.timestamp() + ahead)
        for one in site.candidates(since)
    ]
    recorder.series("resident memory of the device's process", "MiB", memory)
    recorder.series("load", "", load)
    recorder.series("candidate: made on the device to received", "s", latency)
    if temperature:
        recorder.series("temperature", "°C", temperature)
    else:
        measure("temperature", "no sensor")
    measure("candidates", float(len(latency)))
    assert latency, "no candidate in the whole soak"
    delays = sorted(delay for _, delay in latency)
    measure("latency, median", statistics.median(delays), "s")
    measure("latency, largest", delays[-1], "s")
    values = [value for _, value in memory]
    quarter = max(1, len(values) // 4)
    early = statistics.median(values[quarter : 2 * quarter] or values)
    late = statistics.median(values[-quarter:])
    measure("memory, second quarter", early, "MiB")
    measure("memory, last quarter", late, "MiB")
    assert late <= GROWTH * early
    assert int(looking.run("systemctl show -P MainPID lethe.service")) == process
    assert looking.failed_units() == ""
