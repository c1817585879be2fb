"""Whether and where the telemetry is served to Prometheus: off unless a port is configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.errors import ConfigError
from edge.protocol.status import Status, Telemetry

if TYPE_CHECKING:
    from edge.health.prometheus import MetricsServer


class Metrics:
    """Serves on the port that is configured at the moment, or not at all.

    Attributes:
        trouble: why it does not serve although it should, in words; empty otherwise.
    """

    def __init__(self, newest: Callable[[], tuple[Status, Telemetry | None]]) -> None:
        """Prepare; `newest` gives what is served."""
        self._newest = newest
        self._server: MetricsServer | None = None
        self.trouble = ""

    def serve(self, port: int) -> None:
        """Serve on this port from now on; 0: not at all."""
        if self._server is not None and self._server.port == port:
            return
        self.close()
        if port:
            # Imported only here: its library brings a web server, a tenth of the start's imports.
            from edge.health.prometheus import MetricsServer

            try:
                self._server = MetricsServer(port, self._newest)
            except ConfigError as error:  # nobody is missed for want of a gauge
                self.trouble = str(error)

    def close(self) -> None:
        """Stop serving."""
        self.trouble = ""
        if self._server is not None:
            self._server.close()
            self._server = None
