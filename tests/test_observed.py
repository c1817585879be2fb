"""Watched from outside the process: system calls and packets, a crowd against an empty scene.

Nobody in view is on the list. What is written and sent must then be the same, field by field, with
people and without; only what a clock says, and what is computed from it, may differ.
"""

import json
import re
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from demo import scene
from demo.broker import running_broker
from edge.protocol.audit import Degraded
from edge.vision.engine import Vision
from fleet import audit
from tests.kit import DATA, make_owner, publish, recording_proxy, write_config

ROOT = Path(__file__).resolve().parents[1]
STRACE = shutil.which("strace")
CALLS = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlinkat,connect"
CLOCKED = {"time", "expirytime", "expires", "signature", "audithead", "head", "events_waiting"}
"""Fields that hold a time, a hash or signature over one, or what the broker has not answered yet.
(The lists were issued seconds apart.)

What the audit log holds is compared as such."""

OPENED = re.compile(r'(?:openat\([^,]+, |open\(|creat\()"([^"]+)", ([A-Z_|0-9a-z]+)[^)]*\) = \d')
MOVED = re.compile(r'rename\w*\(.*"([^"]+)"[^"]*\) = 0')
CONNECTED = re.compile(r"connect\(\d+, (\{.*?\})")


class Seen:
    """What one run wrote and sent."""

    def __init__(self, trace, recorder, home, faces, frames):
        self.faces, self.frames = faces, frames
        self.written, self.moved, self.connected = set(), set(), set()
        # A file for each thread: in one file, a call that another one interrupts is in two parts.
        text = "".join(path.read_text("utf-8", "replace") for path in trace.iterdir())
        for line in text.splitlines():
            if (call := OPENED.search(line)) and re.search("O_WRONLY|O_RDWR|O_CREAT", call[2]):
                self.written.add(self._named(call[1], home))
            elif call := MOVED.search(line):
                self.moved.add(self._named(call[1], home))
            elif call := CONNECTED.search(line):
                self.connected.add(re.sub(r"htons\(\d+\)", "htons(…)", call[1]))
        self.packets = recorder.packets()
        records = [record.what for _, record in audit.records(home / "state" / "audit")]
        kinds = [type(what) for what in records if not isinstance(what, Degraded)]
        self.recorded = [kind for kind, _ in groupby(kinds)]  # a use goes on for a while
        self.published = recorder.publications()

    @staticmethod
    def _named(path, home):
        """A path with what is random in it left out."""
        name = re.sub("[0-9a-f]{64}", "…", path.replace(str(home), "~"))
        name = re.sub(r"/task/\d+/comm$", "/task/…/comm", name)  # a thread's name, for `top`
        name = re.sub(r"/\.([^/]+)\.[a-z0-9_]{8}$", r"/\1", name)  # written, then renamed
        name = re.sub(r"^/tmp/[a-z0-9_]{8}$", "/tmp", name)  # tempfile asks whether it may write
        return re.sub(r"/tmp[a-z0-9_]{8}$", "/tmp…", name)

    def by_topic(self):
        found = {}
        for topic, payload in self.published:
            # What is wrong while a device starts (no list yet, no frame yet) comes in any order;
            # nobody is looked for then.
            if not (topic.endswith("/status") and json.loads(payload).get("list") is None):
                found.setdefault(topic, []).append(payload)
        return found


def fields(value, path=""):
    """Every field of a document with its path; what a clock determines is named only."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in CLOCKED:
                yield f"{path}.{name}", len(str(inner))
            else:
                yield from fields(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from fields(inner, f"{path}[{i}]")
    else:
        yield path, value


def observe(folder, vision, clip, *arguments, seconds):
    folder.mkdir()
    (trace := folder / "trace").mkdir()
    owner = make_owner(folder / "owner", vision, strangers=3, state=folder / "state")
    with running_broker() as port, recording_proxy(port) as (proxy, recorder):
        publish(owner, port)
        path = write_config(folder, "/dev/video0", proxy, owner)
        command = [sys.executable, "-m", "tests.observed", path, clip, str(seconds), *arguments]
        done = subprocess.run(
            [STRACE, "-ff", "--seccomp-bpf", "-qq", "-s", "4096", "-e", f"trace={CALLS}",
             "-o", trace / "thread", *command],
            cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    faces, frames = map(int, done.stdout.split())
    return Seen(trace, recorder, folder, faces, frames)


@pytest.fixture(scope="module")
def vision():
    return Vision.open()


OWN = re.compile(
    r"/dev/null"
    r"|/proc/self/task/…/comm"
    r"|/tmp"  # without a name: where python-tuf keeps what it fetches (O_TMPFILE), encrypted
    r"|~/state(/("
    r"device\.(key|pub)|storage\.(key|cred)|time\.json"
    r"|outbox\.db(-wal|-shm|-journal)?"
    r"|audit(/audit-[0-9]{20}\.jsonl)?"
    r"|trust(/[a-z0-9_.%F-]+|/root_history(/[0-9]+\.root\.json)?|/tmp…)?"
    r"|lists(/gate(/(life\.json|record-…|parts(/…)?))?)?"
    r"))?"
)
"""What a device may open for writing: its keys, its list (encrypted), whom it trusts, its audit
log, its state."""


def together(topic, ours, theirs):
    """Pairs of what both runs published; one may connect or end a moment later."""
    if not topic.endswith("/telemetry"):
        return zip(ours, theirs, strict=False)
    ours, theirs = ({json.loads(m)["uptime_s"]: m for m in each} for each in (ours, theirs))
    return [(ours[second], theirs[second]) for second in sorted(ours.keys() & theirs.keys())]


def compare(people, empty):
    assert people.faces > 5
    assert empty.faces == 0
    # Files: the same ones are written, and only the device's own.
    assert people.written == empty.written
    assert people.moved == empty.moved
    strange = {n for n in people.written | people.moved if not OWN.fullmatch(n)}
    assert not strange
    assert people.recorded == empty.recorded
    # Connections: none but the broker's.
    assert people.connected == empty.connected
    assert all("127.0.0.1" in connected for connected in people.connected)
    # Packets: the same kinds; what is published, field by field.
    assert set(people.packets) == set(empty.packets)
    ours, theirs = people.by_topic(), empty.by_topic()
    assert ours.keys() == theirs.keys()
    for topic in ours:
        pairs = list(together(topic, ours[topic], theirs[topic]))
        assert len(pairs) >= (3 if topic.endswith(("telemetry", "event")) else 1), topic
        for mine, other in pairs:
            assert len(mine) == len(other)
            assert list(fields(json.loads(mine))) == list(fields(json.loads(other)))
            assert b"match" not in mine


def test_two_people_who_are_not_listed_leave_no_trace(tmp_path, vision):
    if STRACE is None:
        pytest.skip("strace is not installed: apt-get install strace")
    clip = tmp_path / "scene.mp4"
    scene.write(clip)
    check(tmp_path, vision, clip, seconds=6)


@pytest.mark.slow
@pytest.mark.data
def test_a_crowd_of_whom_nobody_is_listed_leaves_no_trace(tmp_path, vision):
    clip = DATA / "video" / "crowd_walking_1080p.mp4"
    if STRACE is None or not clip.exists():
        pytest.skip("needs strace and the research data in ../shared/data")
    check(tmp_path, vision, clip, seconds=25)


def check(tmp_path, vision, clip, seconds):
    people = observe(tmp_path / "people", vision, clip, seconds=seconds)
    compare(people, observe(tmp_path / "empty", vision, clip, "empty", seconds=seconds))
