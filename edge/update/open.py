"""Updates of one device, put together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import __version__
from edge.audit.diary import Diary
from edge.config import Config, VisionConfig
from edge.health.clock import Clock
from edge.inference.open import BackEnds
from edge.link.session import Link
from edge.protocol import topics
from edge.protocol.update import Software
from edge.trust.client import Trust
from edge.update.machine import Machine
from edge.update.model_store import ModelStore
from edge.update.models import ModelUpdates
from edge.update.reporter import Reporter
from edge.vision.engine import Vision
from edge.watchlist.gallery import Gallery

if TYPE_CHECKING:
    from edge.update.updater import Updater

FOLLOWERS = ("update", "models")
"""Names under which announcements are followed."""


def open_vision(config: VisionConfig, store: ModelStore | None, engines: Path) -> Vision:
    """Load the models in use.

    Args:
        config: which of them, and what runs them.
        store: of models that came after the software; None where the configuration names a folder.
        engines: where what an accelerator makes of models is kept.

    Raises:
        ModelError: they cannot be loaded; nor can those that came with the software.
    """

    def load(folder: Path | None) -> Vision:
        return Vision.open(
            folder,
            config.detector,
            config.embedder,
            config.threads,
            BackEnds(
                wanted=config.backend,
                python=config.accelerator_python,
                edgetpu_device=config.edgetpu_device,
                cache=str(engines),
            ),
        )

    return store.open(load) if store is not None else load(Path(config.models_dir))


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
        gallery: Callable[[], Gallery | None],
        embedder: Callable[[], str],
        models: ModelStore | None,
        restart: Callable[[], None],
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
            gallery: the list that is looked by at the moment.
            embedder: which one the list that is held was made with; empty without a list.
            models: that came after the software; None where the configuration names a folder.
            restart: starts the device anew, with other models.
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
        if compatible:  # what fetches over HTTPS is imported where there are slots only
            from edge.update.download import Downloader, trusted
            from edge.update.updater import Senses, Updater

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
                Senses(
                    minute=self._minute,
                    candidate=candidate,
                    armed=lambda: gallery() is not None,
                ),
                note=diary.note,
                refuse=lambda reason: diary.refuse("update", reason),
            )
            trust.follow(FOLLOWERS[0], updater.follow)
        self._models: ModelUpdates | None = None
        if models is not None:
            self._models = ModelUpdates(
                config.update.models,
                models,
                reporter,
                names=(config.vision.detector, config.vision.embedder),
                embedder_in_force=embedder,
                candidate=candidate,
                restart=restart,
                note=diary.note,
            )
            trust.follow(FOLLOWERS[1], self._models.follow)

    def start(self) -> None:
        """Begin."""
        for each in (self._updater, self._models):
            if each is not None:
                each.start()

    def works(self) -> None:
        """Take note that the device does its work: models on trial are kept."""
        if self._models is not None:
            self._models.works()

    def close(self) -> None:
        """Stop; what was fetched so far is kept."""
        for each in (self._updater, self._models):
            if each is not None:
                each.close()

    def _minute(self) -> int | None:
        time = self._clock.read()
        if time.doubt:
            return None
        moment = datetime.fromtimestamp(time.now, UTC)
        return 60 * moment.hour + moment.minute
