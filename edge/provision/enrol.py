"""Enrolling at the broker with a one-time token: from the first key to the first session."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge import limits
from edge.config import Config
from edge.credentials import Credentials
from edge.errors import BrokerUnavailable, ConfigError, FormatError, StorageUnavailable
from edge.files import read_secret, write_atomically
from edge.link.enrolment import Asking, accepted
from edge.link.session import Link
from edge.protocol import enrolment
from edge.provision.document import EnrolConfig

log = logging.getLogger(__name__)
PENDING = "enrol.json"


def expect(state_dir: Path, enrol: EnrolConfig) -> None:
    """Keep the one-time token until the device is enrolled.

    Raises:
        StorageUnavailable: the disk takes it not.
    """
    write_atomically(state_dir / PENDING, msgspec.json.encode(enrol))


def expected(state_dir: Path) -> EnrolConfig | None:
    """Return the token that waits to be used; None if there is none.

    Raises:
        ConfigError: its file is open to others, or damaged.
    """
    file = state_dir / PENDING
    try:
        return msgspec.json.decode(read_secret(file), type=EnrolConfig)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: damaged ({error}); give the device its lethe.toml anew") from (
            error
        )


def forget(state_dir: Path) -> None:
    """Remove the token: it has served.

    Raises:
        StorageUnavailable: it cannot be removed.
    """
    try:
        (state_dir / PENDING).unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"{state_dir / PENDING}: cannot be removed: {error}") from error


def enrol(
    config: Config,
    credentials: Credentials,
    *,
    now: Callable[[], float],
    say: Callable[[str], None],
    stop: threading.Event,
    wait_s: float | None = None,
) -> bool:
    """Ask for a certificate with the token that was given, until there is one that works.

    Args:
        config: of the device.
        credentials: of the device.
        now: wall clock, seconds since 1970.
        say: told what is going on, a line each.
        stop: ends the waiting.
        wait_s: so long is waited for an answer; None: for ever.

    Returns:
        Whether the device is enrolled; False if `stop` or `wait_s` came first.

    Raises:
        ConfigError: there is no token, or files cannot be used.
        KeyRefused: the fleet's side says no, or answers something else than what was asked for.
        BrokerUnavailable: the certificate is right, but the broker does not take it.
    """
    state_dir, device = Path(config.device.state_dir), config.device.id
    given = expected(state_dir)
    if given is None or not given.token:
        raise ConfigError(
            f"{state_dir / PENDING}: no one-time token; carry the request by hand: "
            "./lethe provision request"
        )
    request = credentials.ask(given.token)
    fingerprint = enrolment.read_request(request).fingerprint
    say(f"{device} asks for a certificate; fingerprint {fingerprint}")
    if not credentials.next.exists():
        answer = _answered(config, given, request, credentials, now, stop, wait_s)
        if not answer:
            return False
    if not accepted(config.broker, credentials.next, device, limits.RENEWAL_TRY_S):
        raise BrokerUnavailable(
            f"the certificate is right, but {config.broker.host}:{config.broker.port} takes no "
            "session with it: is its clock right, and does it know the authority (cafile)?"
        )
    credentials.take_over()
    forget(state_dir)
    say(f"{device} is enrolled at {config.broker.host}:{config.broker.port}")
    return True


def _answered(
    config: Config,
    given: EnrolConfig,
    request: bytes,
    credentials: Credentials,
    now: Callable[[], float],
    stop: threading.Event,
    wait_s: float | None,
) -> bool:
    """Bring the request to the broker and wait until a certificate for it has come."""
    device = config.device.id
    with tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        write_atomically(password, enrolment.password(given.token).encode())
        broker = msgspec.structs.replace(
            config.broker, port=given.port, username=device, password_file=str(password),
            cert_file=None, key_file=None,
        )  # fmt: skip
        link = Link(broker, f"lethe-{device}-enrol")
    asking = Asking(link, broker.topic_root, device)
    link.on_connected(lambda: asking.send(request))
    link.start()
    waited = 0.0
    try:
        while not stop.is_set() and (wait_s is None or waited < wait_s):
            answer = asking.answer(limits.ENROL_LOOK_S)
            waited += limits.ENROL_LOOK_S
            if answer is None:
                continue
            try:
                found = credentials.receive(answer, Path(str(config.broker.ca_file)), now())
            except FormatError as error:  # whoever wrote that is not who we wait for
                log.warning("answer not taken: %s", error)
                continue
            if found is not None:
                return True
    finally:
        link.close()
    return False
