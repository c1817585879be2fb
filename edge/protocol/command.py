"""Commands to devices, and what devices answer. Pure.

A command is a JSON object with a detached JWS in its member `signature`
(`edge.protocol.signing.sign_document`), by a key of the fleet's role `command`. So is an answer, by
the device's key. docs/mqtt.md and docs/schemas/ describe both for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from edge import limits
from edge.errors import FormatError
from edge.protocol import signing
from edge.protocol.watchlist import Name

TYP, ANSWER_TYP = "lethe-command+jws", "lethe-answer+jws"
ROLE = "command"
"""The role of the fleet whose keys may sign commands, each alone."""
EVERY = "*"
"""In place of a device's id: every device."""

Kind = TypeVar("Kind", bound=msgspec.Struct)

Text = Annotated[str, Meta(max_length=limits.COMMAND_TEXT_CHARS)]
CommandId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Time = Annotated[datetime, Meta(tz=True)]
Signature = Annotated[str, Meta(max_length=1024)]

Refusal = Literal[
    "malformed",
    "another-device",
    "no-operators",
    "unsigned",
    "altered",
    "not-an-operator",
    "clock",
    "expired",
    "early",
    "replayed",
    "reordered",
    "frozen",
    "not-configured",
    "busy",
    "storage",
]
"""Why a device does not obey; docs/commands.md says what each means."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the message: keyword only, nothing unknown."""


class Stop(_Part, frozen=True, kw_only=True, tag_field="do", tag="stop"):
    """Look for nobody from now on, until `Resume`.

    Attributes:
        reason: why, in words, for the audit log and the status.
    """

    reason: Text = ""


class Resume(_Part, frozen=True, kw_only=True, tag_field="do", tag="resume"):
    """Lift `Stop`."""


class SelfTest(_Part, frozen=True, kw_only=True, tag_field="do", tag="self-test"):
    """Do the main job on built-in pictures, beside the stream."""


class Restart(_Part, frozen=True, kw_only=True, tag_field="do", tag="restart"):
    """End in good order, and begin anew."""


class Identify(_Part, frozen=True, kw_only=True, tag_field="do", tag="identify"):
    """Blink, so that people see which camera this is.

    Attributes:
        seconds: for how long.
    """

    seconds: Annotated[int, Meta(ge=1, le=limits.IDENTIFY_MOST_S)] = limits.IDENTIFY_DEFAULT_S


class Aim(_Part, frozen=True, kw_only=True, tag_field="do", tag="aim"):
    """Show whoever installs the camera where it looks, and nobody's face.

    Attributes:
        minutes: after so many it ends by itself; 0 ends one that is on.
    """

    minutes: Annotated[int, Meta(ge=0, le=limits.AIM_MOST_MIN)] = limits.AIM_DEFAULT_MIN


Order: TypeAlias = Stop | Resume | SelfTest | Restart | Identify | Aim
NAMES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Order))
"""What can be commanded."""


class Command(_Part, frozen=True, kw_only=True):
    """A command.

    Attributes:
        id: random; a second delivery has the same.
        device: id of the device it is for; "*": every device.
        order: what is to be done.
        issued: when it was signed, RFC 3339, UTC.
        expires: from then on it is void; at most ten minutes later.
        signature: detached JWS, `typ` "lethe-command+jws".
    """

    id: CommandId
    device: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9._-]{1,64})$")]
    order: Order
    issued: Time
    expires: Time
    signature: Signature | msgspec.UnsetType = msgspec.UNSET

    @property
    def safe(self) -> bool:
        """Whether it can only make the device look less: it is obeyed where others would not be."""
        return isinstance(self.order, Stop) or self.order == Aim(minutes=0)


class Answer(_Part, frozen=True, kw_only=True):
    """What becomes of a command.

    Attributes:
        id: the command's; empty where it could not be read, or had none.
        device: who answers.
        order: what was commanded ("stop", …); empty where that could not be read.
        state: "refused", "accepted" (the end will be answered, too), "done" or "failed".
        refusal: why it was refused, in one word.
        says: in words.
        address: of the preview.
        until: when that ends by itself, RFC 3339, UTC.
        time: of the answer, by the device's clock.
        signature: detached JWS, `typ` "lethe-answer+jws".
    """

    id: Annotated[str, Meta(pattern="^([0-9a-f]{32})?$")]
    device: Name
    order: Annotated[str, Meta(max_length=16)]
    state: Literal["refused", "accepted", "done", "failed"]
    refusal: Refusal | msgspec.UnsetType = msgspec.UNSET
    says: Annotated[str, Meta(max_length=limits.REASON_CHARS)] = ""
    address: Annotated[str, Meta(max_length=256)] | msgspec.UnsetType = msgspec.UNSET
    until: Time | msgspec.UnsetType = msgspec.UNSET
    time: Time
    signature: Signature | msgspec.UnsetType = msgspec.UNSET


class Read(msgspec.Struct, frozen=True):
    """A command that was read, and all of it as it came."""

    command: Command
    document: dict[str, Any]


def make(
    order: Order,
    *,
    device: str,
    identifier: str,
    now: float,
    key: Ed25519PrivateKey,
    lifetime: float = limits.COMMAND_LIFETIME_S,
) -> bytes:
    """Return a signed command.

    Args:
        order: what is to be done.
        device: id of the device, or `EVERY`.
        identifier: 32 random hex digits.
        now: seconds since 1970.
        key: of the role `command`.
        lifetime: seconds after which it is void.
    """
    command = Command(
        id=identifier,
        device=device,
        order=order,
        issued=datetime.fromtimestamp(now, UTC),
        expires=datetime.fromtimestamp(now + lifetime, UTC),
    )
    return _sign(command, TYP, key)


def parse(message: bytes) -> Read:
    """Read a command and check its form, not its signature.

    Raises:
        FormatError: too large, not JSON, not in the documented form, or valid for too long.
    """
    command, document = _parse(message, Command, limits.MAX_COMMAND_BYTES)
    lifetime = (command.expires - command.issued).total_seconds()
    if not 0 < lifetime <= limits.COMMAND_LIFETIME_MOST_S:
        raise FormatError(
            f"a command that is valid for {lifetime:.0f} s: more than 0, at most "
            f"{limits.COMMAND_LIFETIME_MOST_S} s"
        )
    return Read(command, document)


def verify(read: Read, trusted: Iterable[Ed25519PublicKey]) -> str:
    """Check a command's signature and return the signer's key id.

    Raises:
        SignerRefused: by a key that is not trusted.
        SignatureRefused: unsigned, altered, or signed as something else.
        FormatError: it has no canonical form.
    """
    return signing.verify_document(read.document, typ=TYP, trusted=trusted)


def encode_answer(answer: Answer, key: Ed25519PrivateKey) -> bytes:
    """Return an answer, signed."""
    return _sign(answer, ANSWER_TYP, key)


def parse_answer(message: bytes) -> tuple[Answer, dict[str, Any]]:
    """Read an answer and check its form, not its signature; also return all of it as it came.

    Raises:
        FormatError: too large, or not in the documented form.
    """
    return _parse(message, Answer, limits.MAX_ANSWER_BYTES)


def verify_answer(document: dict[str, Any], device: Ed25519PublicKey) -> None:
    """Check that a device has signed an answer.

    Raises:
        SignatureRefused: it has not.
        FormatError: it has no canonical form.
    """
    signing.verify_document(document, typ=ANSWER_TYP, trusted=[device])


def _sign(message: Command | Answer, typ: str, key: Ed25519PrivateKey) -> bytes:
    return msgspec.json.encode(
        signing.sign_document(msgspec.to_builtins(message), typ=typ, key=key)
    )


def _parse(message: bytes, kind: type[Kind], most: int) -> tuple[Kind, dict[str, Any]]:
    if len(message) > most:
        raise FormatError(f"{len(message)} bytes, at most {most} are read")
    try:
        return (
            msgspec.json.decode(message, type=kind),
            msgspec.json.decode(message, type=dict[str, Any]),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not in the documented form: {error}") from error
