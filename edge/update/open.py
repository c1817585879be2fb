"""Updates of one device, put together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import __version__
from edge.audit.diary import Diary
from edge.config import Config
from edge.health.clock import Clock
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.update import Software
from edge.trust.client import Trust
from edge.update.download import Downloader, trusted
from edge.update.machine import Machine
from edge.update.reporter import Reporter
from edge.update.updater import Senses, Updater

FOLLOWER = "update"
"""What a refusal of an announcement begins with."""


class Updates:
    """What keeps a device up to date. A system without slots only says which version it runs."""

    def __init__(
        self,
        config: Config,
        machine: Machine,
        link: Link,
        trust: Trust,
        *,
        key: Ed25519PrivateKey,
        diary: Diary,
        clock: Clock,
        candidate: Callable[[], bool],
        armed: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        """Prepare; nothing is fetched before `start`.

        Args:
            config: of the device.
            machine: the system it runs on.
            link: session with the broker.
            trust: what the fleet has signed.
            key: of the device, signs its reports.
            diary: where it is recorded.
            clock: for the window.
            candidate: whether somebody on the list is in view.
            armed: whether the device looks for somebody.
            now: wall clock, seconds since 1970.

        Raises:
            ConfigError: the file of authorities cannot be used.
            StorageUnavailable: the folder for bundles cannot be made.
        """
        device, compatible = config.device.id, machine.compatible
        self._clock = clock
        reporter = Reporter(
            link,
            topics.update(config.broker.topic_root, device),
            device,
            key,
            Software(
                state="current" if compatible else "unsupported",
                version=machine.release("VERSION_ID") if compatible else __version__,
                compatible=compatible,
            ),
            now=now,
        )
        self._updater: Updater | None = None
        if compatible:
            updater = self._updater = Updater(
                device,
                machine,
                Downloader(
                    machine.folder,
                    trusted(config.update.ca_file),
                    on_progress=lambda percent: updater.on_progress(percent),
                    wanted=lambda: updater.wanted(),
                ),
                reporter,
                Senses(minute=self._minute, candidate=candidate, armed=armed),
                note=diary.note,
                refuse=lambda reason: diary.refuse("update", reason),
            )
            trust.follow(FOLLOWER, updater.follow)

    def start(self) -> None:
        """Begin."""
        if self._updater is not None:
            self._updater.start()

    def close(self) -> None:
        """Stop; what was fetched so far is kept."""
        if self._updater is not None:
            self._updater.close()

    def _minute(self) -> int | None:
        time = self._clock.read()
        if time.doubt:
            return None
        moment = datetime.fromtimestamp(time.now, UTC)
        return 60 * moment.hour + moment.minute
