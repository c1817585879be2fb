"""The system that a device runs on: its slots, the part that may write them, its power.

The device is not root. What it cannot do itself is asked of `lethe-install.service`, a small unit
that runs as root when a request lies in a folder of the device's (`ota/device/install`): RAUC
installs, or the machine restarts. The answers lie where only root writes. RAUC checks a bundle's
signature whoever asks.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Literal

import msgspec

from edge.errors import short
from edge.files import private_folder, text_of, write_atomically
from edge.health import sensors
from edge.health.selftest import Verdict

Request = Literal["install", "install-older", "cancel", "restart"]
_PROGRESS = re.compile(r"^ *(\d{1,3})% ", re.MULTILINE)


class Machine(msgspec.Struct, frozen=True):
    """Where things are on Lethe's images; other places in tests.

    Attributes:
        root: of the file system.
    """

    root: Path = Path("/")

    @property
    def folder(self) -> Path:
        """The device's folder for bundles and requests."""
        return self.root / "var/lib/lethe/update"

    @property
    def compatible(self) -> str:
        """The kind of device that RAUC takes bundles for; empty without slots."""
        import configparser

        config = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            config.read_string(text_of(self.root / "etc/rauc/system.conf"))
        except configparser.Error:
            return ""
        return config.get("system", "compatible", fallback="")

    def release(self, name: str) -> str:
        """Return a field of os-release, such as VERSION_ID; empty if it has none.

        On a system that is not ours (L4T), ours lies beside the application.
        """
        ours, system = (self.root / f"usr/lib/{f}os-release" for f in ("lethe/", ""))
        for line in text_of(ours if ours.exists() else system).splitlines():
            key, _, value = line.partition("=")
            if key == name:
                return "".join(shlex.split(value)[:1])
        return ""

    @property
    def boot(self) -> str:
        """Which start of the machine this is."""
        return text_of(self.root / "proc/sys/kernel/random/boot_id")

    @property
    def kept(self) -> bool:
        """Whether the version that runs has been marked good (docs/adr/0021)."""
        build = self.release("BUILD_ID")
        return bool(build) and text_of(self.root / "data/ota/kept") == build

    def gone_back(self, version: str) -> str:
        """Return why a version was not kept, as it said itself before it restarted."""
        told: dict[str, str] = {}
        for line in text_of(self.root / "data/ota/failed").splitlines():
            key, _, value = line.partition("=")
            told[key] = value
        if told.get("version") != version:
            return "it did not get as far as saying why: the boot loader went back"
        reason = told.get("reason") or _judged(told.get("verdict", ""))
        return short(reason)

    @property
    def powered(self) -> bool | None:
        """Whether it runs on mains power; None if it has a battery, and nothing says so."""
        return sensors.powered(self.root / "sys")

    def ask(self, request: Request) -> None:
        """Ask root's part for something; what it answered before is void.

        Raises:
            StorageUnavailable: the request cannot be written.
        """
        write_atomically(private_folder(self.folder) / "request", f"{request}\n".encode())

    def ask_no_more(self) -> None:
        """Take back a request that was not taken up."""
        (self.folder / "request").unlink(missing_ok=True)

    @property
    def asked(self) -> bool:
        """Whether a request has not been taken up yet."""
        return (self.folder / "request").exists()

    @property
    def progress(self) -> int:
        """How far RAUC is, percent."""
        found = _PROGRESS.findall(text_of(self.root / "run/lethe-install/output"))
        return min(int(found[-1]), 100) if found else 0

    @property
    def result(self) -> str:
        """What came of the last request: empty where nothing has yet.

        "installed" or "failed"; "cancelled" or "not-cancelled".
        """
        return text_of(self.root / "run/lethe-install/result")

    @property
    def problem(self) -> str:
        """Why the last request failed, in RAUC's words."""
        said = text_of(self.root / "run/lethe-install/output")
        for line in reversed(said.splitlines()):
            if line.startswith("LastError: "):
                return short(line.removeprefix("LastError: "))
        return short((said.splitlines() or ["RAUC said nothing"])[-1])


SYSTEM = Machine()
"""The one that this runs on."""


def _judged(verdict: str) -> str:
    """Return why a self-test did not pass, from its verdict, which may be cut off."""
    try:
        reasons = msgspec.json.decode(verdict, type=Verdict).reasons
    except (msgspec.DecodeError, RecursionError):
        return f"self-test: {verdict}"
    return "self-test: " + "; ".join(reasons)
