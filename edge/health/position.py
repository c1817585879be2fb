"""Where a device is: written down for a camera that stands, from gpsd for one that moves."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from edge import limits
from edge.config import DeviceConfig
from edge.errors import FormatError
from edge.health.clock import running
from edge.watchlist.place import Fix

log = logging.getLogger(__name__)

_WATCH = b'?WATCH={"enable":true,"json":true};\n'
_LINE_BYTES = 16 * 1024
"""gpsd's own limit on a response is 10,240 bytes (GPS_JSON_RESPONSE_MAX)."""


class Position(Protocol):
    """Something that knows where the device is."""

    def fix(self) -> Fix | str:
        """Return the last position, or why there is none. Returns at once."""

    def close(self) -> None:
        """Stop asking."""


class Standing:
    """A camera that does not move."""

    def __init__(self, position: tuple[float, float] | None) -> None:
        """Take latitude and longitude in degrees."""
        self._position = position

    def fix(self) -> Fix | str:
        """Return the configured position."""
        return Fix(*self._position) if self._position else "device.position is not set"

    def close(self) -> None:
        """Do nothing."""


class _Report(msgspec.Struct, frozen=True):
    """What is read of a TPV report (gpsd_json(5)); the rest is ignored.

    Attributes:
        mode: 0 and 1: no fix; 2: latitude and longitude; 3: altitude, too.
        lat: latitude, degrees.
        lon: longitude, degrees.
        eph: estimated horizontal error, metres.
        epx: estimated error of the longitude, metres.
        epy: estimated error of the latitude, metres.
    """

    mode: int = 0
    lat: Annotated[float, Meta(ge=-90, le=90)] | None = None
    lon: Annotated[float, Meta(ge=-180, le=180)] | None = None
    eph: Annotated[float, Meta(ge=0)] | None = None
    epx: Annotated[float, Meta(ge=0)] | None = None
    epy: Annotated[float, Meta(ge=0)] | None = None


class _Class(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="class", default="")


def read_report(line: bytes, now: float) -> Fix | str | None:
    """Return what a line from gpsd says of the position; None if it is about something else.

    Args:
        line: one response: a JSON object with a member "class".
        now: seconds since the machine started.

    Raises:
        FormatError: no such line.
    """
    if len(line) > _LINE_BYTES:
        raise FormatError(f"line of more than {_LINE_BYTES} bytes from gpsd")
    try:
        if msgspec.json.decode(line, type=_Class).name != "TPV":
            return None
        report = msgspec.json.decode(line, type=_Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"gpsd sends no report in the documented form: {error}") from error
    if report.mode < 2 or report.lat is None or report.lon is None:
        return "the receiver has no fix"
    if report.eph is not None:
        error_m = report.eph
    elif report.epx is not None and report.epy is not None:
        error_m = math.hypot(report.epx, report.epy)
    else:
        return "the receiver does not say how accurate it is"
    return Fix(report.lat, report.lon, error_m, now)


class Gpsd:
    """Follows gpsd over TCP; connects again whenever it has gone.

    *Not yet run with a receiver*: exercised by a simulator that speaks gpsd's JSON.
    """

    def __init__(self, host: str, port: int, *, running: Callable[[], float] = running) -> None:
        """Begin to follow.

        Args:
            host: name or address of gpsd.
            port: TCP port.
            running: seconds since the machine started.
        """
        self._where = (host, port)
        self._running = running
        self._fix: Fix | str = f"gpsd at {host}:{port} has not reported yet"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="position", daemon=True)
        self._thread.start()

    def fix(self) -> Fix | str:
        """Return the last position, however old, or why there is none."""
        return self._fix

    def close(self) -> None:
        """Hang up."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                with socket.create_connection(self._where, limits.GPSD_ANSWER_S) as connection:
                    self._follow(connection)
                said = "it hung up"
            except (OSError, ValueError, OverflowError, FormatError) as error:
                said = str(error)
            self._fix = f"gpsd at {self._where[0]}:{self._where[1]}: {said}"
            self._closing.wait(limits.GPSD_RETRY_S)

    def _follow(self, connection: socket.socket) -> None:
        connection.sendall(_WATCH)
        connection.settimeout(limits.GPSD_POLL_S)
        received = b""
        while not self._closing.is_set():
            try:
                part = connection.recv(4096)
            except TimeoutError:
                continue  # a fix that grows old is found out by its age
            if not part:
                return
            *lines, received = (received + part).split(b"\n")
            if len(received) > _LINE_BYTES:
                raise FormatError(f"line of more than {_LINE_BYTES} bytes")
            for line in filter(None, map(bytes.strip, lines)):
                found = read_report(line, self._running())
                if found is not None:
                    self._fix = found


def open_position(device: DeviceConfig) -> Position:
    """Return what knows where a device is: gpsd for a body-worn one, else its configuration."""
    if device.profile == "fixed":
        return Standing(device.position)
    return Gpsd(*device.gpsd_address)
