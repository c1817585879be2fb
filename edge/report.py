"""What a run of the device came to."""

from __future__ import annotations

import msgspec

from edge.pipeline import Counters


class Report(msgspec.Struct, frozen=True):
    """What a run did. For the process that started it; never published.

    Attributes:
        counters: frames, faces, tracks, embeddings.
        candidates: reports of matches.
        skipped: frames that could not be used.
        source: state of the camera at the end.
        sent_bytes: topics and payloads sent to the broker.
        waiting: events that are still in the outbox.
        again: whether it ended to be made anew, with another configuration.
    """

    counters: Counters
    candidates: int
    skipped: int
    source: str
    sent_bytes: int
    waiting: int
    again: bool
