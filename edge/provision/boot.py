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
from pathlib import Path

import msgspec

from edge import __version__, limits
from edge import config as configuration
from edge.credentials import Credentials, read, read_authorities
from edge.errors import BadInput, ConfigError, LetheError, StorageUnavailable
from edge.files import private_folder, read_secret, read_small, write_atomically
from edge.identity import device_key
from edge.protocol import certificate
from edge.protocol.enrolment import read_request
from edge.provision import enrol, network, report
from edge.provision.document import Plan, Problem, Refused, parse
from edge.provision.network import NetworkConfig
from edge.provision.owner import as_owner
from edge.provision.report import Report

log = logging.getLogger(__name__)

FILE = "lethe.toml"
REPORT, REPORT_JSON = "lethe-report.txt", "lethe-report.json"
REQUEST, CSR, ANSWER = "lethe-request.json", "lethe-request.csr", "lethe-answer.json"
NETWORK = "network.json"
_CONFIG_MODE, _SECRET_MODE = 0o640, 0o600


class Places(msgspec.Struct, frozen=True):
    """Where things lie.

    Attributes:
        boot: the boot partition, mounted.
        config: folder of the configuration, on the data partition; root's.
        state: the device's state; the device's own user's, as the folder around it is.
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
    device = plan.config.device.id
    with as_owner(places.state.parent):
        private_folder(places.state)
        credentials = Credentials(places.state, device)
        if credentials.client.exists() and not _is_right(credentials.client, device, places):
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


def _is_right(client: Path, device: str, places: Places) -> bool:
    """Whether a certificate is of this name and of the authority that is to be trusted."""
    try:
        found = read(client)
        certificate.check_issuer(found, read_authorities(places.config / "ca.pem"))
    except BadInput as error:
        log.warning("the certificate in use is not kept: %s", error)
        return False
    return found.subject.rfc4514_string() == f"CN={device}"


def _present(places: Places, now: Callable[[], float]) -> Report:
    """Report how far the device is; take an answer that was brought by hand."""
    config_file, brought = places.config / FILE, places.boot / ANSWER
    if not config_file.exists():
        return Report(state="no file", software=__version__)
    device = configuration.load(config_file).device.id
    answer = read_small(brought, limits.MAX_ENROLMENT_BYTES) if brought.exists() else None
    with as_owner(places.state.parent):
        credentials = Credentials(places.state, device)
        known = Report(
            state="enrolled",
            software=__version__,
            device=device,
            event_key=device_key(places.state).public_key().public_bytes_raw().hex(),
        )
        received = None
        if answer is not None and credentials.asked() is not None:
            received = credentials.receive(answer, places.config / "ca.pem", now())
        if received is not None:
            credentials.take_over()
            enrol.forget(places.state)
        request = credentials.asked()
        if credentials.client.exists():
            request = None
            ends = read(credentials.client).not_valid_after_utc.timestamp()
            known = msgspec.structs.replace(known, certificate_ends=certificate.day(ends))
        waits = enrol.expected(places.state) is not None
    if request is not None:
        asked = read_request(request)
        _write(places.boot / REQUEST, request)
        _write(places.boot / CSR, asked.request.csr.encode())
        return msgspec.structs.replace(
            known, state="waiting" if waits else "by hand", fingerprint=asked.fingerprint
        )
    for name in (REQUEST, CSR, ANSWER):
        (places.boot / name).unlink(missing_ok=True)
    return known  # without a certificate, its operator gave it access in another way


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
