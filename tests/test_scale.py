"""The simulation of many devices (`benchmarks.scale`), with a handful of them."""

import io
import subprocess
import sys
import time

import pytest
from rich.console import Console
from rich.progress import Progress

from benchmarks import scale
from benchmarks.broker import cpu_seconds, mosquitto, peak_bytes
from benchmarks.scale_worker import Report

DEVICES, ENTRIES = 5, 200


class NoMeter:
    def read(self):
        return 0, 0


@pytest.fixture
def bench(tmp_path):
    """A bench with a list, whose devices are what a test says of them."""
    fleet = scale.Fleet(tmp_path, DEVICES, ENTRIES)
    fleet.sign()
    crowd = scale.Crowd([])
    with Progress(console=Console(file=io.StringIO())) as progress:
        yield scale.Bench(fleet, crowd, NoMeter(), 1, progress, time.monotonic() + 0.5)


def test_every_device_verifies_and_opens_the_list_then_what_changed_of_it(mosquitto_folder):
    quiet = Console(file=io.StringIO())
    result = scale.measure(DEVICES, ENTRIES, turns=4, limit=60, console=quiet)
    full, change, refresh = result.steps
    assert (result.workers, result.turns) == (4, 4)
    assert result.messages > DEVICES  # a wrapped key each
    assert full.sent > DEVICES * ENTRIES * 156
    assert full.connected > 0
    assert full.sent / 2 > change.sent > refresh.sent > DEVICES * 500
    for step in result.steps:
        assert 0 < step.median <= step.p95 <= step.seconds
        assert step.device_cpu > 0
        assert step.broker_peak > 0
        assert step.troubles == {}
    scale.show(result, quiet)
    assert f"{DEVICES} devices" in quiet.file.getvalue()


def whole(fleet, **changes):
    held = {"version": fleet.version, "digest": fleet.digest, "content": fleet.content}
    return Report(what="whole", at=0.0, device="camera-1", **(held | changes))


def test_a_device_counts_when_it_holds_exactly_what_was_signed(bench):
    assert bench.whole(whole(bench._fleet))
    assert not bench.whole(whole(bench._fleet, version=bench._fleet.version - 1))
    assert not bench.whole(Report(what="state", at=0.0))
    for field in ("digest", "content"):
        with pytest.raises(SystemExit, match="not the one that was signed"):
            bench.whole(whole(bench._fleet, **{field: "00"}))


def test_devices_that_never_come_end_the_run(bench):
    with pytest.raises(SystemExit, match="within --limit"):
        bench.ready(1)


def test_a_process_that_dies_ends_the_run(bench):
    bench._crowd.reports.put(None)
    with pytest.raises(SystemExit, match="has ended"):
        bench.ready(1)


def test_nothing_is_left_of_a_broker_and_its_figures_are_a_process_s_own(mosquitto_folder):
    with mosquitto(mosquitto_folder) as (_, pid):
        assert 0 <= cpu_seconds(pid) < 10
        assert 1e6 < peak_bytes(pid) < 1e9
    with pytest.raises(FileNotFoundError):
        cpu_seconds(pid)


def test_processor_time_is_what_the_process_used():
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", burn], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        assert 0.15 < cpu_seconds(process.pid) < 1
        process.stdin.write(b"\n")
