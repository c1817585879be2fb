"""A mosquitto as it ships, on loopback, and what it takes: bytes, processor time, memory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from demo.broker import HOST, free_port
from edge.config import BrokerConfig
from edge.link.session import Link

SHIPPED = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto"
PATIENCE_S = 60.0
QUIET_S = 0.3


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """Run a mosquitto with what ships, but for TLS, and yield its port and process id.

    It takes a client's user name on its word, so that the access rules apply to it. One more rule
    lets "meter" read the broker's own counters.
    """
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    port = free_port()
    acl = folder / "acl"
    acl.write_text((SHIPPED / "acl").read_text("utf-8") + "\nuser meter\ntopic read $SYS/#\n")
    acl.chmod(0o600)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\nuser root\nacl_file {acl}\n"
        f"sys_interval 1\npersistence_location {folder}/\n"
        + (SHIPPED / "lethe.conf").read_text("utf-8")
    )
    with subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))  # one a session
            patience = time.monotonic() + PATIENCE_S
            while True:
                if process.poll() is not None or time.monotonic() > patience:
                    raise SystemExit("mosquitto does not start")
                with contextlib.suppress(OSError):
                    socket.create_connection((HOST, port), 1).close()
                    break
                time.sleep(0.02)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


class Meter:
    """The broker's own counters of bytes; it tells them every two seconds."""

    TOPICS = ("$SYS/broker/bytes/sent", "$SYS/broker/bytes/received")

    def __init__(self, port: int) -> None:
        self._told = threading.Condition()
        self._counts = dict.fromkeys(self.TOPICS, 0)
        self._ticks = dict.fromkeys(self.TOPICS, 0)
        self._link = Link(BrokerConfig(port=port, username="meter"), "meter")
        for topic in self.TOPICS:
            self._link.subscribe(topic, self._take, 64)
        self._link.start()

    def read(self) -> tuple[int, int]:
        """Return bytes sent and received; waits for what ends a fetch, and for the broker to tell.

        It tells what has changed, and telling it changes both.
        """
        time.sleep(QUIET_S)
        with self._told:
            due = {topic: ticks + 1 for topic, ticks in self._ticks.items()}
            if not self._told.wait_for(
                lambda: all(self._ticks[topic] >= ticks for topic, ticks in due.items()), PATIENCE_S
            ):
                raise SystemExit("the broker does not tell its counters")
            sent, received = (self._counts[topic] for topic in self.TOPICS)
            return sent, received

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def _take(self, topic: str, payload: bytes) -> None:
        with self._told:
            self._counts[topic] = int(payload)
            self._ticks[topic] += 1
            self._told.notify()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process of ours has used: fields 14 and 15 of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held at once."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/status says nothing of memory")
