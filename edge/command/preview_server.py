"""Serving the preview: one page and one picture, on one interface, under a path nobody can guess.

The socket is bound to the interface itself (SO_BINDTODEVICE, socket(7)), not only to its address:
Linux would take packets for an address from any of its interfaces.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import logging
import secrets
import socket
import struct
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

from edge import limits
from edge.errors import ConfigError

log = logging.getLogger(__name__)

_SIOCGIFADDR = 0x8915
"""netdevice(7): the IPv4 address of an interface."""
_PAGE = (
    b"<!doctype html><title>Lethe: aim</title><meta name=viewport content=width=device-width>"
    b"<style>body{margin:0;background:#222}img{width:100%;image-rendering:pixelated}</style>"
    b"<img id=p src=picture.jpg alt=''><script>"
    b"setInterval(()=>{p.src='picture.jpg?'+Date.now()},500)</script>"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'",
}


def address_of(interface: str) -> str:
    """Return the IPv4 address of a network interface.

    Raises:
        ConfigError: there is no such interface, or it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            found = fcntl.ioctl(
                asking.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode())
            )
        except OSError as error:
            raise ConfigError(
                f"aim.interface {interface}: no IPv4 address: {error.strerror}"
            ) from error
    return socket.inet_ntoa(found[20:24])


class PreviewServer:
    """Serves the newest picture until closed.

    Attributes:
        address: what to open in a browser.
    """

    def __init__(self, interface: str, port: int) -> None:
        """Begin to serve.

        Args:
            interface: name of the network interface.
            port: TCP port; 0: any.

        Raises:
            ConfigError: the interface has no address, or it may not be listened on.
        """
        host = address_of(interface)
        token = secrets.token_urlsafe(limits.AIM_TOKEN_BYTES)
        self._jpeg: bytes | None = None
        self._server = HTTPServer((host, port), self._handler(token), bind_and_activate=False)
        try:
            self._server.allow_reuse_address = True
            self._server.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0"
            )
            self._server.server_bind()
            self._server.server_activate()
        except OSError as error:
            self._server.server_close()
            raise ConfigError(
                f"aim: {host}:{port} on {interface} cannot be listened on: {error.strerror}"
            ) from error
        self.address = f"http://{host}:{self._server.server_port}/{token}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="preview-server", daemon=True
        )
        self._thread.start()

    def show(self, jpeg: bytes) -> None:
        """Show this picture from now on."""
        self._jpeg = jpeg

    def close(self) -> None:
        """End, and forget the picture."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._jpeg = None

    def _handler(self, token: str) -> type[BaseHTTPRequestHandler]:
        shown = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request; whoever dawdles is let go."""

            server_version, sys_version = "Lethe", ""

            def setup(self) -> None:
                """Begin; a timeout of the socket would begin anew with each letter that comes."""
                super().setup()
                self._limit = threading.Timer(limits.AIM_REQUEST_S, self._let_go)
                self._limit.daemon = True
                self._limit.start()

            def finish(self) -> None:
                """End."""
                self._limit.cancel()
                with contextlib.suppress(OSError):  # whoever asked has gone
                    super().finish()

            def _let_go(self) -> None:
                with contextlib.suppress(OSError):  # it has ended by itself
                    self.connection.shutdown(socket.SHUT_RDWR)

            def do_GET(self) -> None:
                """Give the page or the picture to whoever knows the path."""
                given, _, name = self.path.partition("?")[0].removeprefix("/").partition("/")
                known = hmac.compare_digest(given.encode(), token.encode())
                jpeg = shown._jpeg
                if known and not name:
                    self._give("text/html; charset=utf-8", _PAGE)
                elif known and name == "picture.jpg" and jpeg is not None:
                    self._give("image/jpeg", jpeg)
                else:
                    self.send_error(HTTPStatus.NOT_FOUND)

            def _give(self, kind: str, content: bytes) -> None:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                for name, value in _HEADERS.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, _format: str, *_args: object) -> None:
                """Say nothing: the path is a secret."""

        return Handler
