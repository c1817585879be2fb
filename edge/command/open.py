"""Putting the commands of a device together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import limits
from edge.audit.diary import Diary
from edge.command.commands import Commands
from edge.command.deeds import Deeds
from edge.command.preview import Find, Preview
from edge.config import Config, VisionConfig
from edge.health.indicator import Indicator
from edge.link.session import Link
from edge.protocol import audit, command, topics
from edge.trust.client import Trust
from edge.vision.engine import Vision
from edge.watchlist.sync import Watchlists
from edge.watchlist.timekeeping import Time
from edge.watchlist.transport import ListTransport

FILE = "commands.json"


def open_preview(config: Config, indicator: Indicator, diary: Diary) -> Preview:
    """Return the preview of a device, off; the indicator shows that it is on."""
    return Preview(
        config.aim,
        find=lambda: _detector(config.vision),
        show=indicator.show,
        on_end=lambda: diary.note(audit.Ordered(command="aim ended", by="this device")),
    )


def open_commands(
    config: Config,
    link: Link,
    trust: Trust,
    lists: Watchlists,
    transport: ListTransport,
    preview: Preview,
    diary: Diary,
    key: Ed25519PrivateKey,
    state_dir: Path,
    *,
    time: Callable[[], Time],
    restart: Callable[[], None],
) -> Commands:
    """Return what obeys the commands that come over `link`, once it and `trust` are started."""

    def again() -> None:
        transport.forget()
        trust.again()

    root, device = config.broker.topic_root, config.device.id
    answers = topics.answer(root, device)
    commands = Commands(
        device,
        key,
        state_dir / FILE,
        Deeds(config, lists, preview, again=again, restart=restart),
        diary,
        lambda answer: link.publish(answers, answer) is not None,
        time=time,
        stopped=lambda: lists.stopped,
    )
    trust.follow(command.ROLE, commands.follow)
    link.on_connected(commands.connected)
    for topic in (topics.command(root, device), topics.command_to_all(root)):
        link.subscribe(topic, commands.take, limits.MAX_COMMAND_BYTES)
    if config.home_assistant.stop_switch:
        link.subscribe(topics.switch(root, device), commands.take_switch, limits.MAX_COMMAND_BYTES)
    return commands


def _detector(vision: VisionConfig) -> Find:
    folder = Path(vision.models_dir) if vision.models_dir else None
    return Vision.open(folder, vision.detector, vision.embedder, threads=1).detect
