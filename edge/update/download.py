"""Fetching a bundle over HTTPS, with resume. The server is trusted with nothing.

Length and SHA-256 are signed. What has come is kept in `<sha256>.part`, so that a connection that
breaks off, a restart and a power cut cost nothing but what was not flushed; the hash over it is
made anew before it goes on. What turns out to be something else is removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from edge import limits
from edge.errors import (
    AlterationRefused,
    ConfigError,
    LetheError,
    NoLongerWanted,
    StorageUnavailable,
    Unavailable,
)
from edge.files import flush_entries, private_folder
from edge.protocol.announcement import Announcement

BUNDLE = "bundle.raucb"
_REDIRECTS = (301, 302, 303, 307, 308)
_TLS_RECORD_BYTES = 1 << 14
"""RFC 8446, 5.1: more never comes at once."""


class DownloadUnavailable(Unavailable):
    """A bundle does not come at the moment: no connection, too slow, broken off, an HTTP error."""


def trusted(ca_file: str | None) -> ssl.SSLContext:
    """Return whom servers must be certified by: the system's authorities, or one.

    Raises:
        ConfigError: the file is missing, or none.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"update.ca_file: {ca_file} cannot be used: {error}") from error


class Downloader:
    """Brings bundles into a folder. For one thread."""

    def __init__(
        self,
        folder: Path,
        context: ssl.SSLContext,
        *,
        on_progress: Callable[[int], None] = lambda _percent: None,
        wanted: Callable[[], bool] = lambda: True,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            folder: where bundles lie; made, mode 0700.
            context: from `trusted`.
            on_progress: called with the percentage that is there.
            wanted: asked at the beginning and every second; False ends a download, and keeps what
                has come.
            steady: seconds, never set.
        """
        self._folder = private_folder(folder)
        self._pool = urllib3.PoolManager(ssl_context=context, retries=False)
        self._on_progress = on_progress
        self._wanted = wanted
        self._steady = steady

    def fetch(self, announcement: Announcement) -> Path:
        """Return the announced bundle, fetched from the first address that has it.

        Raises:
            AlterationRefused: every server has something else.
            StorageUnavailable: there is no room.
            DownloadUnavailable: no server gives all of it at the moment; what came is kept.
            NoLongerWanted: as `wanted` says.
        """
        try:
            return self._fetch_from_any(announcement)
        except OSError as error:
            raise StorageUnavailable(f"no room for the update: {error}") from error

    def _fetch_from_any(self, announcement: Announcement) -> Path:
        bundle, part = self._folder / BUNDLE, self._folder / f"{announcement.sha256}.part"
        self._remove_others(part.name)
        if bundle.exists():
            if _hashed(bundle, announcement.size).hexdigest() == announcement.sha256:
                return bundle
            bundle.unlink(missing_ok=True)
        self._check_room(part, announcement.size)
        problems: list[LetheError] = []
        for url in announcement.urls:
            try:
                self._fetch(url, part, announcement)
            except (AlterationRefused, DownloadUnavailable) as error:
                problems.append(type(error)(f"{urlsplit(url).netloc}: {error}"))
                continue
            part.rename(bundle)
            flush_entries(self._folder)
            return bundle
        may_come = [error for error in problems if isinstance(error, DownloadUnavailable)]
        raise (may_come or problems)[-1]

    def clear(self) -> None:
        """Remove everything that was fetched."""
        self._remove_others("")
        (self._folder / BUNDLE).unlink(missing_ok=True)

    def _remove_others(self, name: str) -> None:
        for path in self._folder.glob("*.part"):
            if path.name != name:
                path.unlink()

    def _check_room(self, part: Path, size: int) -> None:
        needed = size - (part.stat().st_size if part.exists() else 0) + limits.UPDATE_RESERVE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise StorageUnavailable(
                f"no room for the update: {free >> 20} MiB are free, {needed >> 20} MiB are needed"
            )

    def _fetch(self, url: str, part: Path, announcement: Announcement) -> None:
        """Bring one file to its end from one address."""
        size = announcement.size
        digest = _hashed(part, size)
        have = part.stat().st_size if part.exists() else 0
        if have < size:
            response = self._open(url, have)
            try:
                if have and _begins_anew(response, have, size):
                    digest, have = hashlib.sha256(), 0
                _check_length(response, size - have)
                with part.open("r+b" if have else "wb") as file:
                    file.seek(have)
                    self._receive(response, file.fileno(), have, size, digest.update)
            except HTTPError as error:
                raise DownloadUnavailable(f"broke off: {error}") from error
            except OSError:
                part.unlink(missing_ok=True)  # events need the room more
                raise
            finally:
                response.close()
        if digest.hexdigest() != announcement.sha256:
            part.unlink()
            raise AlterationRefused(
                f"another file than was announced: SHA-256 {digest.hexdigest()[:16]}…, signed was "
                f"{announcement.sha256[:16]}…"
            )

    def _open(self, url: str, have: int) -> urllib3.BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        timeout = urllib3.Timeout(connect=limits.UPDATE_READ_S, read=limits.UPDATE_READ_S)
        for _ in range(limits.UPDATE_REDIRECTS + 1):
            if urlsplit(url).scheme != "https":
                raise AlterationRefused(f"led to {url}, which is not https")
            try:
                response = self._pool.request(
                    "GET", url, headers=headers, timeout=timeout,
                    redirect=False, preload_content=False, decode_content=False,
                )  # fmt: skip
            except HTTPError as error:
                raise DownloadUnavailable(f"cannot be reached: {error}") from error
            if response.status not in _REDIRECTS:
                break
            response.close()
            try:
                url = urljoin(url, response.headers.get("Location", ""))
            except ValueError as error:
                raise AlterationRefused(f"led to no address: {error}") from error
        else:
            raise DownloadUnavailable(f"more than {limits.UPDATE_REDIRECTS} redirections")
        if response.status not in (200, 206, 416):
            response.close()
            raise DownloadUnavailable(f"HTTP status {response.status}")
        return response

    def _receive(
        self,
        response: urllib3.BaseHTTPResponse,
        file: int,
        have: int,
        size: int,
        update: Callable[[bytearray], None],
    ) -> None:
        begun = asked = self._steady()
        since, waiting = 0, bytearray()
        if not self._wanted():
            raise NoLongerWanted("what is announced has changed")
        try:
            while have < size:
                # One record at most; whatever is done for each of them is done thousands of times.
                came = response.read1(min(_TLS_RECORD_BYTES, size - have))
                if not came:
                    raise DownloadUnavailable(f"broke off after {have} of {size} bytes")
                waiting += came
                have, since = have + len(came), since + len(came)
                if len(waiting) >= limits.UPDATE_CHUNK_BYTES:
                    _keep(waiting, file, update)
                    self._on_progress(100 * have // size)
                now = self._steady()
                if now - asked >= limits.UPDATE_ASK_S:
                    asked = now
                    if not self._wanted():
                        raise NoLongerWanted("what is announced has changed")
                if now - begun >= limits.UPDATE_SLOW_S:
                    if since < limits.UPDATE_SLOW_BYTES:
                        raise DownloadUnavailable(f"too slow: {since} bytes in a minute")
                    begun, since = now, 0
        finally:
            _keep(waiting, file, update)
            os.fsync(file)
        self._on_progress(100)


def _keep(waiting: bytearray, file: int, update: Callable[[bytearray], None]) -> None:
    """Write what has come, and hash it; nothing waits afterwards."""
    with memoryview(waiting) as view:
        at = 0
        while at < len(view):
            at += os.write(file, view[at:])
        update(waiting)
    waiting.clear()


def _begins_anew(response: urllib3.BaseHTTPResponse, have: int, size: int) -> bool:
    """Whether the whole file comes, though only its rest was asked for."""
    if response.status == 200:
        return True
    told = response.headers.get("Content-Range", "")
    if response.status == 206 and re.fullmatch(rf"bytes {have}-{size - 1}/({size}|\*)", told):
        return False
    raise AlterationRefused(
        f"another file than was announced: {told or 'no such range'}, of {size} bytes"
    )


def _check_length(response: urllib3.BaseHTTPResponse, expected: int) -> None:
    told = response.headers.get("Content-Length")
    if told is not None and told != str(expected):
        raise AlterationRefused(
            f"another file than was announced: {told} bytes are to come, not {expected}"
        )
    if response.status == 416:
        raise AlterationRefused("another file than was announced: it has no such range")


def _hashed(path: Path, most: int) -> hashlib._Hash:
    """Return the hash over what is there; a file that is too long is removed."""
    digest = hashlib.sha256()
    if path.exists():
        if path.stat().st_size > most:
            path.unlink()
            return digest
        with path.open("rb") as file:
            while chunk := file.read(limits.UPDATE_CHUNK_BYTES):
                digest.update(chunk)
    return digest
