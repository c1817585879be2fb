"""The desk where devices ask for certificates: requests at the broker, and their answers."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator
from pathlib import Path

from edge import limits
from edge.errors import BadInput, KeyRefused
from edge.link.sender import Sender
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.enrolment import Asked, read_request
from fleet import approval, setup
from fleet.authority import Authority
from fleet.folder import locked
from fleet.repository import Repository

log = logging.getLogger(__name__)


class Desk:
    """Takes requests from a broker, one after the other, and sends the answers. For one thread."""

    def __init__(
        self,
        link: Link,
        root: str,
        authority: Callable[[], Authority],
        folder: Path,
        register: Callable[[Asked, bool], None] = lambda _asked, _renewal: None,
    ) -> None:
        """Listen for requests.

        Args:
            link: a session that may read requests and write answers.
            root: first level of every topic.
            authority: opens the authority anew: another command may have changed it.
            folder: of the authority; locked while it signs.
            register: called before a certificate is signed, with whether it is a renewal; raises
                `KeyRefused` where there is to be none.
        """
        self._link, self._root, self._register = link, root, register
        self._open, self._folder = authority, folder
        self._sender = Sender(link, "")
        self._came: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        link.subscribe(
            topics.enrol_request(root, "+"),
            lambda topic, payload: self._came.put((topic, payload)),
            limits.MAX_ENROLMENT_BYTES,
        )

    def close(self) -> None:
        """End `requests` soon; from any thread."""
        self._came.put(None)

    def requests(self, timeout: float | None = None) -> Iterator[Asked]:
        """Yield requests that are their devices' own, as they come; log what is none.

        Args:
            timeout: end when nothing has come for so many seconds; None: never.
        """
        while True:
            try:
                found = self._came.get(timeout=timeout)
            except queue.Empty:
                return
            if found is None:
                return
            topic, payload = found
            if not payload:
                continue  # taken away
            try:
                asked = read_request(payload)
            except BadInput as error:
                log.warning("request on %s refused: %s", topic, error)
                continue
            if topic == topics.enrol_request(self._root, asked.name):
                yield asked
            else:
                log.warning("request on %s refused: it is of %r", topic, asked.name)

    def serve(self, asked: Asked) -> approval.Decision:
        """Answer a request as the rules say; one that waits for a person is left as it is.

        Raises:
            ConfigError, StorageUnavailable: the authority cannot be used.
        """
        with locked(self._folder):
            authority = self._open()
            decision = approval.decide(authority, asked)
            if decision.verdict == "wait":
                return decision
            if decision.verdict == "sign":
                try:
                    self._register(asked, decision.renewal)
                except KeyRefused as error:
                    decision = approval.Decision("refuse", str(error))
            answer = (
                approval.signed(authority, asked)
                if decision.verdict == "sign"
                else approval.refused(asked, decision.reason)
            )
        self.answer(asked, answer)
        return decision

    def answer(self, asked: Asked, answer: bytes) -> None:
        """Send an answer, retained, and take the request away.

        Args:
            asked: the request.
            answer: to it.

        Raises:
            BrokerUnavailable: it does not take them; the request stays, and is answered again.
        """
        self._sender.send({topics.enrol_answer(self._root, asked.name): answer})
        self._sender.send({topics.enrol_request(self._root, asked.name): b""})


def register(fleet: Path, passphrase: bytes | None, asked: Asked, renewal: bool) -> None:
    """Have a fleet know the keys of a device that gets a certificate.

    Raises:
        KeyRefused: a renewal of a device that the fleet has removed, or does not know.
        ConfigError: the fleet knows it with other keys, or keys that must sign are not here.
    """
    with locked(fleet):
        repository = Repository.existing(fleet, passphrase)
        known = setup.read_devices(repository)
        if renewal and asked.name not in known:
            raise KeyRefused(f"{asked.name}: is no part of the fleet (any more)")
        if known.get(asked.name) != asked.request.device:
            setup.add_device(repository, asked.request.device)
            repository.seal_state()
            repository.save()
