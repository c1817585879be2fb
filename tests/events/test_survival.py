"""Whatever is killed, however long the broker is away: nothing lost or doubled, all in order."""

import os
import queue
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge.audit.log import AuditLog
from edge.errors import StorageUnavailable
from edge.events.outbox import Outbox
from edge.identity import device_key
from edge.protocol import event
from edge.protocol.audit import Ordered
from fleet import audit
from fleet.events import Reader
from fleet.ledger import Keys
from tests.brokers import Mosquitto
from tests.events.maker import DEVICE, TOPIC, Maker, note

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broker(mosquitto_folder):
    """A mosquitto that keeps nothing."""
    broker = Mosquitto(mosquitto_folder)
    broker.start()
    yield broker
    broker.kill()


class Watcher:
    """Keeps what came, in the order it came.

    With QoS 0: it answers nothing, so that of a broker that is killed it still gets everything that
    was sent, before the device got its acknowledgement. (What a mosquitto has acknowledged and
    neither delivered nor saved is lost with it; that is the broker's to keep.)
    """

    def __init__(self, port):
        self.messages = queue.SimpleQueue()
        self._subscribed = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="watcher")
        self._client.on_message = lambda _c, _d, message: self.messages.put(message.payload)
        self._client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=0)
        self._client.on_subscribe = lambda *_: self._subscribed.put(True)
        self._client.reconnect_delay_set(0.05, 0.05)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.ready()

    def ready(self):
        self._subscribed.get(timeout=60)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class Zygote:
    """Forks devices."""

    def __init__(self, folder, port):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.events.maker", str(folder), str(port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def fork(self, count):
        self._process.stdin.write(f"{count}\n")
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)


def survive(folder, broker, *, events, kills, broker_kills):
    dice = random.Random(4)
    watcher, zygote = Watcher(broker.port), Zygote(folder, broker.port)
    made = folder / "made"
    # Spread over the making: a device is killed when it has made so many, and a moment more.
    moments = sorted(dice.sample(range(1, events), kills))
    with_broker = set(dice.sample(range(kills), broker_kills))
    for i, moment in enumerate(moments):
        device = zygote.fork(events)
        while not made.exists() or made.stat().st_size < 2 * moment:
            time.sleep(0.001)
        time.sleep(dice.random() * 0.03)
        if i in with_broker:
            broker.kill()
            time.sleep(dice.random() * 0.1)
            os.kill(device, signal.SIGSTOP)  # a reader that is away is the broker's business
            broker.start()
            watcher.ready()
            os.kill(device, signal.SIGCONT)
            time.sleep(dice.random() * 0.3)
        os.kill(device, signal.SIGKILL)
    device = zygote.fork(events)
    received, order = {}, []
    reader = Reader(Keys(named={DEVICE: device_key(folder).public_key()}))
    while not received or order[-1] != events:
        taken = reader.receive(watcher.messages.get(timeout=60))
        if taken.refusal == "replayed":
            continue
        assert taken.trusted, taken.problem
        assert taken.event.envelope.id not in received
        received[taken.event.envelope.id] = taken.event
        order.append(taken.event.data.lost)
    os.kill(device, signal.SIGKILL)
    zygote.close()
    watcher.close()
    assert order == list(range(1, events + 1)), "lost, doubled or out of order"
    assert not reader.ledger.devices[DEVICE].holes
    chain = audit.verify(folder / "audit")
    assert {finding.name for finding in chain.findings} <= {"torn"}
    assert not list(audit.compare(chain, received.values()))


def test_a_device_and_its_broker_killed_again_and_again_lose_nothing(tmp_path, broker):
    survive(tmp_path, broker, events=100, kills=6, broker_kills=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_events_a_hundred_kills_and_twenty_of_the_broker(tmp_path, broker):
    survive(tmp_path, broker, events=2000, kills=100, broker_kills=20)


def resident():
    """Memory of this process in MiB, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


BACKLOG = """
import sys, time
from pathlib import Path
from tests.events.maker import Maker, note
from tests.events.test_survival import resident
maker = Maker(Path(sys.argv[1]), int(sys.argv[2]))
maker.start()
count = int(sys.argv[3])
def make(first, last):
    for at in range(first, last, 100):
        maker.outbox.put_all([note(n) for n in range(at, min(at + 100, last))])
warm = count * 2 // 5
make(1, warm + 1)
before = resident()
make(warm + 1, count + 1)
away = resident()
print(len(maker.outbox), before, away, flush=True)
sys.stdin.readline()
while not maker.publisher.flush(60):
    pass
print(len(maker.outbox), resident(), flush=True)
"""


def away(folder, broker, count):
    broker.kill()
    with subprocess.Popen(
        [sys.executable, "-c", BACKLOG, str(folder), str(broker.port), str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as device:  # fmt: skip
        waiting, before, after = device.stdout.readline().split()
        assert int(waiting) == count
        os.kill(device.pid, signal.SIGSTOP)
        broker.start()
        watcher = Watcher(broker.port)
        os.kill(device.pid, signal.SIGCONT)
        device.stdin.write("\n")
        left, drained = device.stdout.readline().split()
    assert int(left) == 0
    order = list(dict.fromkeys(
        event.parse(watcher.messages.get(timeout=60)).data.lost for _ in range(count)
    ))  # fmt: skip
    watcher.close()
    assert order == list(range(1, count + 1))
    return float(before), float(after), float(drained)


def test_a_backlog_is_delivered_in_order_and_lies_on_the_disk(tmp_path, broker):
    before, after, drained = away(tmp_path, broker, 1000)
    assert max(after, drained) - before < 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_events_wait_for_the_broker_and_memory_does_not_grow(
    tmp_path, broker, record_property
):
    before, after, drained = away(tmp_path, broker, 10_000)
    record_property("MiB", (before, after, drained))
    assert max(after, drained) - before < 6, "some for paho's window, none for the backlog"


# --- A disk that is full, or may not be written --------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MiB, and how to make it read-only and back."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")

    def remount(mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(place)], check=True)

    yield place, remount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder, leave):
    """Fill a disk up to so many bytes."""
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - leave
    (folder / f"filler-{leave}").write_bytes(bytes(max(0, size)))


def test_a_full_disk_is_said_and_loses_nothing_that_was_acknowledged(small_disk):
    folder, _ = small_disk
    maker = Maker(folder, 1)
    acknowledged = [maker.outbox.put(note(n)) for n in range(20)]
    fill(folder, 100_000)

    def put_until_full():
        while True:
            acknowledged.append(maker.outbox.put(note(99)))

    with pytest.raises(StorageUnavailable, match="full"):
        put_until_full()
    fill(folder, 0)
    for _ in range(20):
        maker.diary.note(Ordered(command="x" * 400, by="test"))
    assert "disk full" in maker.diary.trouble
    assert [s.sequence for s in maker.outbox.pending(10_000)] == acknowledged
    for filler in folder.glob("filler*"):
        filler.unlink()
    acknowledged.append(maker.outbox.put(note(100)))
    assert [s.sequence for s in maker.outbox.pending(10_000)] == acknowledged
    maker.diary.watch(None, None, ())
    assert maker.diary.trouble == ""
    maker.close()
    again = Maker(folder, 1)
    assert len(again.outbox) == len(acknowledged)
    again.close()
    assert not audit.verify(folder / "audit").findings


def test_a_disk_that_turns_read_only_is_said_and_loses_nothing(small_disk):
    folder, remount = small_disk
    maker = Maker(folder, 1)
    acknowledged = [maker.outbox.put(note(n)) for n in range(5)]
    maker.close()
    remount("ro")
    try:
        with pytest.raises(StorageUnavailable):
            Outbox(folder / "outbox.db", maker.sign, now=time.time)
        with pytest.raises(StorageUnavailable):
            AuditLog(folder / "audit", now=time.time)
    finally:
        remount("rw")
    again = Maker(folder, 1)
    assert [s.sequence for s in again.outbox.pending(99)] == acknowledged
    assert again.outbox.put(note(6)) == acknowledged[-1] + 1
    again.close()
