"""The way from the device to the broker, which can be slow: also where a kernel lacks netem."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Passes TCP connections on, as slowly as it is told."""

    def __init__(self, bind: str, target: int) -> None:
        """Take a port.

        Args:
            bind: address to listen on.
            target: port on loopback that connections are passed on to.
        """
        self._server = socket.create_server((bind, 0))
        self.port = self._server.getsockname()[1]
        self._target = target
        self._sockets: list[socket.socket] = []
        self.bytes_per_second = 0.0
        """At most, each way of each connection; 0: as fast as it goes."""
        self.delay = 0.0
        """Seconds that every piece takes, each way."""

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.drop()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def drop(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets = []

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # it is away: so is the way to it
                    client.close()
                    continue
                for each in (client, broker):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, broker]
                for pair in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if self.delay or self.bytes_per_second:
                    rate = self.bytes_per_second
                    time.sleep(self.delay + (len(data) / rate if rate else 0.0))
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
