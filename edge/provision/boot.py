"""What a device does with its boot partition before it runs: takes the one file, and reports.

The order is that a power cut anywhere leaves the old or the new, and never loses the file:

    1. the file is read and checked whole; wrong: a report, nothing else changes
    2. what it says is written to the data partition, the configuration itself last
    3. keys and the request for a certificate are made
    4. the file is wiped from the boot partition
    5. the report, the request

A file that is met again after a cut is taken again, to the same end. The boot partition is FAT: no
owners, no modes, names without case, no atomic replacement. What is written there can be written
again; nothing that is needed lies there only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import msgspec

from edge import __version__, limits
from edge import config as configuration
from edge.credentials import FOLDER as CREDENTIALS
from edge.credentials import Credentials, read, read_authorities
from edge.errors import BadInput, ConfigError, LetheError, StorageUnavailable
from edge.files import private_folder, read_secret, read_small, write_atomically
from edge.identity import device_key
from edge.protocol import certificate
from edge.protocol.enrolment import read_request
from edge.provision import enrol, network, report
from edge.provision.document import Plan, Problem, Refused, parse
from edge.provision.network import NetworkConfig
from edge.provision.report import Report

log = logging.getLogger(__name__)

FILE = "lethe.toml"
REPORT, REPORT_JSON = "lethe-report.txt", "lethe-report.json"
REQUEST, CSR, ANSWER = "lethe-request.json", "lethe-request.csr", "lethe-answer.json"
NETWORK = "network.json"
_CONFIG_MODE, _SECRET_MODE = 0o640, 0o600


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie.

    Attributes:
        boot: the boot partition, mounted.
        config: folder of the configuration, on the data partition; root's.
        state: the device's state; the device's own user's.
        root: the root of the file system, below which /run and /var are written at each boot.
    """

    boot: Path
    config: Path
    state: Path
    root: Path


def boot(places: Places, *, now: Callable[[], float]) -> Report:
    """Take the file if there is one, lay the network out, and report.

    Args:
        places: of this machine.
        now: wall clock, seconds since 1970.

    Returns:
        The report, which lies on the boot partition as well, if that can be written.
    """
    try:
        _refuse_links(places.state)
        made = _take(places, now)
    except Refused as error:
        made = Report(
            state="refused",
            software=__version__,
            problems=tuple(str(problem)[:1024] for problem in error.problems),
        )
    except (LetheError, OSError) as error:
        log.warning("provisioning: %s", error)
        made = Report(state="failed", software=__version__, problems=(str(error)[:1024],))
    try:
        missing = _lay_out(places)
    except (LetheError, OSError) as error:
        missing = f"The network is not configured: {error}"
    if missing:
        made = msgspec.structs.replace(made, notes=(*made.notes, missing))
    _write(places.boot / REPORT, report.text(made).encode())
    _write(places.boot / REPORT_JSON, report.document(made))
    return made


def find(folder: Path) -> Path | None:
    """Return the file in a folder, whatever the case of its name; None if there is none.

    Raises:
        Refused: its name is almost right.
    """
    names = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}
    if FILE in names:
        return names[FILE]
    for almost in (f"{FILE}.txt", "lethe.txt", "lethe.tom"):
        if almost in names:
            says = f"the file is called {names[almost].name}; it must be called {FILE}"
            raise Refused([Problem(0, "", says)])
    return None


def _take(places: Places, now: Callable[[], float]) -> Report:
    file = find(places.boot)
    if file is None:
        return _present(places, now)
    try:
        content = read_small(file, limits.MAX_CONFIG_BYTES)
    except OSError as error:
        raise StorageUnavailable(f"{FILE}: cannot be read: {error.strerror}") from error
    if not content.strip(b"\0") and (places.config / FILE).exists():
        wipe(file)  # taken before, and then the power went
        return _present(places, now)
    plan = parse(content)
    _keep(places, plan)
    _make_keys(places, plan)
    wipe(file)
    return _present(places, now)


def _keep(places: Places, plan: Plan) -> None:
    """Write what the plan says to the data partition; the configuration itself comes last."""
    places.config.mkdir(parents=True, exist_ok=True)
    group = places.config.stat().st_gid
    if plan.network is not None:
        write_atomically(
            places.config / NETWORK, msgspec.json.encode(plan.network), mode=_SECRET_MODE
        )
    for name, content in plan.files.items():
        path = places.config / name
        write_atomically(path, content, mode=_CONFIG_MODE)
        os.chown(path, -1, group)


def _make_keys(places: Places, plan: Plan) -> None:
    """Make what the device is known by, unless it has it: then nothing of it changes."""
    private_folder(places.state)
    device = plan.config.device.id
    credentials = Credentials(places.state, device)
    if credentials.client.exists():
        try:
            found = read(credentials.client)
            certificate.check_issuer(found, read_authorities(places.config / "ca.pem"))
            other = found.subject.rfc4514_string() != f"CN={device}"
        except BadInput as error:
            log.warning("the certificate in use is not kept: %s", error)
            other = True
        if other:
            credentials.client.unlink()
            credentials.drop()
    waiting = credentials.asked()
    if waiting is not None and read_request(waiting).name != device:
        credentials.drop()
    if not credentials.client.exists():
        if plan.enrol.token:
            known = enrol.expected(places.state)
            if known is not None and known.token != plan.enrol.token:
                credentials.drop()  # its proof is of the other token
            enrol.expect(places.state, plan.enrol)
        credentials.ask(plan.enrol.token)
    _give_to_owner(places.state)


def _present(places: Places, now: Callable[[], float]) -> Report:
    """Report how far the device is; take an answer that was brought by hand."""
    config_file = places.config / FILE
    if not config_file.exists():
        return Report(state="no file", software=__version__)
    device = configuration.load(config_file).device.id
    credentials = Credentials(places.state, device)
    known = Report(
        state="enrolled",
        software=__version__,
        device=device,
        event_key=device_key(places.state).public_key().public_bytes_raw().hex(),
    )
    brought = places.boot / ANSWER
    if brought.exists() and credentials.asked() is not None:
        content = read_small(brought, limits.MAX_ENROLMENT_BYTES)
        if credentials.receive(content, places.config / "ca.pem", now()) is not None:
            credentials.take_over()
            enrol.forget(places.state)
    _give_to_owner(places.state)
    if (request := credentials.asked()) is not None and not credentials.client.exists():
        asked = read_request(request)
        _write(places.boot / REQUEST, request)
        _write(places.boot / CSR, asked.request.csr.encode())
        waits = enrol.expected(places.state) is not None
        return msgspec.structs.replace(
            known, state="waiting" if waits else "by hand", fingerprint=asked.fingerprint
        )
    for name in (REQUEST, CSR, ANSWER):
        (places.boot / name).unlink(missing_ok=True)
    if not credentials.client.exists():
        return known  # its operator gave it access in another way
    ends = read(credentials.client).not_valid_after_utc.timestamp()
    return msgspec.structs.replace(known, certificate_ends=certificate.day(ends))


def _give_to_owner(state: Path) -> None:
    """Make the state the device's own user's, whose the folder around it is.

    That user may have put links there, and may do so at any moment: none is followed, and a file
    that has another name elsewhere stays whose it is.
    """
    owner = state.parent.stat()
    for _, _, files, handle in os.fwalk(state, follow_symlinks=False):
        for name in (".", *files):
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if _is_ours(found, owner) or (S_ISREG(found.st_mode) and found.st_nlink > 1):
                continue
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=handle, follow_symlinks=False)


def _is_ours(found: os.stat_result, owner: os.stat_result) -> bool:
    return found.st_uid == owner.st_uid


def _refuse_links(state: Path) -> None:
    """Write as root only where the state is: the device's own user could have it lead elsewhere.

    Raises:
        StorageUnavailable: the state, or the folder of keys in it, is a link.
    """
    for path in (state, state / CREDENTIALS):
        if path.is_symlink():
            raise StorageUnavailable(f"{path} is a link: nothing is written there; remove it")


def _lay_out(places: Places) -> str:
    """Write the files of the network, which live until the next boot; return what is missing."""
    try:
        stored = read_secret(places.config / NETWORK)
    except FileNotFoundError:
        return ""
    try:
        wanted = msgspec.json.decode(stored, type=NetworkConfig)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{NETWORK}: damaged: {error}; give the device its file anew") from error
    for name, content in network.files(wanted).items():
        path = places.root / name
        secret = name.startswith(network.IWD)
        path.parent.mkdir(mode=0o700 if secret else 0o755, parents=True, exist_ok=True)
        write_atomically(path, content.encode(), mode=_SECRET_MODE if secret else 0o644)
    if wanted.kind == "wifi" and not (places.root / "usr/libexec/iwd").exists():
        return "Wi-Fi is configured, but this image has no software for it (iwd)."
    return ""


def wipe(file: Path) -> None:
    """Overwrite a file where it lies, then remove it.

    On flash, and on a card with spare blocks, the old content may survive out of reach of any
    program: what was in it is to be of no use any more (docs/provisioning.md).

    Raises:
        StorageUnavailable: it cannot be written: a card with its lock on, for instance.
    """
    try:
        with file.open("r+b", buffering=0) as handle:
            size = os.fstat(handle.fileno()).st_size
            handle.write(b"\0" * size)
            os.fsync(handle.fileno())
            handle.truncate(0)
            os.fsync(handle.fileno())
        file.unlink()
        _flush(file.parent)
    except OSError as error:
        raise StorageUnavailable(
            f"{file.name}: taken, but it cannot be wiped ({error.strerror}): it still holds the "
            "token and the network's passphrase; is the card write-protected? Delete it yourself"
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write a file on the boot partition, if it would change; what fails is said, and no more."""
    try:
        if path.is_file() and path.read_bytes() == content:
            return
        part = path.with_name(f"{path.stem}.new")
        with part.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
        _flush(path.parent)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # file systems without it have written already
        log.info("%s: %s", folder, error.strerror)
    finally:
        os.close(handle)
