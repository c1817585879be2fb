"""Looking at a broker as a device does: what is signed there, and by whom."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge import limits
from edge.config import BrokerConfig
from edge.errors import MissingAtBroker
from edge.protocol import topics
from edge.protocol.watchlist import list_role, list_target
from edge.trust.shelf import Shelf
from edge.trust.target import Target
from edge.trust.view import open_view
from fleet.broker import session


def look(root: bytes, list_id: str, broker: BrokerConfig) -> dict[str, Target | None]:
    """Return what is signed of a list at a broker: by all who must, and in an emergency.

    Args:
        root: the fleet's root metadata.
        list_id: name of the list.
        broker: where.

    Returns:
        Role to the head that it has signed, None where it has signed none.

    Raises:
        BadInput: what lies there would be refused by devices; the class says why.
        Unavailable: the broker cannot be asked, or holds nothing.
    """
    path = topics.TIMESTAMP
    with session(broker) as link, tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(link, topics.trust(broker.topic_root, ""))
        timestamp = shelf.read({path: limits.MAX_TIMESTAMP_BYTES}).get(path)
        if timestamp is None:
            raise MissingAtBroker("the broker holds nothing; `lethe fleet publish`")
        view = open_view(root, Path(folder), shelf, lambda: timestamp)
        return {
            list_role(list_id, urgent=urgent): view.find(
                list_target(list_id, urgent=urgent), list_role(list_id, urgent=urgent)
            )
            for urgent in (False, True)
        }
