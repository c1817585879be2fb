"""The rig leaves nothing behind: no process, no mount, no loop device, however it ends."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-hil" / "bin" / "python"
IMAGE = Path(os.environ.get("LETHE_IMAGE", ROOT / "build" / "image-qemu"))
PATIENCE_S = 300.0


def whoever_names(text):
    """Ids of the processes with this in their command line, but for the one that began it."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if text in words:
            found.add(int(path.parent.name))
    return found


def until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def around():
    """Mounts, and loop devices in use."""
    loops = sorted(
        path.parent.parent.name for path in Path("/sys/block").glob("loop*/loop/backing_file")
    )
    return Path("/proc/self/mounts").read_text(), loops


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("number", "devices"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGKILL, 2)]
)
def test_a_run_that_is_stopped_leaves_nothing(tmp_path, number, devices):
    if not PYTHON.exists() or not (IMAGE / "image.json").exists():
        pytest.skip("no rig here: sudo ./lethe image build qemu, then ./lethe hil once")
    if shutil.which("qemu-system-aarch64") is None:
        pytest.skip("no QEMU: apt-get install qemu-system-arm qemu-utils")
    before, short = around(), tempfile.mkdtemp(prefix="lethe-")  # what a kill leaves in it is ours
    out = tmp_path / "out"
    # One of each device's group; neither needs the keys of an image that is elsewhere.
    tests = "test_first_start or power_cut_at_work"
    command = [
        sys.executable, "-m", "cli.main", "hil", "-k", tests, "--image", IMAGE,
        "--out", out, "--devices", str(devices),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env=os.environ | {"TMPDIR": short},
    )  # fmt: skip
    try:
        stop(process, out, number, devices)
    finally:
        for one in whoever_names(str(out)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        process.wait()
        shutil.rmtree(short)
    assert around() == before
    if number is not signal.SIGKILL:
        assert not (out / "work").exists()


def stop(process, out, number, devices):
    """Stop a run when its machines have begun, and see that all of its processes end."""

    def begun():
        assert process.poll() is None, "it has ended by itself"
        logs = [log for log in out.glob("work/*/console.log") if log.stat().st_size]
        return len(logs) == devices

    until(begun, "the machines do not start")
    assert len(whoever_names(str(out))) >= 1 + 2 * devices, "the command, pytest and QEMU"
    # As from a terminal, where all of them get it; a kill meets the command and pytest only.
    if number is signal.SIGKILL:
        for one in whoever_names("--lg-env") & whoever_names(str(out)) | {process.pid}:
            os.kill(one, number)
    else:
        os.killpg(process.pid, number)
    process.wait(PATIENCE_S)
    until(lambda: not whoever_names(str(out)), "processes are left")
