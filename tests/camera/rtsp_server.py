"""A small RTSP server for tests: serves an MPEG transport stream over RTP, interleaved in TCP.

RTSP 1.0 (RFC 2326), RTP payload type 33 (RFC 2250). The client under test is the real one: FFmpeg
inside OpenCV.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

TS_PACKET = 188
PER_RTP = 7


class RtspServer:
    """Serves one stream to any number of clients; can be killed and started again."""

    def __init__(
        self, stream: Path, *, port: int, credentials: str = "", rate: float = 60.0
    ) -> None:
        """Prepare a server.

        Args:
            stream: a transport stream; it is repeated for ever.
            port: on loopback.
            credentials: "user:password" that a client must give; none if empty.
            rate: RTP packets a second.
        """
        self._stream = stream.read_bytes()
        self.port = port
        self._credentials = credentials
        self._pause = 1.0 / rate
        self._sockets: list[socket.socket] = []
        self._stop = threading.Event()
        self.silent = threading.Event()
        """While set, connections stay open and nothing is sent in them."""
        self.opened = 0
        """How often a client has begun to play."""

    def start(self) -> None:
        self._stop.clear()
        server = socket.create_server(("127.0.0.1", self.port))
        self._sockets = [server]
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def kill(self) -> None:
        self._stop.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            requests = client.makefile("rb")
            while line := requests.readline().decode():
                if not line.strip():
                    continue
                method, address, _ = line.split()
                headers = {}
                while name := requests.readline().decode().strip():
                    key, _, value = name.partition(":")
                    headers[key.lower()] = value.strip()
                self._answer(client, method, address, headers)
                if method == "PLAY":
                    self._play(client)

    def _answer(
        self, client: socket.socket, method: str, address: str, headers: dict[str, str]
    ) -> None:
        expected = "Basic " + base64.b64encode(self._credentials.encode()).decode()
        lines = [f"CSeq: {headers['cseq']}"]
        body, status = "", "200 OK"
        if self._credentials and headers.get("authorization") != expected:
            status = "401 Unauthorized"
            lines.append('WWW-Authenticate: Basic realm="camera"')
        elif method == "OPTIONS":
            lines.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 33\r\na=control:track\r\n"
            )
            lines += [
                f"Content-Base: {address}/", "Content-Type: application/sdp",
                f"Content-Length: {len(body)}",
            ]  # fmt: skip
        elif method == "SETUP" and "TCP" not in headers["transport"]:
            status = "461 Unsupported Transport"
        elif method == "SETUP":
            lines += ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        elif method == "PLAY":
            lines.append("Session: 1")
        client.sendall(f"RTSP/1.0 {status}\r\n".encode())
        client.sendall("".join(f"{text}\r\n" for text in lines).encode() + b"\r\n" + body.encode())

    def _play(self, client: socket.socket) -> None:
        self.opened += 1
        size, sequence = TS_PACKET * PER_RTP, 0
        while not self._stop.is_set():
            for start in range(0, len(self._stream), size):
                payload = self._stream[start : start + size]
                stamp = int(time.monotonic() * 90_000) & 0xFFFFFFFF
                packet = struct.pack(">BBHII", 0x80, 33, sequence & 0xFFFF, stamp, 1) + payload
                if not self.silent.is_set():
                    client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                sequence += 1
                if self._stop.wait(self._pause):
                    return
