"""A device's events without its camera, in processes that can be killed at any moment.

    python -m tests.events.maker FOLDER PORT

For each line on stdin `COUNT` it forks a process that goes on making events where the last one was
killed, up to number COUNT, and prints its process id. A fork costs no start of Python.
"""

import os
import sys
import time
from pathlib import Path

from edge import limits
from edge.audit.diary import Diary
from edge.audit.log import AuditLog
from edge.config import BrokerConfig
from edge.events.outbox import Outbox
from edge.events.publisher import Publisher
from edge.identity import device_key
from edge.link.session import Link
from edge.protocol import audit, event, topics

DEVICE = "camera-1"
TOPIC = topics.event("lethe", DEVICE)
STARTED = audit.Started(device=DEVICE, software="1", models={}, configuration="0" * 64)


class Maker:
    """Audit log, outbox, session and publisher of a device."""

    def __init__(self, folder, port):
        self.key = device_key(folder)
        self.diary = Diary(AuditLog(folder / "audit", now=time.time), STARTED, now=time.time)
        self.outbox = Outbox(
            folder / "outbox.db", self.sign, now=time.time, before_commit=self.diary.sync
        )
        self.link = Link(BrokerConfig(port=port), DEVICE)
        self.publisher = Publisher(self.outbox, self.link, TOPIC)

    def sign(self, data, sequence):
        document = event.make(
            data, device=DEVICE, sequence=sequence, now=time.time(), key=self.key,
            head=self.diary.report(data, DEVICE, sequence),
        )  # fmt: skip
        return event.encode(document)

    def start(self):
        self.link.start()
        self.publisher.start()

    def close(self):
        self.outbox.close()
        self.diary.close()


def note(number):
    return event.Gap(lost=number, reason="test")


def work(folder, port, count):
    """Make events up to `count`. What was made is noted in a file, after it was acknowledged."""
    limits.MQTT_RETRY_FIRST_S = limits.MQTT_RETRY_MAX_S = 0.1
    maker = Maker(folder, port)
    maker.start()
    with (folder / "made").open("a+") as made:
        made.seek(0)
        done = made.read().split("\n")
        for number in range(len(done), count + 1):
            maker.outbox.put(note(number), once=str(number))
            made.write("x\n")
            made.flush()
            maker.publisher.wake()
    while not maker.publisher.flush(60):
        continue
    time.sleep(3600)


def main():
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            work(folder, port, int(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
