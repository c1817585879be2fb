"""What is done at each command."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from edge import limits
from edge.command.commands import Deed, Outcome
from edge.command.preview import Preview
from edge.command.rules import refusal
from edge.config import Config, VisionConfig
from edge.errors import StorageUnavailable
from edge.health.indicator import open_indicator
from edge.health.selftest import Verdict
from edge.protocol.command import Aim, Identify, Order, Restart, Resume, SelfTest, Stop
from edge.watchlist.sync import Watchlists


class Deeds:
    """Does what this device can do."""

    def __init__(
        self,
        config: Config,
        lists: Watchlists,
        preview: Preview,
        *,
        again: Callable[[], None],
        restart: Callable[[], None],
    ) -> None:
        """Take what is acted on.

        Args:
            config: of the device.
            lists: what is stopped and resumed.
            preview: what `aim` shows.
            again: has the list fetched anew.
            restart: has the device end, to be started again.
        """
        self._config, self._lists, self._preview = config, lists, preview
        self._again, self._restart = again, restart
        self._closing = threading.Event()

    @property
    def table(self) -> Mapping[type[Order], Deed]:
        """What is done at each kind."""
        return {
            Stop: Deed(self.stop),
            Resume: Deed(self.resume),
            SelfTest: Deed(self.self_test, aside=True),
            Restart: Deed(self.restart),
            Identify: Deed(self.identify, aside=True),
            Aim: Deed(self.aim, aside=True),
        }

    def close(self) -> None:
        """End what is under way."""
        self._closing.set()
        self._preview.end()

    def stop(self, order: Order, by: str) -> Outcome:
        """Look for nobody from now on; noted on the disk when this returns."""
        assert isinstance(order, Stop)
        try:
            self._lists.stop(f"{by}: {order.reason}" if order.reason else by)
        except StorageUnavailable as error:
            return Outcome(
                f"nobody is looked for, but a restart may forget it until this is mended: {error}",
                done=False,
            )
        return Outcome("nobody is looked for; the list is destroyed, until resumed")

    def resume(self, _order: Order, _by: str) -> Outcome:
        """Lift it, and have the list fetched anew."""
        if not self._lists.stopped:
            return Outcome("it was not stopped")
        self._lists.resume()
        self._again()
        return Outcome("resumed; the list is fetched anew")

    def restart(self, _order: Order, _by: str) -> Outcome:
        """End in good order; whoever runs the device starts it again."""
        self._restart()
        return Outcome("ends, and is started again", later=True)

    def self_test(self, _order: Order, _by: str) -> Outcome:
        """Do the main job in a process of its own, which gives way to the stream."""
        verdict = run_self_test(self._config.vision, self._closing)
        if verdict.passed:
            return Outcome(f"passed in {verdict.seconds:.1f} s, version {verdict.version}")
        return Outcome("; ".join(verdict.reasons), done=False)

    def identify(self, order: Order, _by: str) -> Outcome:
        """Blink."""
        assert isinstance(order, Identify)
        setting = self._config.device.identify
        if setting is None:
            raise refusal("not-configured", "device.identify names nothing that could blink")
        lamp, shown = open_indicator(setting), True
        try:
            for _ in range(round(order.seconds / limits.IDENTIFY_BLINK_S)):
                lamp.show(shown)
                shown = not shown
                if self._closing.wait(limits.IDENTIFY_BLINK_S):
                    break
        finally:
            lamp.show(False)
        return Outcome(f"blinked for {order.seconds} s")

    def aim(self, order: Order, _by: str) -> Outcome:
        """Begin the preview, or end it."""
        assert isinstance(order, Aim)
        if not order.minutes:
            self._preview.end()
            return Outcome("the preview is off")
        address, until = self._preview.begin(order.minutes)
        return Outcome(f"for {order.minutes} minutes", address=address, until=until)


def run_self_test(vision: VisionConfig, closing: threading.Event) -> Verdict:
    """Have `edge.health.selftest` judge the models that a device uses, in a process of its own.

    Args:
        vision: which models.
        closing: ends it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "edge.command.selftest"],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        asked: bytes | None = msgspec.json.encode(vision)
        left = limits.SELFTEST_ANSWER_S
        while left > 0 and not closing.is_set():
            try:
                said, _ = process.communicate(asked, timeout=limits.HEALTH_S)
            except subprocess.TimeoutExpired:
                asked, left = None, left - limits.HEALTH_S
                continue
            try:
                return msgspec.json.decode(said, type=Verdict)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return _failed(f"it ended with {process.returncode}, and without a verdict")
        process.kill()
    return _failed("it did not come to an end")


def _failed(reason: str) -> Verdict:
    return Verdict(version="", passed=False, reasons=[reason], well=[], at=0.0, seconds=0.0)
