"""How python-tuf downloads: from the shelf."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edge import limits
from edge.protocol import topics
from edge.trust.shelf import Shelf


class MqttFetcher(FetcherInterface):
    """What python-tuf downloads from: its addresses are paths on the shelf."""

    def __init__(self, shelf: Shelf, timestamp: Callable[[], bytes]) -> None:
        """Fetch from a shelf.

        Args:
            shelf: where everything lies.
            timestamp: the newest timestamp.json, which the broker sends by itself.
        """
        self._shelf = shelf
        self._timestamp = timestamp

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield a file in one part; python-tuf checks its length against the signed one."""
        if url == topics.TIMESTAMP:
            return iter([self._timestamp()])
        most = limits.MAX_TARGETS_BYTES if url.startswith("metadata/") else limits.MAX_TARGET_BYTES
        content = self._shelf.read({url: most}).get(url)
        if content is None:
            raise DownloadHTTPError(f"{url}: the broker holds nothing there", 404)
        return iter([content])
