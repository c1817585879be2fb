"""Whether a request for a certificate is answered by itself, waits for a person, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.errors import BadInput
from edge.protocol import enrolment
from edge.protocol.enrolment import Answer, Asked
from fleet.authority import ROLES, SERVER, Authority, check_renewal


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a request.

    Attributes:
        verdict: "sign" at once, "wait" for a person who compares the fingerprint, "refuse".
        reason: why, in words.
        renewal: whether the device is known already, with these keys.
    """

    verdict: Literal["sign", "wait", "refuse"]
    reason: str
    renewal: bool = False


def decide(authority: Authority, asked: Asked) -> Decision:
    """Return what to do with a request that is its device's own.

    A token that was given to the device proves it once. The keys that are registered prove it
    again and again, until the device is revoked. Everything else is for a person to decide.
    """
    if asked.name in (*ROLES, SERVER):
        return Decision("refuse", f"{asked.name!r} is the name of a role, never a device's")
    token = authority.invitation(asked.name)
    if token is not None and asked.proven_by(token):
        return Decision("sign", "bears the one-time token it was given")
    try:
        check_renewal(authority.book, asked)
    except BadInput as error:
        member = authority.book.members.get(asked.name)
        if member is not None and member.out:
            return Decision("refuse", str(error))
        return Decision("wait", str(error))
    return Decision("sign", "signed by the keys that are registered", renewal=True)


def signed(authority: Authority, asked: Asked) -> bytes:
    """Sign a request and return the answer to be sent.

    Raises:
        ConfigError: the name is not a device's to have.
    """
    pem = authority.sign_device(asked)
    answer = Answer(device=asked.name, request=asked.digest, certificate=pem)
    return enrolment.encode_answer(answer)


def refused(asked: Asked, reason: str) -> bytes:
    """Return the answer that says no."""
    answer = Answer(device=asked.name, request=asked.digest, refused=reason[:512])
    return enrolment.encode_answer(answer)
