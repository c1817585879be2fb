"""Publishing retained messages, and waiting until the broker has taken them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from edge import limits
from edge.errors import BrokerUnavailable
from edge.link.session import Link


class Sender:
    """Publishes below one prefix. Used by one thread; nothing else may publish on its link."""

    def __init__(self, link: Link, prefix: str) -> None:
        """Publish on a session.

        Args:
            link: the session; connected before anything is sent.
            prefix: of all topics, with the slash at its end.
        """
        self._link = link
        self._prefix = prefix
        self._open = 0
        self._changed = threading.Condition()
        link.on_acknowledged(self._acknowledged)

    def queue(self, path: str, content: bytes) -> None:
        """Send; returns before the broker has taken it, unless many wait already.

        Raises:
            BrokerUnavailable: the connection is gone, or the broker takes nothing.
        """
        with self._changed:
            while self._open >= limits.FETCH_TOPICS:
                self._wait()
            self._open += 1
        if self._link.publish(self._prefix + path, content, retain=True) is None:
            raise BrokerUnavailable("the broker was lost while publishing; publish again")

    def wait(self) -> None:
        """Wait until all is taken.

        Raises:
            BrokerUnavailable: the broker takes nothing for `limits.PUBLISH_ACK_S`.
        """
        with self._changed:
            while self._open:
                self._wait()

    def send(self, messages: Mapping[str, bytes]) -> None:
        """Send and wait; errors as `queue` and `wait`."""
        for path, content in messages.items():
            self.queue(path, content)
        self.wait()

    def _wait(self) -> None:
        if not self._changed.wait(limits.PUBLISH_ACK_S):
            raise BrokerUnavailable(
                f"the broker did not take a message within {limits.PUBLISH_ACK_S:g} s; does it "
                "limit the size of messages, or who may publish them?"
            )

    def _acknowledged(self, _number: int) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()
