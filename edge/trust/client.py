"""The fleet's signed state on a device: kept up to date, and shown to those who need a part.

This module has it verified (`edge.trust.view`) whenever the broker brings a new timestamp, and
hands the result, a `View`, to whoever follows.

Whatever is refused leaves everything as it was; it is tried again later, with growing pauses.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge import limits
from edge.errors import BadInput, ConfigError, LetheError, StorageUnavailable
from edge.files import flush_folder, private_folder, read_small
from edge.link.session import Link
from edge.protocol import topics
from edge.trust.shelf import Shelf

if TYPE_CHECKING:
    from edge.trust.view import View

log = logging.getLogger(__name__)

NOTHING_YET = "nothing signed has come from the fleet yet"

Consumer: TypeAlias = "Callable[[View], None]"
"""Takes what it needs from a state; raises `LetheError` where that is refused or missing."""


class Trust:
    """Keeps the fleet's signed state up to date, on a thread of its own."""

    def __init__(
        self,
        link: Link,
        topic_root: str,
        root: bytes,
        folder: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_refusal: Callable[[str, str], None] = lambda _name, _reason: None,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            link: session with the broker.
            topic_root: first level of every topic.
            root: root metadata that this device was given on another way than the broker's.
            folder: where verified metadata is kept: it is what keeps older one out.
            on_change: called from the trust thread when `reason` changed.
            on_refusal: called from there when something is refused, with the name of what
                follows it, empty for the state as a whole, and the reason.

        Raises:
            SignatureRefused: `root` is not signed by itself.
            FormatError: `root` is no root metadata.
            StorageUnavailable: the folder cannot be written.
        """
        self._root = root
        self._folder = private_folder(folder)
        self._on_change = on_change
        self._on_refusal = on_refusal
        self._consumers: dict[str, Consumer] = {}
        self._reasons: dict[str, str] = {"": NOTHING_YET}
        self._timestamp: bytes | None = None
        self._closing = self._due = self._once_more = False
        self._wake = threading.Condition()
        self._shelf = Shelf(link, topics.trust(topic_root, ""))
        self._thread = threading.Thread(target=self._work, name="trust", daemon=True)
        if not _verified_before(root, self._folder):
            from edge.trust.view import check_root

            check_root(root, self._folder, self._shelf)
        link.subscribe(
            topics.trust(topic_root, topics.TIMESTAMP),
            self._take,
            limits.MAX_TIMESTAMP_BYTES,
        )

    @property
    def reason(self) -> str:
        """Why the newest state is not in use; empty if all is well."""
        return "; ".join(filter(None, self._reasons.values()))

    def follow(self, name: str, consumer: Consumer) -> None:
        """Have `consumer` called on the trust thread with each new state; before `start`."""
        self._consumers[name] = consumer

    def again(self) -> None:
        """Show what is known to everyone once more, as if it had just come."""
        with self._wake:
            self._due = self._once_more = True
            self._wake.notify()

    def start(self) -> None:
        """Begin to follow what the broker brings."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a fetch under way is given up."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._shelf.close()
        if self._thread.is_alive():
            self._thread.join()

    def _take(self, _topic: str, message: bytes) -> None:
        """Keep the newest timestamp; runs on the network thread.

        A message that was seen before comes at each reconnection: what failed is tried again.
        """
        with self._wake:
            self._timestamp, self._due = message, True
            self._wake.notify()

    def _newest(self) -> bytes:
        return self._timestamp or b""

    def _work(self) -> None:
        pause, settled, failures = limits.TRUST_CHECK_S, b"", 0
        while True:
            with self._wake:
                if not self._due and not self._closing:
                    self._wake.wait(pause)
                if self._closing:
                    return
                known = self._due and not self._once_more and self._timestamp == settled
                self._due = self._once_more = False
                timestamp = self._timestamp
            if timestamp is None or known:
                continue
            if self._synchronise():
                settled, failures = timestamp, 0
                pause = limits.TRUST_CHECK_S
            else:
                settled, failures = b"", failures + 1
                pause = min(
                    limits.TRUST_RETRY_FIRST_S * 2 ** min(failures - 1, 16),
                    limits.TRUST_RETRY_MAX_S,
                )

    def _synchronise(self) -> bool:
        """Refresh, and show the new state to all; return whether everything went well."""
        views: list[View] = []

        def refresh() -> None:
            from edge.trust.view import open_view  # the first time, this takes a while

            views.append(open_view(self._root, self._folder, self._shelf, self._newest))

        if not self._try("", refresh):
            return False
        done = [
            self._try(name, partial(consumer, views[0]))
            for name, consumer in self._consumers.items()
        ]
        return self._try("disk", self._flush) and all(done)

    def _flush(self) -> None:
        """Have what was verified on the disk: it is what keeps older states out."""
        try:
            flush_folder(self._folder)
        except OSError as error:
            raise StorageUnavailable(f"signed metadata cannot be kept: {error}") from error

    def _try(self, name: str, step: Callable[[], None]) -> bool:
        reason, refused = "", False
        try:
            step()
        except LetheError as error:
            reason = f"{name}: {error}" if name else str(error)
            refused = isinstance(error, BadInput)
        except Exception as error:  # a device that follows no more takes no withdrawal either
            log.exception("%s", name or "signed metadata")
            reason = f"{name}: unexpected {type(error).__name__}, see the log".removeprefix(": ")
        if self._reasons.get(name) != reason:
            if reason:
                log.warning("%s: %s", "refused" if refused else "not fetched", reason)
            if refused:
                self._on_refusal(name, reason)
            self._reasons = {**self._reasons, name: reason}
            self._on_change()
        return not reason


def _verified_before(root: bytes, folder: Path) -> bool:
    """Whether this very root lies where python-tuf keeps one as soon as its signatures hold.

    It spares the check at the start, which is only to tell whoever set the device up. What comes
    from the fleet is verified with this root, and this root by itself, each time all the same.
    """
    try:
        kept = (folder / "root_history").glob("*.root.json")
        return any(path.stat().st_size == len(root) and path.read_bytes() == root for path in kept)
    except OSError:
        return False


def read_root(path: Path) -> bytes:
    """Return the root metadata that a device was given; `Trust` verifies it.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_small(path, limits.MAX_ROOT_BYTES)
    except OSError as error:
        raise ConfigError(
            f"fleet.root: {path} cannot be read ({error.strerror}); it is root.json of the fleet"
        ) from error
