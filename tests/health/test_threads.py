"""Names of threads as the system shows them."""

import os
import threading
from pathlib import Path

from edge.health import doctor
from edge.health.threads import MAIN, Running, name_threads, running


def test_the_system_knows_the_threads_by_name():
    main = Path(f"/proc/self/task/{threading.main_thread().native_id}/comm")
    before, done = main.read_text(), threading.Event()
    thread = threading.Thread(target=done.wait, name="a-name-that-is-too-long-for-it")
    thread.start()
    try:
        name_threads()
        assert main.read_text() == f"{MAIN}\n"
        told = Path(f"/proc/self/task/{thread.native_id}/comm").read_text()
        assert told == "a-name-that-is-\n"
        assert [each.name for each in running()[os.getpid()]].count(told.strip()) == 1
    finally:
        done.set()
        thread.join()
        main.write_text(before)


def process(proc, number, *threads):
    for offset, (name, ticks) in enumerate(threads):
        task = proc / str(number) / "task" / str(number + offset)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")
        # As in proc(5): a name may hold brackets and blanks.
        numbers = [1] * 10 + [ticks, ticks] + [0] * 30
        (task / "stat").write_text(f"{number} (odd) na(me) S {' '.join(map(str, numbers))}\n")
    (proc / str(number) / "comm").write_text(f"{threads[0][0]}\n")


def test_the_doctor_shows_a_device_that_runs(tmp_path):
    process(tmp_path, 100, ("bash", 1))
    process(tmp_path, 200, ("lethe", 1))
    assert doctor.check_running(tmp_path).says == "no device runs here now"
    process(tmp_path, 300, ("lethe", 250), ("camera", 50))
    (tmp_path / "300" / "task" / "301" / "comm").write_text("camera\n")
    assert running(tmp_path) == {300: [Running("lethe", 5.0), Running("camera", 1.0)]}
    finding = doctor.check_running(tmp_path)
    assert (finding.state, finding.says) == ("ok", "process 300: lethe 5.0 s, camera 1.0 s")
