"""New models for a device, without a new image: announced, checked, tried out, used.

A target `models/<channel>` of the role `models`. The bundle is fetched on the trust thread, as
everything that is signed; what takes long happens on a thread of its own, for a list that is
withdrawn must not wait for it. The device then starts anew with them, when nobody on the list is
in view. The list in force keeps its templates: models that make others wait until a list for them
is in force.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge import limits
from edge.errors import BadInput, LetheError, StorageUnavailable, short
from edge.protocol import audit, model_bundle
from edge.protocol.update import Models, ModelsState
from edge.update.model_store import SHIPPED, ModelStore
from edge.update.reporter import Reporter

if TYPE_CHECKING:
    from edge.trust.view import View

log = logging.getLogger(__name__)
SHORT = 16
"""Digits of a hash that are said upstream, as of models in events."""


class ModelUpdates:
    """Follows the models that are announced for one device."""

    def __init__(
        self,
        channel: str,
        store: ModelStore,
        reporter: Reporter,
        *,
        names: tuple[str, str],
        embedder_in_force: Callable[[], str],
        candidate: Callable[[], bool],
        restart: Callable[[], None],
        note: Callable[[audit.Updated | audit.NotUpdated], None],
    ) -> None:
        """Say how things stand; nothing is fetched before `follow` is called.

        Args:
            channel: which target.
            store: the models on the disk.
            reporter: tells upstream.
            names: detector and embedder that the configuration names; empty for the defaults.
            embedder_in_force: id of the embedder that the list in force was made with; empty
                without a list.
            candidate: whether somebody on the list is in view.
            restart: starts the device anew.
            note: records what was put in use or gone back from.
        """
        self._path = model_bundle.target_path(channel)
        self._store, self._reporter, self._names = store, reporter, names
        self._embedder_in_force, self._candidate = embedder_in_force, candidate
        self._restart, self._note = restart, note
        self._pending: tuple[str, bytes] | None = None
        self._ready: tuple[str, str] | None = None  # hash, embedder id
        self._announced: str | None = None
        self._known = False
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        active = store.active
        if store.fallen is not None:
            self._note_rejected(store.fallen.sha256, store.fallen.reason)
            self._say("gone-back", store.fallen.reason)
        elif active is not None:
            self._say("current" if active.proven else "trying", "")

    def follow(self, view: View) -> None:
        """Take what is announced in a new state; a `Consumer` of `edge.trust.client.Trust`.

        Raises:
            BadInput: refused; what was announced before stays.
            Unavailable: it cannot be fetched at the moment.
        """
        target = view.find(self._path, model_bundle.ROLE)
        sha256 = target.sha256 if target is not None else None
        content = b""
        if target is not None and self._is_new(target.sha256):
            content = view.read(target)
        with self._wake:
            if sha256 != self._announced:
                self._ready = None
            self._announced, self._known = sha256, True
            if content and sha256 is not None:
                self._pending = sha256, content
            self._wake.notify()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(limits.UPDATE_CLOSE_S)

    def works(self) -> None:
        """Take note that the device works: models on trial are kept."""
        try:
            proven = self._store.prove()
        except StorageUnavailable as error:
            log.warning("models: %s", error)
            return
        if proven is not None:
            new = proven.sha256[:SHORT]
            before = proven.before[:SHORT]
            self._note(
                audit.Updated(what="models", before=before, version=new, sha256=proven.sha256)
            )
            self._say("current", "")

    def _note_rejected(self, sha256: str, reason: str) -> None:
        self._note(
            audit.NotUpdated(
                what="models", version=sha256[:SHORT], sha256=sha256,
                reason=short(reason),
            )
        )  # fmt: skip

    def _is_new(self, sha256: str) -> bool:
        active = self._store.active
        return (
            not (active and active.sha256 == sha256)
            and self._store.rejected(sha256) is None
            and (self._ready is None or self._ready[0] != sha256)
            and (self._pending is None or self._pending[0] != sha256)
        )

    def _work(self) -> None:
        while True:
            pause = limits.UPDATE_CHECK_S
            with self._wake:
                if self._closing:
                    return
            try:
                self.step()
            except LetheError as error:
                pause = limits.UPDATE_RETRY_FIRST_S
                self._say("waiting", str(error))
            except Exception as error:  # the next models may mend what these broke
                log.exception("models")
                pause = limits.UPDATE_RETRY_FIRST_S
                self._say("waiting", f"unexpected {type(error).__name__}, see the log")
            with self._wake:
                if not self._closing:
                    self._wake.wait(pause)

    def step(self) -> None:
        """Do what is to be done now.

        Raises:
            StorageUnavailable: the disk takes nothing; what is in use stays.
        """
        if not self._known:
            return
        if (pending := self._pending) is not None:
            self._examine(*pending)
        announced, active = self._announced, self._store.active  # it may be another by now
        if announced is None:
            if active is not None and not self._candidate():
                self._store.put_away()
                self._restart()
            return
        if active is not None and active.sha256 == announced:
            return
        if (rejected := self._store.rejected(announced)) is not None:
            self._say(rejected.state, rejected.reason)
        elif self._ready is not None and self._ready[0] == announced:
            self._use(*self._ready)

    def _examine(self, sha256: str, content: bytes) -> None:
        """Unpack and try out what has come."""
        self._say("waiting", "is being tried out")
        try:
            manifest = self._store.unpack(sha256, model_bundle.decode(content))
            self._store.try_out(sha256, *self._names, wanted=lambda: not self._closing)
            ready = sha256, manifest.embedder(self._names[1])[1].embedder_id
        except BadInput as error:
            self._store.reject(sha256, "refused", str(error))
            self._note_rejected(sha256, str(error))
            ready = None
        with self._wake:
            if self._pending == (sha256, content):
                self._pending = None
                self._ready = ready

    def _use(self, sha256: str, embedder: str) -> None:
        """Start anew with models that have passed, when that disturbs nobody."""
        wanted = self._embedder_in_force()
        if wanted and wanted != embedder:
            self._say("waiting", f"made for templates of {embedder}; the list's are of {wanted}")
        elif self._candidate():
            self._say("waiting", "a candidate is in view")
        else:
            self._store.activate(sha256)
            log.info("starting anew with models %s", sha256[:SHORT])
            self._restart()

    def _say(self, state: ModelsState, reason: str) -> None:
        active = self._store.active
        self._reporter.set(
            models=Models(
                state=state,
                active=active.sha256[:SHORT] if active else SHIPPED,
                target=(self._announced or "")[:SHORT],
                reason=short(reason),
            )
        )
