"""The image of a device is replaced: fetched, installed, started, kept or gone back from.

    announced ─▶ waiting ─▶ downloading ─▶ installing ─▶ restarting ─▶ trying ─▶ current
                    ▲            │ what came is kept         │            │
                    └────────────┘                           ▼            ▼
                                                           failed     gone-back

What is withdrawn after it was installed is taken back first; until that is done, nothing else is.

`edge.update.policy` says when; RAUC and the boot loader do it (docs/adr/0020, 0021). What must
outlast a restart or a power cut is one small file, written before what it speaks of begins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edge import limits
from edge.errors import (
    AlterationRefused,
    LetheError,
    NoLongerWanted,
    StorageUnavailable,
    Unavailable,
    short,
)
from edge.files import private_folder, read_small, write_atomically
from edge.protocol import announcement as announcements
from edge.protocol import audit
from edge.protocol.announcement import Announcement
from edge.update import policy
from edge.update.download import Downloader
from edge.update.machine import Machine
from edge.update.policy import Facts, Failure
from edge.update.reporter import Reporter

if TYPE_CHECKING:
    from edge.trust.view import View

log = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outlasts a restart.

    Attributes:
        phase: what was begun last.
        version: of the bundle.
        sha256: of it.
        attempt: of its announcement.
        before: the version that ran when it began.
        boot: which start of the machine that was.
        cuts: in how many installations of the bundle the machine has gone down.
        failures: bundles that were tried in vain, the newest last.
    """

    phase: Literal["none", "installing", "restarting", "cancelling", "trying"] = "none"
    version: str = ""
    sha256: str = ""
    attempt: int = 0
    before: str = ""
    boot: str = ""
    cuts: int = 0
    failures: tuple[Failure, ...] = ()


class Senses(msgspec.Struct, frozen=True):
    """How an updater learns what is so on the device.

    Attributes:
        minute: of the day, UTC; None if the clock is in doubt.
        candidate: whether somebody on the list is in view.
        armed: whether the device looks for somebody.
    """

    minute: Callable[[], int | None]
    candidate: Callable[[], bool]
    armed: Callable[[], bool]


Note = Callable[[audit.Updated | audit.NotUpdated], None]


class Updater:
    """Follows announcements for one device, on a thread of its own."""

    def __init__(
        self,
        device: str,
        machine: Machine,
        downloader: Downloader,
        reporter: Reporter,
        senses: Senses,
        *,
        note: Note,
        refuse: Callable[[str], None],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take up what the last run left.

        Args:
            device: its id.
            machine: the system it runs on; it has slots.
            downloader: brings bundles into the machine's folder.
            reporter: tells upstream.
            senses: what is so on the device.
            note: records what was installed or gone back from.
            refuse: records a refusal, with the reason.
            steady: seconds, never set.

        Raises:
            StorageUnavailable: the folder cannot be made.
        """
        self._device, self._machine, self._downloader = device, machine, downloader
        self._reporter, self._senses = reporter, senses
        self._note, self._refuse, self._steady = note, refuse, steady
        self._file = private_folder(machine.folder) / "update.json"
        self._record = _read(self._file)
        self._announced: Announcement | None = None
        self._pause, self._due = limits.UPDATE_RETRY_FIRST_S, 0.0
        self._asked_at = steady()
        self._restart_due = 0.0
        self._fetching = self._have = ""
        self._refused = ""
        self._known = self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="updater", daemon=True)
        try:
            self._take_up()
        except StorageUnavailable as error:  # taken up again at the next start
            log.warning("update: %s", error)

    # --- For others -----------------------------------------------------------------------------

    def follow(self, view: View) -> None:
        """Take what is announced in a new state; a `Consumer` of `edge.trust.client.Trust`.

        Raises:
            BadInput: refused; what was announced before stays.
            Unavailable: it cannot be fetched at the moment.
        """
        path = announcements.target_path(self._machine.compatible)
        target = view.find(path, announcements.ROLE)
        announced = None if target is None else announcements.decode(view.read(target))
        with self._wake:
            self._known = True
            if announced != self._announced:
                self._announced, self._due = announced, 0.0
                self._pause = limits.UPDATE_RETRY_FIRST_S
                self._wake.notify()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a download is given up, and goes on at the next start."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(limits.UPDATE_CLOSE_S)

    def wanted(self) -> bool:
        """Whether what is being fetched is still to be: asked by the downloader."""
        announced = self._announced
        if self._closing or announced is None or announced.sha256 != self._fetching:
            return False
        facts = self._facts()
        return not policy.refusal(announced, facts) and not policy.waiting(
            announced, facts, touching=False
        )

    # --- The thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._wake:
                if self._closing:
                    return
                seen = self._announced
            try:
                self.step()
            except LetheError as error:
                log.warning("update: %s", error)
                self._reporter.change(state="waiting", reason=short(str(error)))
            except Exception as error:  # a device that updates no more cannot be mended from afar
                log.exception("update")
                reason = f"unexpected {type(error).__name__}, see the log"
                self._reporter.change(state="waiting", reason=reason)
            with self._wake:
                if not self._closing and self._announced == seen:
                    self._wake.wait(limits.UPDATE_CHECK_S)

    def step(self) -> None:
        """Do what is to be done now.

        Raises:
            StorageUnavailable: what outlasts a restart cannot be written; nothing was begun.
        """
        match self._record.phase:
            case "installing":
                self._watch_installation()
            case "restarting":
                self._restart_when_allowed()
            case "cancelling":
                self._see_whether_cancelled()
            case "trying":
                self._see_whether_kept()
            case "none":
                self._consider()

    def _consider(self) -> None:
        announced = self._announced
        if announced is None:
            self._reporter.change(
                state="current", target="", sha256="", attempt=0, percent=0, reason=""
            )
            return
        about = {
            "target": announced.version,
            "sha256": announced.sha256,
            "attempt": announced.attempt,
            "percent": 0,
        }
        facts = self._facts()
        if policy.is_current(announced, facts):
            self._reporter.change(state="current", reason="", **about)
        elif reason := policy.refusal(announced, facts):
            self._reporter.change(state="refused", reason=short(reason), **about)
            self._say_refused(announced.version, reason)
        elif failure := policy.tried(announced, facts):
            self._reporter.change(state=failure.state, reason=failure.reason, **about)
        elif reason := policy.waiting(announced, facts, touching=False):
            self._reporter.change(state="waiting", reason=reason, **about)
        elif self._fetched(announced, about):
            if reason := self._hindered(announced):
                self._reporter.change(state="waiting", reason=reason, **about)
            elif self._announced == announced:
                self._install(announced, about)

    def _say_refused(self, version: str, reason: str) -> None:
        """Record a refusal; the same one once."""
        said = f"version {version}: {reason}"
        if said != self._refused:
            self._refused = said
            self._refuse(said)

    def _fetched(self, announced: Announcement, about: dict[str, object]) -> bool:
        """Have the bundle on the disk; False if that did not succeed this time."""
        if self._have == announced.sha256:
            return True
        if self._steady() < self._due:
            return False
        self._fetching = announced.sha256
        self._reporter.change(state="downloading", reason="", **about)
        try:
            self._downloader.fetch(announced)
        except NoLongerWanted:
            return False
        except (AlterationRefused, Unavailable) as error:
            reason = f"download: {error}"
            altered = isinstance(error, AlterationRefused)
            self._reporter.change(state="failed" if altered else "waiting", reason=short(reason))
            if altered:
                self._say_refused(announced.version, reason)
            self._due = self._steady() + self._pause
            self._pause = min(2 * self._pause, limits.UPDATE_RETRY_MAX_S)
            return False
        self._have = announced.sha256
        return True

    def on_progress(self, percent: int) -> None:
        """Tell how far a download is; called by the downloader."""
        self._reporter.change(percent=_step(percent))

    def _install(self, announced: Announcement, about: dict[str, object]) -> None:
        self._write(
            Record(
                phase="installing",
                version=announced.version,
                sha256=announced.sha256,
                attempt=announced.attempt,
                before=self._machine.release("VERSION_ID"),
                boot=self._machine.boot,
                cuts=self._record.cuts if self._record.sha256 == announced.sha256 else 0,
                failures=self._record.failures,
            )
        )
        older = policy.is_older(announced, self._facts())
        self._machine.ask("install-older" if older else "install")
        self._asked_at = self._steady()
        self._reporter.change(state="installing", reason="", **about)

    def _watch_installation(self) -> None:
        asked = self._machine.asked
        result = "" if asked else self._machine.result
        if result == "installed":
            self._restart_due = 0.0
            self._write(msgspec.structs.replace(self._record, phase="restarting"))
            self._reporter.change(state="restarting", percent=100, reason="")
        elif result:
            self._fail("failed", f"RAUC: {self._machine.problem}")
        elif self._steady() - self._asked_at > limits.UPDATE_INSTALL_S:
            self._machine.ask_no_more()
            self._fail("failed", "the installation gave no result")
        else:
            percent = 0 if asked else _step(self._machine.progress)
            self._reporter.change(state="installing", percent=percent)

    def _restart_when_allowed(self) -> None:
        announced = self._announced
        if not self._known:  # nothing has come from the broker since the start
            return
        if announced is None or announced.sha256 != self._record.sha256 or announced.rollout.halted:
            log.info("version %s is no longer announced: not started", self._record.version)
            self._write(msgspec.structs.replace(self._record, phase="cancelling"))
            self._reporter.change(state="restarting", reason="withdrawn: it is being taken back")
            self._cancel()
            return
        reason = self._hindered(announced)
        self._reporter.change(state="restarting", percent=100, reason=reason)
        # Once: a request that is made while the machine goes down would be found after the restart.
        if not reason and self._steady() >= self._restart_due:
            log.info("restarting into version %s", self._record.version)
            self._machine.ask("restart")
            self._restart_due = self._steady() + limits.UPDATE_INSTALL_S

    def _cancel(self) -> None:
        """Have root's part see to it that no restart begins with what was installed."""
        self._due = self._steady() + self._pause
        self._machine.ask("cancel")

    def _see_whether_cancelled(self) -> None:
        """Go on when what was withdrawn will not start; else say so, and try again in a while."""
        machine, record = self._machine, self._record
        result = "" if machine.asked else machine.result
        if result == "cancelled":
            self._pause = limits.UPDATE_RETRY_FIRST_S
            self._write(Record(failures=record.failures))
        elif self._steady() >= self._due:  # it was refused, or the machine went down meanwhile
            self._pause = min(2 * self._pause, limits.UPDATE_RETRY_MAX_S)
            self._cancel()
        elif result == "not-cancelled":
            reason = short(f"withdrawn, but would start with any restart: {machine.problem}")
            self._reporter.change(state="failed", reason=reason)
            self._say_refused(record.version, reason)

    def _see_whether_kept(self) -> None:
        if not self._machine.kept:
            self._reporter.change(state="trying")
            return
        record = self._record
        self._note(
            audit.Updated(before=record.before, version=record.version, sha256=record.sha256)
        )
        self._downloader.clear()
        self._write(Record(failures=record.failures))

    def _hindered(self, announced: Announcement) -> str:
        return policy.waiting(announced, self._facts(), touching=True)

    def _fail(self, state: Literal["failed", "gone-back"], reason: str) -> None:
        record = self._record
        failure = Failure(record.sha256, record.attempt, state, short(reason))
        kept = (*record.failures, failure)[-limits.UPDATE_FAILURES_KEPT :]
        self._note(
            audit.NotUpdated(version=record.version, sha256=record.sha256, reason=short(reason))
        )
        log.warning("version %s: %s", record.version, reason)
        self._downloader.clear()
        self._have = ""
        self._reporter.change(
            state=state, target=record.version, sha256=record.sha256,
            attempt=record.attempt, percent=0, reason=short(reason),
        )  # fmt: skip
        self._write(Record(failures=kept))

    def _take_up(self) -> None:
        """See what became of what was begun before this start."""
        record, machine = self._record, self._machine
        if record.phase == "none":
            return
        running = machine.release("VERSION_ID")
        if running == record.version:
            if record.phase != "trying":
                self._write(msgspec.structs.replace(record, phase="trying"))
            state: Literal["trying", "restarting", "installing"] = "trying"
            if record.phase == "cancelling":
                self._say_refused(record.version, "withdrawn, and started before it was taken back")
        elif record.phase == "cancelling":  # root's answer may be gone: it is asked once more
            state = "restarting"
        elif machine.boot == record.boot:  # only the device itself was started anew
            state = "restarting" if record.phase == "restarting" else "installing"
        elif record.phase == "installing":  # the power was cut in it; the bundle is still there
            cuts = record.cuts + 1
            if cuts < limits.UPDATE_INSTALL_CUTS:
                self._write(msgspec.structs.replace(record, phase="none", cuts=cuts))
            else:
                self._fail("failed", f"the machine went down in {cuts} installations")
            return
        else:
            self._fail("gone-back", machine.gone_back(record.version))
            return
        self._reporter.change(
            state=state, target=record.version, sha256=record.sha256, attempt=record.attempt
        )

    def _write(self, record: Record) -> None:
        write_atomically(self._file, msgspec.json.encode(record))
        self._record = record

    def _facts(self) -> Facts:
        machine, senses = self._machine, self._senses
        return Facts(
            device=self._device,
            compatible=machine.compatible,
            version=machine.release("VERSION_ID"),
            minute=senses.minute(),
            candidate=senses.candidate(),
            powered=machine.powered,
            armed=senses.armed(),
            failures=self._record.failures,
        )


def _read(file: Path) -> Record:
    """Return what the last run left; a record that cannot be read is none: TUF and RAUC remain."""
    try:
        return msgspec.json.decode(read_small(file, limits.MAX_SMALL_FILE_BYTES), type=Record)
    except FileNotFoundError:
        return Record()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s: cannot be read, begun anew: %s", file, error)
        return Record()


def _step(percent: int) -> int:
    return percent - percent % limits.UPDATE_STEP_PERCENT
