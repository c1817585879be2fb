"""Reading retained topics as if they were files, for python-tuf and for what it names.

MQTT has no answer for "there is nothing". So each question ends with a sentinel that is always
retained: a broker delivers what is retained in the order in which it was subscribed to, and when
the sentinel comes first, the topics before it hold nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice

from edge import limits
from edge.errors import BrokerUnavailable, FormatError
from edge.link.session import Link
from edge.protocol import topics


class Shelf:
    """Retained topics below a common one, and a sentinel. Read by one thread at a time."""

    def __init__(self, link: Link, prefix: str, sentinel: str = topics.SENTINEL) -> None:
        """Listen for what will be asked; nothing is asked yet.

        Args:
            link: session with the broker.
            prefix: of the topics, with the slash at its end.
            sentinel: path of a topic below it that is always retained.
        """
        self._sentinel = sentinel
        self._link = link
        self._prefix = prefix
        self._changed = threading.Condition()
        self._awaited: dict[str, int] = {}  # path: most bytes
        self._came: dict[str, bytes] = {}
        self._problem: Exception | None = None
        self._closed = False
        link.route(f"{self._prefix}#", self._take, limits.MAX_TARGET_BYTES)
        link.on_lost(lambda: self._fail(BrokerUnavailable("the broker was lost during the fetch")))

    def read(self, wanted: Mapping[str, int]) -> dict[str, bytes]:
        """Return what the broker holds.

        Args:
            wanted: path to the most bytes that are taken.

        Returns:
            Path to content; a path that holds nothing is absent.

        Raises:
            BrokerUnavailable: no connection, it was lost, or the broker is silent.
            FormatError: a message is larger than wanted.
        """
        found: dict[str, bytes] = {}
        rest = iter(wanted.items())
        while part := dict(islice(rest, limits.FETCH_TOPICS)):
            found |= self._read(part)
        return found

    def close(self) -> None:
        """Give up what is being read, and read nothing more."""
        self._closed = True
        self._fail(BrokerUnavailable("the device is stopping"))

    def _read(self, wanted: dict[str, int]) -> dict[str, bytes]:
        asked = [self._prefix + path for path in (*wanted, self._sentinel)]
        with self._changed:
            self._awaited = {**wanted, self._sentinel: limits.MAX_TIMESTAMP_BYTES}
            self._came = {}
            self._problem = BrokerUnavailable("the device is stopping") if self._closed else None
        try:
            if not self._link.request(asked):
                raise BrokerUnavailable("no connection to the broker")
            with self._changed:
                self._wait()
                return {path: self._came[path] for path in wanted if path in self._came}
        finally:
            with self._changed:
                self._awaited = {}
            self._link.release(asked)

    def _wait(self) -> None:
        """Wait for the sentinel, also when all has come: it must not end the next question."""
        while True:
            if self._problem is not None:
                raise self._problem
            if self._sentinel in self._came:
                return
            if not self._changed.wait(limits.FETCH_S):
                raise BrokerUnavailable(
                    f"the broker has sent nothing for {limits.FETCH_S:g} s; has it forgotten what "
                    "was published? `lethe fleet announce` publishes it again"
                )

    def _take(self, topic: str, payload: bytes) -> None:
        """Keep what is awaited; runs on the network thread."""
        path = topic.removeprefix(self._prefix)
        with self._changed:
            most = self._awaited.get(path)
            if most is None or path in self._came or not payload:
                return
            if len(payload) > most:
                self._problem = FormatError(
                    f"{path}: message of {len(payload)} bytes, at most {most} are read"
                )
            self._came[path] = payload
            self._changed.notify()

    def _fail(self, problem: Exception) -> None:
        with self._changed:
            self._problem = problem
            self._changed.notify()
