"""Telling systemd how the service is: sd_notify(3), one datagram a message.

The protocol is stable and documented (systemd.io, "Readiness protocol"); the packages for it are
either unmaintained or need a compiler, so these are its few lines.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class ServiceManager:
    """systemd, if it started this process; else nobody, and everything here does nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read what systemd asks for.

        Args:
            environment: NOTIFY_SOCKET: where to; WATCHDOG_USEC: how often it wants to hear;
                WATCHDOG_PID: from whom.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of Linux's abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        try:
            period = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if ours else 0.0
        except ValueError:
            period = 0.0
        self.watchdog_s = period
        """It restarts the service if it hears nothing for so long; 0: it does not listen."""

    def ready(self) -> None:
        """Say that the service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in words how the service is."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._address)
        except OSError as error:
            log.debug("systemd does not listen: %s", error)
