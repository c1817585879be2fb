"""What a broker must carry for many devices, computed from what `benchmarks.scale` measured.

    python -m benchmarks.scale --json figures.json
    python -m benchmarks.scale_sum figures.json [--devices 1000000] [--minutes 10] [--nodes 20]

Nothing here is measured: bytes and processor time a device, times their number. The broker's
processor time is mosquitto's, on the machine that measured, without TLS.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.scale import Result
from edge import limits
from edge.protocol import topics
from edge.protocol.status import Telemetry

OF_A_DEVICE = 3
"""Retained messages of each device: its key for the list, its status, its telemetry."""
_PUBLISH_HEADER = 6  # type, length of two bytes, length of the topic, number of the message
_PING = 2


class Load(NamedTuple):
    """What one thing that happens to every device asks of all brokers together.

    Attributes:
        name: what happens.
        bytes: in both directions, MQTT without TCP and TLS.
        gbit_s: the larger direction, while it lasts.
        cores: of the machine that measured, kept busy by mosquitto.
    """

    name: str
    bytes: float
    gbit_s: float
    cores: float


def loads(result: Result, devices: int, seconds: float) -> list[Load]:
    """Return what each step asks for when `devices` go through it within `seconds`."""
    times = devices / result.devices
    return [
        Load(
            name=step.name,
            bytes=(step.sent + step.received) * times,
            gbit_s=8 * max(step.sent, step.received) * times / seconds / 1e9,
            cores=step.broker_cpu * times / seconds,
        )
        for step in result.steps
    ]


def telemetry_bytes(device: str) -> int:
    """Return the bytes of one telemetry message of a device on which all is well."""
    healthy = Telemetry(
        time="2026-01-01T00:00:00Z", uptime_s=86_400, frames="ok", temperature="normal",
        throttled=(), effort="full", events_waiting=0, disk="ok",
    )  # fmt: skip
    topic = topics.telemetry(limits.DEFAULT_TOPIC_ROOT, device)
    return _PUBLISH_HEADER + len(topic) + len(msgspec.json.encode(healthy))


def show(result: Result, devices: int, seconds: float, nodes: int, console: Console) -> None:
    """Print the sum."""
    table = Table(
        f"computed: {devices:,} devices within {seconds / 60:g} minutes",
        "bytes", "Gbit/s", f"a node of {nodes}", "cores of a mosquitto", box=box.SIMPLE,
    )  # fmt: skip
    for load in loads(result, devices, seconds):
        table.add_row(
            load.name,
            f"{load.bytes / 1e9:,.1f} GB",
            f"{load.gbit_s:.2f}",
            f"{load.gbit_s / nodes:.3f}",
            f"{load.cores:.1f}",
        )
    console.print(table)
    beats, told = devices / limits.MQTT_KEEPALIVE_S, devices / limits.TELEMETRY_DEFAULT_S
    shared = result.messages - result.devices  # a wrapped key each
    console.print(
        f"always: {devices:,} sessions ({devices / nodes:,.0f} a node), a subscription each; "
        f"{beats:,.0f} keepalives a second ({8 * _PING * beats / 1e6:.1f} Mbit/s each way); "
        f"{told:,.0f} telemetry messages a second "
        f"({8 * telemetry_bytes('camera-1000') * told / 1e6:.0f} Mbit/s)"
    )
    console.print(
        f"retained: {shared} messages a list, and {OF_A_DEVICE} a device: "
        f"{OF_A_DEVICE * devices:,}; a full list is about {shared * devices / seconds:,.0f} "
        f"messages a second ({shared * devices / seconds / nodes:,.0f} a node)"
    )


def main() -> None:
    """Read the figures of a run, and print what follows."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale_sum",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", type=Path, help="what benchmarks.scale wrote with --json")
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="so long all of it may take")
    parser.add_argument("--nodes", type=int, default=20, help="brokers of the cluster")
    options = parser.parse_args()
    result = msgspec.json.decode(options.figures.read_bytes(), type=Result)
    seconds = 60 * options.minutes
    show(result, options.devices, seconds, options.nodes, Console(highlight=False))


if __name__ == "__main__":
    main()
