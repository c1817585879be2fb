"""Models that came after the software: on the disk, on trial, in use, or gone back from.

One folder a bundle, named by its hash, and one small file that says which is in use. It is written
before a start begins with new models, so that whatever ends that start (an error, a crash in the
inference library, a hang that the watchdog ends) counts against them. Where they have not shown
that the device works with them after two starts, those that came with the software are used.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from edge import __version__, limits
from edge.errors import BadInput, ModelError, NoLongerWanted, StorageUnavailable, short
from edge.files import flush_folder, private_folder, read_small, write_atomically
from edge.inference.manifest import Manifest, load_manifest
from edge.protocol.model_bundle import MANIFEST
from edge.update import admission

log = logging.getLogger(__name__)
T = TypeVar("T")
SHIPPED = "shipped"


class Active(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The models in use, where they are not those that came with the software.

    Attributes:
        sha256: of their bundle, hex; also the name of their folder.
        before: what was in use before.
        starts: of the device with them, as long as they are on trial.
        proven: the device has worked with them.
    """

    sha256: str
    before: str = SHIPPED
    starts: int = 0
    proven: bool = False


class Rejected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models that are not tried again by this version of the software.

    Attributes:
        sha256: of their bundle, hex.
        software: the version that has judged them.
        state: refused before they were used, or gone back from.
        reason: why.
    """

    sha256: str
    software: str
    state: Literal["refused", "gone-back"]
    reason: str


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outlasts a restart."""

    active: Active | None = None
    rejected: tuple[Rejected, ...] = ()


class ModelStore:
    """The models of a device beside those that came with its software. Safe for several threads.

    The health thread proves them; all else is done by the thread of `edge.update.models`.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store, and count this start if models are on trial.

        Args:
            folder: made, mode 0700.

        Raises:
            StorageUnavailable: the folder cannot be made.
        """
        self._folder = private_folder(folder)
        self._file = folder / "record.json"
        self._lock = threading.Lock()
        self._record = _read(self._file)
        self.fallen: Rejected | None = None
        """What this start went back from, if it did."""
        try:
            self._count_start()
        except StorageUnavailable as error:  # a start that is not counted is not begun with them
            log.warning("models that came with the software are used: %s", error)
            self._record = msgspec.structs.replace(self._record, active=None)
        else:
            self._tidy()

    def _count_start(self) -> None:
        active = self._record.active
        if active is None or active.proven:
            return
        if active.starts >= limits.MODEL_TRIAL_STARTS:
            self.go_back(f"the device did not work with them in {active.starts} starts")
        else:
            self._write(active=msgspec.structs.replace(active, starts=active.starts + 1))

    @property
    def active(self) -> Active | None:
        """The models in use; None for those that came with the software."""
        return self._record.active

    def rejected(self, sha256: str) -> Rejected | None:
        """Return why a bundle is not tried again; None if it may be."""
        for each in self._record.rejected:
            if (each.sha256, each.software) == (sha256, __version__):
                return each
        return None

    def open(self, load: Callable[[Path | None], T]) -> T:
        """Return what `load` makes of the models in use.

        Args:
            load: takes the folder with manifest.json; None for those that came with the software.

        Raises:
            LetheError: those that came with the software cannot be loaded either.
        """
        active = self._record.active
        if active is None:
            return load(None)
        place = self._folder / active.sha256
        try:
            # Once more: the software may be another than when they came.
            admission.check(load_manifest(place), load_manifest())
            return load(place)
        except ModelError as error:
            try:
                self.go_back(str(error))
            except StorageUnavailable as full:
                log.warning("models: %s; %s", error, full)
                self._record = msgspec.structs.replace(self._record, active=None)
            return load(None)

    def unpack(self, sha256: str, files: Mapping[str, bytes]) -> Manifest:
        """Put a bundle's files on the disk and check them: each is one that the manifest names.

        Raises:
            ModelError: a file is missing, altered, or named by nothing; or they would have the
                device do more than its software does (`edge.update.admission`).
            StorageUnavailable: the disk is full; nothing is left behind.
        """
        place = self._folder / sha256
        shutil.rmtree(place, ignore_errors=True)
        needed = sum(map(len, files.values())) + limits.UPDATE_RESERVE_BYTES
        if shutil.disk_usage(self._folder).free < needed:
            raise StorageUnavailable(f"no room for models: {needed >> 20} MiB are needed")
        try:
            private_folder(place)
            for name, content in files.items():
                (place / name).write_bytes(content)
            flush_folder(place)
            manifest = load_manifest(place)
            admission.check(manifest, load_manifest())
            named = {MANIFEST}
            for model in manifest.models().values():
                variants = [each for each in model.variants.values() if each.file in files]
                for file in (model, *variants):  # an accelerator's variants may be left out
                    manifest.read(file)
                    named.add(file.file)
            if extra := set(files) - named:
                raise ModelError(f"files that the manifest does not name: {sorted(extra)}")
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise StorageUnavailable(f"models cannot be kept: {error.strerror}") from error
        except BadInput:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return manifest

    def try_out(
        self,
        sha256: str,
        detector: str,
        embedder: str,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Have unpacked models do the main job, in a process of their own.

        Args:
            sha256: of the bundle.
            detector: name in the manifest; its default if empty.
            embedder: likewise.
            wanted: asked now and then; False ends it.

        Raises:
            ModelError: they do not; or the process crashed or hung.
            NoLongerWanted: as `wanted` says.
        """
        command = [sys.executable, "-P", "-m", "edge.update.model_trial"]
        try:
            trial = subprocess.Popen(
                [*command, str(self._folder / sha256), detector, embedder],
                cwd=Path(__file__).resolve().parents[2], text=True, env=_environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise StorageUnavailable(f"the self-test cannot be started: {error}") from error
        said = _await(trial, wanted)
        if trial.returncode < 0:
            raise ModelError(f"self-test: crashed with {signal.Signals(-trial.returncode).name}")
        if trial.returncode:
            says = (said.strip().splitlines() or ["it did not say why"])[-1]
            raise ModelError(f"self-test: {says}")

    def activate(self, sha256: str) -> None:
        """Use unpacked models from the next start on.

        Raises:
            StorageUnavailable: that cannot be written; nothing has changed.
        """
        with self._lock:
            before = self._record.active.sha256 if self._record.active else SHIPPED
            self._write(active=Active(sha256=sha256, before=before))

    def prove(self) -> Active | None:
        """Take note that the device works; return the models whose trial that ends, if any.

        Raises:
            StorageUnavailable: that cannot be written.
        """
        with self._lock:
            active = self._record.active
            if active is None or active.proven or not active.starts:
                return None  # without a start they are only to be used: this one shows nothing
            proven = msgspec.structs.replace(active, proven=True)
            self._write(active=proven)
        return proven

    def reject(self, sha256: str, state: Literal["refused", "gone-back"], reason: str) -> None:
        """Take note why a bundle is not tried again.

        Raises:
            StorageUnavailable: that cannot be written.
        """
        new = Rejected(sha256=sha256, software=__version__, state=state, reason=short(reason))
        log.warning("models %s: %s: %s", sha256[:16], state, reason)
        with self._lock:
            rejected = (*self._record.rejected, new)[-limits.UPDATE_FAILURES_KEPT :]
            active = self._record.active
            if active is not None and active.sha256 == sha256:
                active = None
            self._write(active=active, rejected=rejected)

    def go_back(self, reason: str) -> None:
        """Use those that came with the software from now on; for the start of the device.

        Raises:
            StorageUnavailable: that cannot be written.
        """
        if self._record.active is not None:
            self.reject(self._record.active.sha256, "gone-back", reason)
            self.fallen = self._record.rejected[-1]

    def put_away(self) -> None:
        """Use those that came with the software, for nothing else is announced any more.

        Raises:
            StorageUnavailable: that cannot be written.
        """
        with self._lock:
            self._write(active=None)

    def _write(
        self, *, active: Active | None, rejected: tuple[Rejected, ...] | None = None
    ) -> None:
        kept = self._record.rejected if rejected is None else rejected
        record = Record(active=active, rejected=kept)
        write_atomically(self._file, msgspec.json.encode(record))
        self._record = record

    def _tidy(self) -> None:
        """Remove folders that are in use no more."""
        active = self._record.active
        for place in self._folder.iterdir():
            if place.is_dir() and not (active and place.name == active.sha256):
                shutil.rmtree(place, ignore_errors=True)


def _await(trial: subprocess.Popen[str], wanted: Callable[[], bool]) -> str:
    """Return what a process says until its end."""
    until = time.monotonic() + limits.MODEL_TRIAL_S
    with trial:
        while True:
            try:
                return trial.communicate(timeout=limits.MODEL_TRIAL_LOOK_S)[1]
            except subprocess.TimeoutExpired:
                over = time.monotonic() >= until
                if not over and wanted():
                    continue
            trial.kill()
            if over:
                raise ModelError(f"self-test: no answer in {limits.MODEL_TRIAL_S:g} s")
            raise NoLongerWanted("the device is stopping")


def _environment() -> dict[str, str]:
    """Return what a process of ours needs to find what this one has found."""
    return {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONNOUSERSITE": "1"}


def _read(file: Path) -> Record:
    """Return the record; one that cannot be read is none: the models are fetched again."""
    try:
        return msgspec.json.decode(read_small(file, limits.MAX_SMALL_FILE_BYTES), type=Record)
    except FileNotFoundError:
        return Record()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s: cannot be read, begun anew: %s", file, error)
        return Record()
