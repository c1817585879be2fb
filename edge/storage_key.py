"""The key under which a device keeps lists: sealed by its TPM 2.0 where there is one.

With a TPM the key lies in the state folder as a credential that `systemd-creds` made: only this
chip opens it, so a copied card or disk is of no use. Without one it is a file of mode 0600, and
whoever can read the disk can read the list: docs/forgetting.md says so plainly. The key protects
nothing but lists, which can be fetched again; so one that cannot be opened is replaced. A device
that once had a TPM never falls back to a file by itself: while its TPM is away, the key lives in
memory, and lists are fetched again after a restart.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from edge import limits
from edge.errors import StorageUnavailable
from edge.files import read_secret, write_atomically

log = logging.getLogger(__name__)

TPM = "/dev/tpmrm0"
"""The kernel's TPM 2.0 device with its resource manager."""
PLAIN, SEALED = "storage.key", "storage.cred"
_BYTES = 32
_NAME = "--name=lethe-storage"
_SEAL = ("--with-key=tpm2", "--tpm2-pcrs=7")
"""To this chip, and to the state of Secure Boot where the firmware measures it."""


class StorageKey(msgspec.Struct, frozen=True):
    """A device's storage key.

    Attributes:
        key: 32 bytes.
        held_by: what protects it.
    """

    key: bytes
    held_by: Literal["TPM 2.0", "file", "memory"]

    def __repr__(self) -> str:
        """Say what protects it; never the key."""
        return f"StorageKey(held_by={self.held_by!r})"


def storage_key(state_dir: Path, tpm: str = TPM) -> StorageKey:
    """Return the device's storage key; make it on first use, or where it cannot be opened.

    Args:
        state_dir: private folder of the device.
        tpm: the TPM, as `systemd-creds --tpm2-device` names it: a device, or a simulator.

    Raises:
        ConfigError: the key file is open to others.
        StorageUnavailable: it cannot be written.
    """
    sealed, plain = state_dir / SEALED, state_dir / PLAIN
    if sealed.exists():
        try:
            return StorageKey(_decoded(_creds(tpm, ["decrypt", str(sealed), "-"])), "TPM 2.0")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("%s cannot be opened by the TPM (%s)", sealed, _why(error))
    if (not tpm.startswith("/") or Path(tpm).exists()) and (key := _seal(sealed, tpm)):
        _remove(plain)
        return StorageKey(key, "TPM 2.0")
    if sealed.exists():
        log.warning("lists are kept until the next start only; remove %s to use a file", sealed)
        return StorageKey(secrets.token_bytes(_BYTES), "memory")
    try:
        return StorageKey(_decoded(read_secret(plain)), "file")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: made anew (%s)", plain, error)
    key = secrets.token_bytes(_BYTES)
    write_atomically(plain, base64.b64encode(key))
    return StorageKey(key, "file")


def _seal(sealed: Path, tpm: str) -> bytes | None:
    """Return a new key that the TPM has sealed, and has opened again; None if it does not."""
    text = base64.b64encode(secrets.token_bytes(_BYTES))
    try:
        credential = _creds(tpm, ["encrypt", *_SEAL, "-", "-"], text)
        key = _decoded(_creds(tpm, ["decrypt", "-", "-"], credential))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("the TPM seals no storage key (%s)", _why(error))
        return None
    write_atomically(sealed, credential)
    return key


def _remove(plain: Path) -> None:
    """Remove a key file that a TPM has made needless."""
    try:
        plain.unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"{plain}: cannot be removed: {error.strerror}") from error


def _creds(tpm: str, arguments: list[str], content: bytes = b"") -> bytes:
    """Run systemd-creds and return what it writes."""
    verb, *options = arguments
    done = subprocess.run(
        ["systemd-creds", verb, _NAME, f"--tpm2-device={tpm}", "--newline=no", *options],
        input=content, capture_output=True, check=True, timeout=limits.TPM_ANSWER_S,
    )  # fmt: skip
    return done.stdout


def _decoded(text: bytes) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no key in it") from error
    if len(key) != _BYTES:
        raise ValueError(f"a key of {len(key)} bytes, {_BYTES} are expected")
    return key


def _why(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    return said.decode(errors="replace").strip()[-300:] if said else str(error)
