"""Introducing the device to Home Assistant, while that is wanted."""

from __future__ import annotations

from collections.abc import Mapping

from edge.config import HomeAssistantConfig
from edge.link.session import Link
from edge.link.status import StatusPublisher
from edge.protocol.home_assistant import discovery_topic


class Introduction:
    """Keeps one discovery document at the broker, or none."""

    def __init__(self, link: Link, device: str, document: Mapping[str, object]) -> None:
        """Prepare; nothing is published before `set`.

        Args:
            link: session with the broker.
            device: its id.
            document: what is said of it.
        """
        self._link, self._device, self._document = link, device, document
        self._published: dict[str, StatusPublisher] = {}

    def set(self, wanted: HomeAssistantConfig) -> None:
        """Publish it where that is wanted, and have it forgotten where it is not any more."""
        topic = discovery_topic(wanted.prefix, self._device) if wanted.discovery else None
        for other, publisher in self._published.items():
            if other != topic:
                publisher.clear()
        if topic is not None:
            if topic not in self._published:
                self._published[topic] = StatusPublisher(self._link, topic)
            self._published[topic].set(self._document)
