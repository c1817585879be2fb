"""What a configuration changes in a device that runs: the fields that count at once."""

from __future__ import annotations

import logging

import msgspec

from edge.config import Config, WatchlistConfig
from edge.health.metrics import Metrics
from edge.health.telemetry import Monitor
from edge.link.introduction import Introduction
from edge.pipeline import Pipeline
from edge.trust.client import Trust
from edge.watchlist.authorisation import Tightening
from edge.watchlist.sync import Watchlists
from edge.watchlist.transport import ListTransport


class Parts(msgspec.Struct, frozen=True):
    """The parts of a device that go by such fields."""

    pipeline: Pipeline
    monitor: Monitor
    metrics: Metrics
    introduction: Introduction
    lists: Watchlists
    transport: ListTransport
    trust: Trust

    def apply(self, before: Config, now: Config) -> None:
        """Have them go by another configuration; runs on the trust thread."""
        logging.getLogger().setLevel(now.log_level.upper())
        self.pipeline.adjust(pictures=now.events.pictures, fpir_target=now.vision.fpir_target)
        self.monitor.pace(now.telemetry.period_s)
        self.metrics.serve(now.telemetry.prometheus_port)
        self.introduction.set(now.home_assistant)
        if tightening(now.watchlist) != tightening(before.watchlist):
            self.lists.tighten(tightening(now.watchlist))
            self.transport.forget()  # what was refused may be taken now
            self.trust.again()


def tightening(wanted: WatchlistConfig) -> Tightening:
    """Return what a configuration asks of lists beyond the rules."""
    return Tightening(
        purposes=wanted.purposes,
        max_entries=wanted.max_entries,
        max_validity_s=wanted.max_hours * 3600,
    )
