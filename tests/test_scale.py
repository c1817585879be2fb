"""The simulation of many devices (`benchmarks.scale`), with a handful of them."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from benchmarks import scale, scale_sum
from benchmarks.broker import cpu_seconds, mosquitto, peak_bytes
from benchmarks.scale_worker import Report
from tests.link.test_session import until

ROOT = Path(__file__).resolve().parents[1]
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
        yield scale.Bench(fleet, crowd, NoMeter(), os.getpid(), progress, time.monotonic() + 0.5)


def test_every_device_verifies_and_opens_the_list_then_what_changed_of_it(mosquitto_folder):
    quiet = Console(file=io.StringIO(), width=200)
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
    scale_sum.show(result, 1000 * DEVICES, 60, 10, quiet)
    said = quiet.file.getvalue()
    assert f"{DEVICES} devices" in said
    assert f"computed: {1000 * DEVICES:,} devices" in said


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


def test_the_end_of_one_step_is_not_taken_for_the_next(bench):
    def begin():
        for at in (0.0, time.monotonic() + 1):
            for member in bench._fleet.members:
                bench._crowd.reports.put(Report(what="state", at=at, device=member.name))

    step = bench.step("a step", begin, lambda report: report.what == "state")
    assert step.seconds >= step.median >= 1


def test_the_sum_is_what_was_measured_of_a_device_times_devices():
    step = scale.Step(
        name="a list", seconds=9, median=5, p95=8, connected=1, broker_cpu=2, broker_peak=1,
        sent=3000, received=500, device_cpu=1, troubles={},
    )  # fmt: skip
    result = scale.Result(
        devices=10, entries=1, workers=1, turns=1, messages=12, held=1, prepare=1, publish=1,
        steps=[step],
    )  # fmt: skip
    (load,) = scale_sum.loads(result, 1_000_000, seconds=100)
    assert load.bytes == 350_000_000
    assert load.gbit_s == pytest.approx(0.024)  # the larger direction
    assert load.cores == pytest.approx(2000)


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


def naming(path):
    """Command lines of all processes that name a path."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_text("utf-8", "replace"))
    return [line for line in found if str(path) in line]


def test_a_run_that_is_ended_leaves_nothing(mosquitto_folder, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-m", "benchmarks.scale", "--devices", "2", "--entries", "50"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(place)}, stdout=quiet, stderr=quiet
    ) as process:
        until(lambda: list(place.glob("*/devices")), 60)
        assert naming(place)  # the broker
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert naming(place) == []
    assert list(place.iterdir()) == []


def test_processor_time_is_what_the_process_used():
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", burn], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        assert 0.15 < cpu_seconds(process.pid) < 1
        process.stdin.write(b"\n")
