"""A device asks for its client certificate over MQTT, and proves that the broker takes it.

The first time with a one-time password, later with the certificate that is about to end. What is
in use stays until the broker has accepted a session with the new one; a session that is open goes
on, and shows the new one when it next connects.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes

from edge import limits
from edge.config import BrokerConfig
from edge.credentials import Credentials, read
from edge.errors import LetheError
from edge.link.session import Link
from edge.protocol import audit, certificate, topics

log = logging.getLogger(__name__)


class Asking:
    """The request of a device on a session, and whatever answers it. For one thread."""

    def __init__(self, link: Link, root: str, device: str) -> None:
        """Listen for answers.

        Args:
            link: the session.
            root: first level of every topic.
            device: the device's id.
        """
        self._link, self._topic = link, topics.enrol_request(root, device)
        self._changed = threading.Condition()
        self._answer: bytes | None = None
        link.subscribe(topics.enrol_answer(root, device), self._take, limits.MAX_ENROLMENT_BYTES)

    def send(self, request: bytes) -> None:
        """Publish a request, retained: whoever answers may be away."""
        self._link.publish(self._topic, request, retain=True)

    def answer(self, timeout: float = 0) -> bytes | None:
        """Return the newest answer once, after waiting for it for so many seconds."""
        with self._changed:
            if self._answer is None:
                self._changed.wait(timeout)
            found, self._answer = self._answer, None
        return found

    def _take(self, _topic: str, payload: bytes) -> None:
        with self._changed:
            self._answer = payload or None
            self._changed.notify()


def accepted(broker: BrokerConfig, cert_file: Path, device: str, timeout: float) -> bool:
    """Return whether the broker accepts a session with a certificate, within `timeout` seconds.

    Raises:
        ConfigError: it cannot be used at all.
    """
    connected = threading.Event()
    trial = msgspec.structs.replace(
        broker, cert_file=str(cert_file), key_file=None, username=None, password_file=None
    )
    link = Link(trial, f"lethe-{device}-trial")
    link.on_connected(connected.set)
    link.start()
    try:
        return connected.wait(timeout)
    finally:
        link.close()


class Renewal:
    """Has the certificate of a running device renewed in time. `look` is called now and then.

    Attributes:
        reason: what is wrong, in words; empty if nothing is.
    """

    def __init__(
        self,
        credentials: Credentials,
        link: Link,
        broker: BrokerConfig,
        device: str,
        *,
        now: Callable[[], float],
        note: Callable[[audit.Renewed], None] = lambda _: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look after the certificate that `broker` names.

        Args:
            credentials: of the device; if they are what the broker is shown, they are renewed,
                otherwise only their end is told.
            link: the device's session.
            broker: its configuration, with `cert_file` and `ca_file`.
            device: its id.
            now: wall clock, seconds since 1970.
            note: records that it was renewed.
            steady: seconds, never set.

        Raises:
            ConfigError: the certificate cannot be read.
        """
        self._credentials, self._link, self._broker = credentials, link, broker
        self._device, self._now, self._note, self._steady = device, now, note, steady
        self._file = Path(str(broker.cert_file))
        self._ours = self._file.resolve() == credentials.client.resolve()
        self._certificate = read(self._file)
        self._asking = Asking(link, broker.topic_root, device) if self._ours else None
        self._next = float("-inf")
        self._trouble = ""
        self.reason = ""

    @property
    def ends(self) -> float:
        """When the certificate in use ends, seconds since 1970."""
        return self._certificate.not_valid_after_utc.timestamp()

    def look(self) -> None:
        """Ask if it is time, take what has come. Not for the network thread; never raises."""
        if not certificate.is_due(self._certificate, self._now()):
            self.reason = ""
            return
        ends = f"the broker's certificate for this device ends {certificate.day(self.ends)}"
        if self._asking is None:
            self.reason = f"{ends}: renew {self._file}"
            return
        try:
            self._renew(self._asking)
        except LetheError as error:
            log.warning("certificate not renewed: %s", error)
            self._trouble = str(error)
        if certificate.is_due(self._certificate, self._now()):
            self.reason = f"{ends}: {self._trouble or 'a new one was asked for'}"
        else:
            self.reason = ""

    def _renew(self, asking: Asking) -> None:
        if self._steady() >= self._next and self._link.connected:
            self._next = self._steady() + limits.RENEWAL_ASK_S
            asking.send(self._credentials.ask())
        answer = asking.answer()
        if answer is None:
            return
        authorities = Path(str(self._broker.ca_file))
        if self._credentials.receive(answer, authorities, self._now()) is None:
            return
        if not accepted(self._broker, self._credentials.next, self._device, limits.RENEWAL_TRY_S):
            self._trouble = "the broker does not take the new one; it is asked for again"
            self._credentials.drop()
            return
        self._credentials.take_over()
        self._certificate, self._trouble = read(self._file), ""
        self._link.renew(str(self._file))
        self._note(
            audit.Renewed(
                sha256=self._certificate.fingerprint(hashes.SHA256()).hex(), until=int(self.ends)
            )
        )
        log.info("the broker's certificate for this device is renewed until %s",
                 certificate.day(self.ends))  # fmt: skip
