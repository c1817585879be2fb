"""The configuration in force: the device's own file, and over it what the fleet has signed.

A document that is valid is written down first and counts then: at once where it can, else after a
restart of the device, on trial. On trial it is kept when the device works with it
(`edge.settings.trial`), and gone back from when it does not: when the device cannot be made with
it, when no frame is judged in time, when starts with it end unproven too often. One that is refused
changes nothing. Whenever the power is cut, the old one is found or the new one.

The device asks `config` when it is made and is told of changes afterwards (`Reactions`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.camera.rtsp import without_credentials
from edge.config import Config
from edge.errors import BadInput, ConfigError, StorageUnavailable, short
from edge.files import private_folder
from edge.protocol import audit
from edge.protocol.configuration import Desired, GoneBack, Reported, Setting, decode
from edge.settings import layers, trial
from edge.settings.fields import plain, value_of
from edge.settings.store import Kept, SettingsStore, Trial

log = logging.getLogger(__name__)

_replace = msgspec.structs.replace


class Reactions(msgspec.Struct, frozen=True):
    """What a device does when its configuration changes. Called by the trust or health thread.

    Attributes:
        apply: puts in force what counts at once.
        restart: ends the device soon, to be made anew.
        record: takes what the audit log is to hold.
        report: takes what the fleet is to know.
    """

    apply: Callable[[Config], None]
    restart: Callable[[], None]
    record: Callable[[audit.Configured], None]
    report: Callable[[Reported], None]


class Configuration:
    """What is in force of file and fleet. Safe for several threads.

    Attributes:
        config: it.
    """

    def __init__(self, local: Config, *, pinned: frozenset[layers.Path] = frozenset()) -> None:
        """Take up what is kept. A configuration on trial is counted as tried.

        Args:
            local: from the device's own file.
            pinned: fields that the command line has set.

        Raises:
            StorageUnavailable: what is kept cannot be read.
        """
        self._local, self._pinned = local, pinned
        self._store = SettingsStore(private_folder(Path(local.device.state_dir)))
        self._lock = threading.RLock()
        self._reactions: Reactions | None = None
        self._kept = self._store.load()
        self._desired = self._kept.newest
        self._refused = ""
        self._restart: tuple[layers.Path, ...] = ()
        self._running, self.config = self._begin()

    @property
    def on_trial(self) -> bool:
        """Whether what is in force has still to show that the device works with it."""
        on_trial = self._kept.trial
        return on_trial is not None and on_trial.document == self._running

    def attach(self, reactions: Reactions) -> None:
        """Have a device react to changes from now on, and say what it was made with."""
        with self._lock:
            self._reactions = reactions
            if self.on_trial:
                self._record()
            self._report()

    def take(self, content: bytes, sha256: str) -> None:
        """Take a document that the fleet has signed for this device; the same one again is none.

        Args:
            content: of the target.
            sha256: of it, hex.

        Raises:
            BadInput: it is refused whole, with the reason; what was in force stays.
            StorageUnavailable: it cannot be kept at the moment, and does not count yet.
        """
        with self._lock:
            try:
                self._take(decode(content), sha256)
            except BadInput as refusal:
                self.refuse(refusal)
                raise
            self._refused = ""
            self._report()

    def withdraw(self) -> None:
        """Go by the device's own file alone: the fleet has signed that it wants nothing else.

        Raises:
            StorageUnavailable: it cannot be noted, and does not count yet.
        """
        with self._lock:
            self._desired, self._refused = 0, ""
            if self._kept.proven is not None or self._kept.trial is not None:
                self._settle(None, self._local, self._kept)
            self._report()

    def refuse(self, refusal: BadInput) -> None:
        """Report why what is desired does not count."""
        with self._lock:
            self._refused = short(str(refusal))
            self._report()

    def watch(self, evidence: trial.Evidence) -> None:
        """Judge a configuration that is on trial; called every second."""
        with self._lock:
            if not self.on_trial or self._restart:
                return
            verdict = trial.judge(evidence)
            if verdict is trial.Verdict.PROVEN:
                self._prove()
            elif verdict is trial.Verdict.FAILED and self.go_back(trial.says(evidence)):
                self._ask_for_restart()

    def go_back(self, reason: str) -> bool:
        """Give up a configuration that is on trial; the next start is with the one before.

        Returns:
            Whether there was one.
        """
        with self._lock:
            failed = self._kept.trial
            if failed is None or not self.on_trial:
                return False
            log.error("configuration %d: gone back from: %s", failed.document.version, reason)
            self._kept = _gone_back(self._kept, failed, reason)
            try:
                self._store.save(self._kept)
            except StorageUnavailable as error:  # it is tried again then, a few times at most
                log.warning("%s", error)
            return True

    # --- Within ----------------------------------------------------------------------------------

    def _begin(self) -> tuple[Desired | None, Config]:
        """Return the document to start with, and what follows from it."""
        on_trial = self._kept.trial
        if on_trial is not None and self._may_try(on_trial):
            try:
                return on_trial.document, self._merged(on_trial.document)
            except ConfigError as refusal:
                self._refused = short(str(refusal))
                self._keep_if_possible(_replace(self._kept, trial=None))
        proven = self._kept.proven
        if proven is not None:
            try:
                return proven, self._merged(proven)
            except ConfigError as refusal:  # the device's own file has changed, and comes first
                log.warning("configuration %d is dropped: %s", proven.version, refusal)
                self._refused = short(str(refusal))
                self._keep_if_possible(_replace(self._kept, proven=None))
        return None, self._local

    def _may_try(self, on_trial: Trial) -> bool:
        """Count a start with a configuration on trial, before it can do harm."""
        if not trial.may_start(on_trial.starts):
            reason = f"{on_trial.starts} starts with it ended before a frame was judged"
            self._keep_if_possible(_gone_back(self._kept, on_trial, reason))
            return False
        counted = _replace(on_trial, starts=on_trial.starts + 1)
        return self._keep_if_possible(_replace(self._kept, trial=counted))

    def _keep_if_possible(self, kept: Kept) -> bool:
        try:
            self._store.save(kept)
        except StorageUnavailable as error:  # the proven one is run, and nothing is tried
            log.warning("%s", error)
            return False
        self._kept = kept
        return True

    def _merged(self, document: Desired | None) -> Config:
        return layers.merged(self._local, document.settings if document else {}, self._pinned)

    def _take(self, document: Desired, sha256: str) -> None:
        kept, own = self._kept, self._local.device.id
        if document.device != own:
            raise ConfigError(f"made for device {document.device!r}, this is {own!r}")
        self._desired = document.version
        if document.version < kept.newest:
            raise ConfigError(
                f"version {document.version} is older than {kept.newest}, which was seen before"
            )
        if document.version == kept.newest and sha256 != kept.digest:
            raise ConfigError(f"version {document.version} was seen before with other content")
        gone_back = kept.gone_back
        if gone_back is not None and gone_back.version == document.version:
            raise ConfigError(f"version {gone_back.version} was gone back from: {gone_back.reason}")
        known = kept.trial.document if kept.trial else kept.proven
        if known == document:
            return
        seen = _replace(kept, newest=document.version, digest=sha256, gone_back=None)
        try:
            config = self._merged(document)
        except ConfigError as refusal:
            if seen != kept:
                self._store.save(seen)
                self._kept = seen
            raise ConfigError(f"version {document.version}: {refusal}") from refusal
        self._refused = ""
        self._settle(document, config, seen)

    def _settle(self, document: Desired | None, config: Config, seen: Kept) -> None:
        """Write a valid configuration down, then let it count."""
        proven = self._merged(self._kept.proven)
        restart = layers.changed(self.config, config, when="restart")
        if document is not None and layers.changed(proven, config, when="restart"):
            kept = _replace(seen, trial=Trial(document=document, starts=0 if restart else 1))
        else:
            kept = _replace(seen, proven=document, trial=None)
        self._store.save(kept)
        self._kept = kept
        if restart:
            log.info("configuration %s: the device restarts", _version(document))
            self._restart = restart
            self._ask_for_restart()
            return
        log.info("configuration %s in force", _version(document))
        self._running, self.config, self._restart = document, config, ()
        if self._reactions is not None:
            self._reactions.apply(config)
        self._record()

    def _prove(self) -> None:
        proven = self._kept.trial
        assert proven is not None
        kept = _replace(self._kept, proven=proven.document, trial=None)
        if self._keep_if_possible(kept):
            log.info("configuration %d: the device works with it", proven.document.version)
            self._record()
            self._report()

    def _ask_for_restart(self) -> None:
        self._report()
        if self._reactions is not None:
            self._reactions.restart()

    def _record(self) -> None:
        if self._reactions is not None:
            source = "file" if self._running is None else f"fleet, {_version(self._running)}"
            if self.on_trial:
                source += ", on trial"
            fingerprint = layers.fingerprint(self.config)
            self._reactions.record(audit.Configured(configuration=fingerprint, source=source))

    def _report(self) -> None:
        if self._reactions is not None:
            self._reactions.report(self.reported())

    def reported(self) -> Reported:
        """Return what the fleet is to know."""
        settings = self._running.settings if self._running else {}
        return Reported(
            version=self._running.version if self._running else 0,
            on_trial=self.on_trial,
            desired=self._desired,
            refused=self._refused,
            gone_back=self._kept.gone_back,
            restart=self._restart,
            fields={
                path: Setting(
                    value=_without_secrets(path, plain(value_of(self.config, path))),
                    source=layers.source(path, self._local, settings, self._pinned),
                )
                for path in layers.RULES
            },
        )


def _gone_back(kept: Kept, failed: Trial, reason: str) -> Kept:
    gone_back = GoneBack(version=failed.document.version, reason=short(reason))
    return _replace(kept, trial=None, gone_back=gone_back)


def _version(document: Desired | None) -> str:
    return "of the file" if document is None else f"version {document.version}"


def _without_secrets(path: layers.Path, value: object) -> object:
    """Return a value as it may be told: a camera's password stays on the device."""
    if path == "camera.source" and isinstance(value, str) and "://" in value:
        return without_credentials(value)
    return value
