"""Commands: taken from the broker, judged, obeyed, answered, recorded.

The network thread only puts what comes into a queue; a thread of its own reads it, so that whatever
anybody sends costs a frame nothing but that. It checks so many signatures a second and no more, of
commands that stop apart from others: a flood of the one kind keeps none of the other out.

What obeys in a moment (stop, resume) is done there, in the order in which it came. What takes
longer has a thread of its own, one at a time of a kind, and never holds up a stop.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import limits
from edge.command import rules
from edge.command.rules import Bucket, Memory, Operators
from edge.errors import CommandRefused, FormatError, LetheError, StorageUnavailable, short
from edge.files import read_small, write_atomically
from edge.protocol import audit, command
from edge.protocol.command import Answer, Command, Order, Read, Refusal, Resume, Stop
from edge.watchlist.timekeeping import Time

if TYPE_CHECKING:
    from edge.trust.view import View

log = logging.getLogger(__name__)

SWITCH = "home-assistant, unsigned"
_OFF, _ON = b"OFF", b"ON"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a command that was obeyed.

    Attributes:
        says: in words.
        done: whether it was done; else it failed.
        address: of the preview.
        until: when that ends, seconds since 1970.
        later: it is answered after the restart.
    """

    says: str
    done: bool = True
    address: str | None = None
    until: float | None = None
    later: bool = False


class Deed(msgspec.Struct, frozen=True):
    """What is done at a command.

    Attributes:
        do: does it, for the order, by whom it was given; raises `LetheError` where it fails, and
            `CommandRefused` where it cannot be asked of this device.
        aside: it takes its time, and gets a thread of its own.
    """

    do: Callable[[Order, str], Outcome]
    aside: bool = False


class Book(Protocol):
    """Where it is recorded (`edge.audit.diary.Diary`)."""

    def note(self, entry: audit.Ordered) -> None:
        """Record a command that is obeyed."""

    def refuse(self, what: Literal["command"], reason: str) -> None:
        """Record one that is not."""


class Doer(Protocol):
    """Who does it (`edge.command.deeds.Deeds`)."""

    @property
    def table(self) -> Mapping[type[Order], Deed]:
        """What is done at each kind of command."""

    def close(self) -> None:
        """End what is under way."""


class Commands:
    """Obeys commands, from the first that `take` gets."""

    def __init__(
        self,
        device: str,
        key: Ed25519PrivateKey,
        file: Path,
        deeds: Doer,
        book: Book,
        send: Callable[[bytes], bool],
        *,
        time: Callable[[], Time],
        stopped: Callable[[], bool],
    ) -> None:
        """Begin with what was remembered.

        Args:
            device: id of this device.
            key: signs the answers.
            file: where it is remembered which commands were obeyed.
            deeds: what is done at each kind, and ended at the end.
            book: where it is recorded.
            send: sends an answer; returns whether there is a connection.
            time: what is known of the time.
            stopped: whether an order to stop is in force.
        """
        self._device, self._key, self._file = device, key, file
        self._doer, self._deeds = deeds, deeds.table
        self._book, self._send = book, send
        self._time, self._stopped = time, stopped
        self._memory = _remembered(file, time())
        self._operators = Operators()
        # What comes before the fleet's signatures do, waits for them; the newest, if it is much.
        self._early: deque[bytes] | None = deque(maxlen=limits.COMMANDS_EARLY)
        self._queue: queue.Queue[tuple[str, bytes] | None] = queue.Queue(limits.COMMANDS_QUEUED)
        self._unsent: deque[bytes] = deque(maxlen=limits.COMMANDS_QUEUED)
        self._checks = {
            safe: Bucket(limits.COMMAND_CHECKS, limits.COMMAND_CHECKS_PER_S)
            for safe in (True, False)
        }
        self._refusals = Bucket(limits.COMMAND_ANSWERS, limits.COMMAND_ANSWERS_PER_S)
        self._busy: set[tuple[type[Order], bool]] = set()
        self._undo: dict[type[Order], Order] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    def follow(self, view: View) -> None:
        """Learn who may command; a `Consumer` of `edge.trust.client.Trust`."""
        self._operators = Operators(view.keys(command.ROLE), view.until())
        with self._lock:
            early, self._early = self._early, None
        for message in early or ():
            self._put("command", message)

    def start(self) -> None:
        """Begin to obey."""
        self._thread.start()
        if identifier := self._memory.restarting:
            self._remember(msgspec.structs.replace(self._memory, restarting=""))
            self._answer(identifier, "restart", "done", says="started again")

    def close(self) -> None:
        """Obey no more. What is under way is ended, and not waited for."""
        self._doer.close()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def take(self, _topic: str, message: bytes) -> None:
        """Take a command as it came; returns at once."""
        self._put("command", message)

    def take_switch(self, _topic: str, message: bytes) -> None:
        """Take what Home Assistant's switch says; returns at once."""
        self._put("switch", message)

    def connected(self) -> None:
        """Send what could not be sent; called at each connection."""
        with self._lock:
            unsent, self._unsent = self._unsent, deque(maxlen=limits.COMMANDS_QUEUED)
        for answer in unsent:
            self._give(answer)

    def _put(self, kind: str, message: bytes) -> None:
        try:
            self._queue.put_nowait((kind, message))
        except queue.Full:
            log.debug("a command is dropped: %d wait", limits.COMMANDS_QUEUED)

    # --- The thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            kind, message = item
            try:
                (self._switch if kind == "switch" else self._read)(message)
            except Exception:  # a device that obeys nothing any more cannot be stopped either
                log.exception("a command")

    def _read(self, message: bytes) -> None:
        try:
            read = command.parse(message)
        except FormatError as error:
            if self._checks[False].take(time.monotonic()):
                self._refuse(None, rules.refusal("malformed", str(error)))
            return
        with self._lock:
            if self._early is not None:
                self._early.append(message)
                return
        given = read.command
        if not self._checks[given.safe].take(time.monotonic()):
            log.debug("a command is dropped: too many to check")
            return
        try:
            self._obey(read)
        except CommandRefused as error:
            self._refuse(given, error)

    def _obey(self, read: Read) -> None:
        given, at = read.command, self._time()
        signer = rules.check(
            read, device=self._device, operators=self._operators, memory=self._memory, time=at
        )
        by = f"operator {signer[:12]}"
        deed, kind = self._deeds[type(given.order)], _kind(given)
        if kind in self._busy:
            raise rules.refusal("busy", "the last one of this kind has not come to an end")
        memory = rules.remember(self._memory, given, at)
        if isinstance(given.order, Stop):  # nothing comes before it, a full disk least of all
            outcome = self._do(deed, given.order, by)
            self._book.note(audit.Ordered(command=_words(given), by=by))
            self._remember(memory)
            self._tell(given, outcome)
            return
        if isinstance(given.order, command.Restart):
            memory = msgspec.structs.replace(memory, restarting=given.id)
        try:
            write_atomically(self._file, msgspec.json.encode(memory))
        except StorageUnavailable as error:
            if not given.safe:
                raise rules.refusal("storage", f"it could be replayed: {error}") from error
        self._memory = memory
        if deed.aside:
            with self._lock:
                self._busy.add(kind)
                if given.safe and (type(given.order), False) in self._busy:
                    self._undo[type(given.order)] = given.order
            threading.Thread(
                target=self._aside, args=(deed, given, by), name=_name(given), daemon=True
            ).start()
            return
        self._tell(given, self._do(deed, given.order, by))
        self._book.note(audit.Ordered(command=_words(given), by=by))

    def _aside(self, deed: Deed, given: Command, by: str) -> None:
        try:
            self._answer(given.id, _name(given), "accepted")
            self._book.note(audit.Ordered(command=_words(given), by=by))
            self._tell(given, self._do(deed, given.order, by))
        except CommandRefused as error:
            self._refuse(given, error)
        finally:
            with self._lock:
                self._busy.discard(_kind(given))
                undo = None if given.safe else self._undo.pop(type(given.order), None)
            if undo is not None:  # given meanwhile; it may have been done before this had begun
                self._do(deed, undo, by)

    @staticmethod
    def _do(deed: Deed, order: Order, by: str) -> Outcome:
        try:
            return deed.do(order, by)
        except CommandRefused:
            raise
        except LetheError as error:
            return Outcome(str(error), done=False)
        except Exception as error:  # a bug must not leave whoever waits without an answer
            log.exception("command %s", _tag(type(order)))
            return Outcome(f"unexpected {type(error).__name__}, see the log", done=False)

    def _switch(self, message: bytes) -> None:
        """Stop at OFF, which needs no signature where the configuration says so."""
        if message == _OFF:
            if not self._stopped() and self._checks[True].take(time.monotonic()):
                outcome = self._do(self._deeds[Stop], Stop(), SWITCH)
                self._book.note(audit.Ordered(command="stop", by=SWITCH))
                self._answer("", "stop", "done" if outcome.done else "failed", says=outcome.says)
            return
        if not self._checks[False].take(time.monotonic()):
            return
        problem = (
            rules.refusal("unsigned", "a switch cannot sign: resume with `lethe command resume`")
            if message == _ON
            else rules.refusal("malformed", "a switch says ON or OFF")
        )
        self._refuse(None, problem, Resume if message == _ON else None)

    # --- Answers ---------------------------------------------------------------------------------

    def _refuse(
        self, given: Command | None, error: CommandRefused, kind: type[Order] | None = None
    ) -> None:
        name = _name(given) if given else (_tag(kind) if kind else "")
        log.warning("command %s refused: %s: %s", name, error.name, error)
        self._book.refuse("command", f"{error.name}: {name}: {error}")
        with self._lock:
            answered = self._refusals.take(time.monotonic())
        if answered:
            refusal = msgspec.convert(error.name, Refusal)
            self._answer(
                given.id if given else "", name, "refused", says=str(error), refusal=refusal
            )

    def _tell(self, given: Command, outcome: Outcome) -> None:
        if outcome.later:
            self._answer(given.id, _name(given), "accepted", says=outcome.says)
            return
        more: dict[str, object] = {}
        if outcome.address is not None:
            more["address"] = outcome.address
        if outcome.until is not None:
            more["until"] = datetime.fromtimestamp(outcome.until, UTC)
        state = "done" if outcome.done else "failed"
        self._answer(given.id, _name(given), state, says=outcome.says, **more)

    def _answer(
        self, identifier: str, order: str, state: str, *, says: str = "", **more: object
    ) -> None:
        answer = Answer(
            id=identifier, device=self._device, order=order, state=state,  # type: ignore[arg-type]
            says=short(says),
            time=datetime.fromtimestamp(self._time().now, UTC), **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self._give(command.encode_answer(answer, self._key))

    def _give(self, answer: bytes) -> None:
        if not self._send(answer):
            with self._lock:
                self._unsent.append(answer)

    def _remember(self, memory: Memory) -> None:
        """Remember it, on the disk if that takes it."""
        self._memory = memory
        try:
            write_atomically(self._file, msgspec.json.encode(memory))
        except StorageUnavailable as error:
            log.warning("which commands were obeyed is not written down: %s", error)


def _kind(given: Command) -> tuple[type[Order], bool]:
    """Return of what kind a command is: what ends a deed does not wait for it."""
    return type(given.order), given.safe


def _name(given: Command) -> str:
    return _tag(type(given.order))


def _tag(kind: type[Order]) -> str:
    return str(kind.__struct_config__.tag)


def _words(given: Command) -> str:
    """Say in words what was commanded, for the audit log."""
    options = msgspec.to_builtins(given.order)
    del options["do"]
    said = ", ".join(f"{name} {value}" for name, value in options.items() if value != "")
    return f"{_name(given)} ({said}) {given.id}" if said else f"{_name(given)} {given.id}"


def _remembered(file: Path, now: Time) -> Memory:
    """Return what was remembered. Where that is damaged, nothing older than now is obeyed."""
    try:
        return msgspec.json.decode(read_small(file, limits.MAX_COMMAND_MEMORY_BYTES), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s cannot be read: commands from before now are refused: %s", file, error)
        return Memory(newest=now.now)
