"""Events through the outbox against bare paho, to the same mosquitto, in one run.

    python -m benchmarks.outbox
    python -m benchmarks.outbox --state /dev/shm   # a disk that costs nothing: the code alone

Throughput: how fast a number of events has reached the broker and been acknowledged (PUBACK).
  bare      the same bytes, published by paho with QoS 1, nothing kept
  drain     they lie in the outbox, as after an outage; signing is done
  batches   made, signed, recorded in the audit log, stored and sent, 100 at a time
Latency: from the decision, one event at a time, to its PUBACK.
  bare      paho's publish, QoS 1
  device    a candidate through reports, audit log, outbox and publisher
"""

from __future__ import annotations

import argparse
import os
import queue
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from edge.events.reports import Reports
from edge.link.session import _no_delay
from edge.pipeline import Match
from edge.protocol import event
from edge.vision.faces import Face
from edge.vision.quality import Quality
from edge.watchlist.decide import Decision
from tests.brokers import Mosquitto
from tests.events.maker import TOPIC, Maker

ENTRY = "0123456789abcdef" * 2


def match(number: int) -> Match:
    """Return a candidate as the pipeline would."""
    authorisation = SimpleNamespace(reference="court 1", purpose="court-order", reviewers=None)
    return Match(
        sighting=number,
        decision=Decision(ENTRY, 0.6, 0.4, 2, 2),
        gallery=SimpleNamespace(id="gate", version=3, authorisation=authorisation),
        fpir_target=0.001,
        face=Face((10.0, 10.0, 60.0, 70.0), np.zeros((5, 2), np.float32), 0.9),
        quality=Quality(30.0, 30.0, 0.6, 0.5, 0.4, 0.8, 0.9),
        picture=None,
        frame_size=(640, 360),
        first_frame=3,
        last_frame=9,
    )


class Bare:
    """paho as it comes, but for TCP_NODELAY, which the device sets too."""

    def __init__(self, port: int) -> None:
        self.acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="bare")
        self._client.on_socket_open = _no_delay
        self._client.on_publish = lambda _c, _d, number, *_: self.acknowledged.put(number)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        while not self._client.is_connected():
            time.sleep(0.01)

    def publish(self, payload: bytes) -> None:
        """Send with QoS 1."""
        self._client.publish(TOPIC, payload, qos=1)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def throughput_bare(port: int, payload: bytes, count: int) -> float:
    """Return events a second."""
    bare = Bare(port)
    began = time.perf_counter()
    for _ in range(count):
        bare.publish(payload)
    for _ in range(count):
        bare.acknowledged.get()
    took = time.perf_counter() - began
    bare.close()
    return count / took


def candidates(folder: Path, count: int) -> list[event.Candidate]:
    """Return candidates as reports make them."""
    caught: list[event.Candidate] = []
    outbox = SimpleNamespace(in_view=list, put_all=lambda data: caught.extend(data) or [1])
    reports = Reports(outbox, device="camera-1", models={}, on_stored=lambda: None)
    for number in range(count):
        reports.candidate(match(number))
    return caught


def throughput_outbox(folder: Path, port: int, count: int, *, backlog: bool) -> float:
    """Return events a second, from a backlog or as they are made."""
    maker = Maker(folder, port)
    data = candidates(folder, count)
    batches = [data[at : at + 100] for at in range(0, count, 100)]
    if backlog:
        for batch in batches:
            maker.outbox.put_all(batch)
        maker.start()
        while not maker.link.connected:
            time.sleep(0.001)
        began = time.perf_counter()
    else:
        maker.start()
        while not maker.link.connected:
            time.sleep(0.001)
        began = time.perf_counter()
        for batch in batches:
            maker.outbox.put_all(batch)
            maker.publisher.wake()
    while len(maker.outbox):
        time.sleep(0.001)
    took = time.perf_counter() - began
    maker.publisher.close()
    maker.link.close()
    maker.close()
    return count / took


def latency_bare(port: int, payload: bytes, count: int) -> list[float]:
    """Return seconds from publish to PUBACK, one after the other."""
    bare, took = Bare(port), []
    for _ in range(count):
        began = time.perf_counter()
        bare.publish(payload)
        bare.acknowledged.get()
        took.append(time.perf_counter() - began)
        time.sleep(0.005)
    bare.close()
    return took


def latency_device(folder: Path, port: int, count: int) -> list[float]:
    """Return seconds from a candidate to its PUBACK, one after the other."""
    maker, took = Maker(folder, port), []
    reports = Reports(maker.outbox, device="camera-1", models={}, on_stored=maker.publisher.wake)
    acknowledged: queue.SimpleQueue[float] = queue.SimpleQueue()
    maker.link.on_acknowledged(lambda _number: acknowledged.put(time.perf_counter()))
    maker.start()
    while not maker.link.connected:
        time.sleep(0.001)
    for number in range(count):
        began = time.perf_counter()
        reports.candidate(match(number))
        took.append(acknowledged.get() - began)
        time.sleep(0.005)
    maker.publisher.flush(5)
    maker.publisher.close()
    maker.link.close()
    maker.close()
    return took


def fdatasync(folder: Path, count: int = 200) -> list[float]:
    """Return what one append of 300 bytes to the disk costs, in seconds."""
    file, took = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY), []
    for at in range(count):
        began = time.perf_counter()
        os.pwrite(file, bytes(300), at * 300)
        os.fdatasync(file)
        took.append(time.perf_counter() - began)
    os.close(file)
    return took


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile in milliseconds."""
    return float(np.percentile(values, percent)) * 1000


def main() -> None:
    """Measure, alternating, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox", description=__doc__)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--single", type=int, default=300, help="events of the latency part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--state", type=Path, help="where the device's state lies")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "drain": [], "batches": []}
    waits: dict[str, list[float]] = {"bare": [], "device": []}
    disk: list[float] = []
    for round_number in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.state) as name:
            folder = Path(name)
            broker = Mosquitto(folder)
            broker.start()
            for part in ("sample", "drain", "batches", "device"):
                (folder / part).mkdir(mode=0o700)
            sample = Maker(folder / "sample", broker.port)
            payload = sample.sign(candidates(folder, 1)[0], 1)
            sample.close()
            rates["bare"].append(throughput_bare(broker.port, payload, options.events))
            for part in ("drain", "batches"):
                rates[part].append(
                    throughput_outbox(
                        folder / part, broker.port, options.events, backlog=part == "drain"
                    )
                )
            waits["bare"] += latency_bare(broker.port, payload, options.single)
            waits["device"] += latency_device(folder / "device", broker.port, options.single)
            disk += fdatasync(folder)
            broker.kill()
        Console(stderr=True).print(f"round {round_number + 1} of {options.rounds}")
    table = Table("", "bare paho", "outbox", "ratio")
    bare = float(np.median(rates["bare"]))
    for part in ("drain", "batches"):
        ours = float(np.median(rates[part]))
        table.add_row(f"{part}, events/s", f"{bare:.0f}", f"{ours:.0f}", f"{ours / bare:.2f}")
    for percent in (50, 95):
        reference, ours = (percentile(waits[who], percent) for who in ("bare", "device"))
        table.add_row(
            f"decision to PUBACK p{percent}, ms",
            f"{reference:.2f}", f"{ours:.2f}", f"{ours / reference:.1f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"one fdatasync here: p50 {percentile(disk, 50):.2f} ms, "
        f"p95 {percentile(disk, 95):.2f} ms; events of {len(payload)} bytes"
    )


if __name__ == "__main__":
    main()
