"""What a device keeps of the fleet's configuration: one small file, never half."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge import limits
from edge.errors import StorageUnavailable
from edge.files import read_small, write_atomically
from edge.protocol.configuration import Desired, GoneBack

log = logging.getLogger(__name__)

FILE = "configuration.json"


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version that has still to show that the device works with it.

    Attributes:
        document: it.
        starts: of the device with it, this one included.
    """

    document: Desired
    starts: Annotated[int, Meta(ge=0)] = 0


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept.

    Attributes:
        newest: version of the newest document that was looked at; nothing older is taken.
        digest: its SHA-256, hex; no other one of this version is taken.
        proven: the document with which the device works; None: its own file alone.
        trial: one that is to take its place.
        gone_back: the last that did not, until another version comes.
    """

    newest: Annotated[int, Meta(ge=0)] = 0
    digest: str = ""
    proven: Desired | None = None
    trial: Trial | None = None
    gone_back: GoneBack | None = None


class SettingsStore:
    """The file."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def load(self) -> Kept:
        """Return what is kept; nothing where the file is damaged: the fleet's comes again.

        Raises:
            StorageUnavailable: it is there, and cannot be read at the moment.
        """
        try:
            return msgspec.json.decode(
                read_small(self._path, 4 * limits.MAX_DESIRED_BYTES), type=Kept
            )
        except FileNotFoundError:
            return Kept()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s is damaged and is made anew: %s", self._path, error)
            return Kept()
        except OSError as error:
            raise StorageUnavailable(f"{self._path}: cannot be read: {error.strerror}") from error

    def save(self, kept: Kept) -> None:
        """Replace the file.

        Raises:
            StorageUnavailable: the disk is full; it holds what it held.
        """
        write_atomically(self._path, msgspec.json.encode(kept))
