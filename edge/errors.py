"""Every error that the device raises on purpose. Two roots: what was given, and what is around.

`BadInput` is about bytes and values from outside: they will not get better by waiting.
`Unavailable` is about the world: a camera, a broker, a disk; it may come back, so callers retry
or degrade. A message names what is wrong, the limit or expectation, and what to do.
"""

from edge import limits


def short(reason: str) -> str:
    """Return a reason in the length that messages and records hold."""
    return reason[: limits.REASON_CHARS]


class LetheError(Exception):
    """Root of every error that this project raises on purpose."""


class BadInput(LetheError):
    """Something given to us is malformed, altered, out of range or not authorised."""


class ConfigError(BadInput):
    """The configuration is refused whole; the message names field, value and allowed range."""


class ModelError(BadInput):
    """A model file is missing, altered (hash), truncated, or not what the manifest says."""


class FrameError(BadInput):
    """A frame or picture cannot be decoded or has an impossible size."""


class VideoEnded(FrameError):
    """A video stopped before its declared end (truncated or damaged file)."""


class FormatError(BadInput):
    """A message is not in the documented format: size, encoding, schema or value range."""


class SignatureRefused(BadInput):
    """A message is unsigned, altered, or signed by a key that is not trusted for it."""


class RollbackRefused(BadInput):
    """Signed metadata is older than what was seen before, or its parts do not belong together."""


class FreezeRefused(BadInput):
    """Signed metadata has expired: either nobody renewed it, or what is newer is held back."""


class AlterationRefused(BadInput):
    """Content is not what was signed or named: another hash or length, or it does not decrypt."""


class KeyRefused(BadInput):
    """A key is not the signed one, or does not open what was sealed."""


class SignerRefused(SignatureRefused):
    """A message is signed by a key that is not trusted for it."""


class ListRefused(BadInput):
    """A watchlist is authentic but may not be used: the message says which rule refuses it."""


class CommandRefused(BadInput):
    """A command is not obeyed.

    Attributes:
        name: why, in one word (`edge.protocol.command.Refusal`).
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class EnrolmentRefused(BadInput):
    """A photo is not good enough to enrol; the message names the measure and the limit."""


class EvaluationError(BadInput):
    """Data to measure on is missing or not in a documented form; the message says which."""


class IndexRefused(BadInput):
    """A template or probe is unusable: NaN, wrong dimension, not normalised, duplicate id."""


class Unavailable(LetheError):
    """Something around the device is missing at the moment; trying later may help."""


class CameraUnavailable(Unavailable):
    """The camera cannot be opened or has stopped delivering frames."""


class BrokerUnavailable(Unavailable):
    """The MQTT broker cannot be reached or refused the session."""


class MissingAtBroker(Unavailable):
    """The broker does not hold what is signed: it forgot, or keeps it back."""


class StorageUnavailable(Unavailable):
    """State cannot be written or read: disk full, read-only, or damaged."""


class IndicatorUnavailable(Unavailable):
    """What shows people that the camera is armed does not show it: nothing is looked for."""


class AcceleratorUnavailable(Unavailable):
    """An accelerator is missing, hangs, has crashed or gives wrong results; the CPU goes on.

    Attributes:
        reason: which of these, in words that hold nothing else: they go into the status.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class NoLongerWanted(Unavailable):
    """What was being fetched is wanted no more: it has changed, or the device ends."""
