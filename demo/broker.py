"""An MQTT broker for the demonstration and for tests, on loopback, in a process of its own.

    python -m demo.broker            prints the port it listens on, then serves until SIGTERM

It is amqtt: pure Python, MQTT 3.1.1, everything in memory. Not meant for anything but trying out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.errors import BrokerUnavailable

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_broker(port: int = 0) -> Iterator[int]:
    """Run a broker as a child process and yield its port; it ends with the block.

    Raises:
        BrokerUnavailable: it does not start.
    """
    command = [sys.executable, "-m", "demo.broker", "--port", str(port)]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.strip().isdigit():
                raise BrokerUnavailable("the embedded broker did not start: see above")
            yield int(line)
        finally:
            process.terminate()
            process.wait()


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    from amqtt.broker import Broker  # takes half a second to import

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await broker.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await stop.wait()
    await broker.shutdown()


def main() -> None:
    """Run a broker."""
    parser = argparse.ArgumentParser(prog="python -m demo.broker", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 chooses a free one")
    port = parser.parse_args().port or free_port()
    logging.basicConfig(level=logging.CRITICAL)  # amqtt warns about every client that leaves
    asyncio.run(serve(port))


if __name__ == "__main__":
    main()
