"""Whether a command is obeyed. Pure: what came, what is known, what time it is.

The broker may forge, alter, hold back, repeat and reorder what it carries, and send it to others
than it was meant for. Each is refused by a name of its own.

What can only make the device look less (`Command.safe`) is obeyed where others are not: in doubt
about the time, out of order, and where the fleet's signatures have not been renewed. AI Act, Art.
14(4)(e): people can stop it. Where a doubt remains, the device does not look.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge import limits
from edge.errors import CommandRefused, FormatError, SignatureRefused, SignerRefused
from edge.protocol import command
from edge.protocol.command import EVERY, Command, Read, Refusal
from edge.protocol.signing import SIGNATURE_MEMBER, key_id
from edge.watchlist.timekeeping import Time


class Operators(msgspec.Struct, frozen=True):
    """Who may command, as the fleet has signed it.

    Attributes:
        keys: by the id that the fleet gives them.
        until: when that has to be signed anew, seconds since 1970.
    """

    keys: Mapping[str, Ed25519PublicKey] = msgspec.field(default_factory=dict)
    until: float = 0.0


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command that was obeyed: its id, and when it is void, seconds since 1970."""

    id: str
    expires: float


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device remembers of the commands that it obeyed.

    Attributes:
        newest: when the newest was signed, seconds since 1970.
        seen: those that are not void yet.
        restarting: id of one that restarts the device, and is answered when it has.
    """

    newest: float = 0.0
    seen: tuple[Seen, ...] = ()
    restarting: str = ""


def check(read: Read, *, device: str, operators: Operators, memory: Memory, time: Time) -> str:
    """Return the fleet's id of the key that signed a command which is to be obeyed.

    Args:
        read: the command.
        device: id of this device.
        operators: who may command.
        memory: what was obeyed before.
        time: what is known of it.

    Raises:
        CommandRefused: it is not to be obeyed; the name says why.
    """
    given = read.command
    if given.device not in (device, EVERY):
        raise refusal("another-device", f"for {given.device}")
    signer = _signer(read, operators)
    _in_time(given, operators, time)
    _in_order(given, memory, time)
    return signer


def _signer(read: Read, operators: Operators) -> str:
    if not operators.keys:
        raise refusal("no-operators", "the fleet has named nobody who may command")
    if SIGNATURE_MEMBER not in read.document:
        raise refusal("unsigned", "it is not signed")
    try:
        kid = command.verify(read, operators.keys.values())
    except SignerRefused as error:
        raise refusal("not-an-operator", str(error)) from error
    except SignatureRefused as error:
        raise refusal("altered", str(error)) from error
    except FormatError as error:
        raise refusal("malformed", str(error)) from error
    return next(name for name, key in operators.keys.items() if key_id(key) == kid)


def _in_time(given: Command, operators: Operators, time: Time) -> None:
    if time.is_over(given.expires.timestamp()):
        raise refusal("expired", f"void since {given.expires.isoformat(timespec='seconds')}")
    if time.doubt and not given.safe:
        raise refusal("clock", f"the clock is not trusted: {time.doubt}")
    ahead = given.issued.timestamp() - time.now
    if ahead > limits.CLOCK_SKEW_S and not given.safe:
        raise refusal("early", f"signed {ahead:.0f} s ahead of this device's clock")
    if time.is_over(operators.until) and not given.safe:
        raise refusal(
            "frozen", "who may command has to be signed anew: `lethe fleet refresh`, publish"
        )


def _in_order(given: Command, memory: Memory, time: Time) -> None:
    if any(seen.id == given.id for seen in memory.seen):
        raise refusal("replayed", "it has come before")
    if given.safe:
        return
    # A command to stop is obeyed whatever the operator's clock says. One that is far ahead holds
    # nothing up.
    possible = memory.newest <= time.now + limits.CLOCK_SKEW_S
    if possible and given.issued.timestamp() <= memory.newest:
        raise refusal("reordered", "a command that was signed later was obeyed before")
    if len(_not_void(memory, time)) >= limits.COMMANDS_REMEMBERED:
        raise refusal("busy", f"{limits.COMMANDS_REMEMBERED} commands in ten minutes are enough")


def remember(memory: Memory, obeyed: Command, time: Time) -> Memory:
    """Return what is remembered once a command is obeyed: the last ones, if they are too many."""
    seen = (*_not_void(memory, time), Seen(obeyed.id, obeyed.expires.timestamp()))
    signed = obeyed.issued.timestamp()
    if signed > time.now + limits.CLOCK_SKEW_S and not time.doubt:
        signed = (
            time.now
        )  # whoever signed it has a wrong clock: it came after what was signed before
    return msgspec.structs.replace(
        memory,
        newest=max(memory.newest, signed),
        seen=seen[-limits.COMMANDS_REMEMBERED :],
    )


def _not_void(memory: Memory, time: Time) -> tuple[Seen, ...]:
    return tuple(seen for seen in memory.seen if not time.is_over(seen.expires))


def refusal(name: Refusal, message: str) -> CommandRefused:
    """Return the error that says so."""
    return CommandRefused(name, message)


class Bucket:
    """So many at once, so many a second on and on. For one thread."""

    def __init__(self, most: int, per_second: float) -> None:
        self._most, self._per_second = most, per_second
        self._left, self._at = float(most), 0.0

    def take(self, now: float) -> bool:
        """Return whether there is one.

        Args:
            now: seconds by a clock that is never set.
        """
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
