"""Asked to end while the main thread is blocked, or holds a lock."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The kernel may give a process's signal to any of its threads: here, to one that is not the main
# one, so that nothing interrupts what the main thread waits for.
BLOCKED = """
import queue, signal, threading
from edge.ending import when_asked_to_end

asked = queue.SimpleQueue()
when_asked_to_end(lambda: asked.put("asked"))
threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.{number})).start()
print(asked.get())
"""

LOCKED = """
import os, signal, threading
from edge.ending import when_asked_to_end

lock, asked = threading.Lock(), threading.Event()

def ask():
    with lock:
        asked.set()

when_asked_to_end(ask)
with lock:
    os.kill(os.getpid(), signal.{number})
    print(asked.is_set(), end=" ")
print(asked.wait(30))
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("script", "said"), [(BLOCKED, "asked"), (LOCKED, "False True")])
def test_the_request_is_never_lost_and_never_in_the_way(script, said, number):
    command = [sys.executable, "-c", script.format(number=number)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == said


AGAIN = """
import os, sys, threading
from edge.ending import begin_again, begin_again_within, when_asked_to_end

if os.environ.get("BEGAN"):
    print(os.getpid() == int(os.environ["BEGAN"]), sys.argv[1:], sys.executable == {executable!r})
else:
    os.environ["BEGAN"] = str(os.getpid())
    when_asked_to_end(lambda: None)
    {how}
"""


@pytest.mark.parametrize(
    "how", ["begin_again()", "begin_again_within(0.1); threading.Event().wait()"]
)
def test_it_begins_again_as_the_same_process_also_where_it_hangs(how):
    script = AGAIN.format(how=how, executable=sys.executable)
    command = [sys.executable, "-c", script, "--config", "lethe.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True ['--config', 'lethe.toml'] True"
