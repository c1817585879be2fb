"""The telemetry as Prometheus text, on loopback only.

The library's own collectors (processor time, memory) are left out: they tell how many people are in
view. What is served is the newest telemetry, not the moment of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, StateSetMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge.errors import ConfigError
from edge.protocol.status import Status, Telemetry

HOST = "127.0.0.1"


class MetricsServer:
    """Serves http://127.0.0.1:<port>/metrics until closed."""

    def __init__(self, port: int, newest: Callable[[], tuple[Status, Telemetry | None]]) -> None:
        """Begin to serve.

        Args:
            port: TCP port.
            newest: gives the newest status and telemetry; called from the server's thread.

        Raises:
            ConfigError: the port cannot be had.
        """
        registry = CollectorRegistry()
        registry.register(_Collector(newest))
        try:
            self._server, self._thread = start_http_server(port, HOST, registry)
        except OSError as error:
            raise ConfigError(
                f"telemetry.prometheus_port {port}: {error.strerror}; choose another"
            ) from error

    @property
    def port(self) -> int:
        """The port it serves on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector(Collector):
    def __init__(self, newest: Callable[[], tuple[Status, Telemetry | None]]) -> None:
        self._newest = newest

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one request."""
        status, telemetry = self._newest()
        yield InfoMetricFamily("lethe", "Software.", {"software": status.software})
        yield GaugeMetricFamily(
            "lethe_problems", "Reasons why the device is degraded.", len(status.reasons)
        )
        listed = status.list
        yield GaugeMetricFamily(
            "lethe_list_version", "Version of the list in force; 0: none.",
            listed.version if listed else 0,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "lethe_list_expires_seconds", "When the list in force ends, seconds since 1970.",
            listed.expires if listed else 0,
        )  # fmt: skip
        if telemetry is None:
            return
        yield GaugeMetricFamily("lethe_uptime_seconds", "Since the start.", telemetry.uptime_s)
        yield GaugeMetricFamily(
            "lethe_events_waiting", "Events not yet taken by the broker.", telemetry.events_waiting
        )
        yield GaugeMetricFamily(
            "lethe_certificate_ends_seconds",
            "When the client certificate for the broker ends, seconds since 1970; 0: none.",
            telemetry.certificate_ends or 0,
        )
        yield StateSetMetricFamily(
            "lethe_disk", "Room for state.",
            {name: telemetry.disk == name for name in ("ok", "low", "unknown")},
        )  # fmt: skip
        yield StateSetMetricFamily(
            "lethe_frames", "Whether frames arrive.",
            {name: telemetry.frames == name for name in ("ok", "few", "none", "unknown")},
        )  # fmt: skip
        yield StateSetMetricFamily(
            "lethe_temperature", "Worst class of the last day.",
            {name: telemetry.temperature == name for name in ("normal", "warm", "hot", "unknown")},
        )  # fmt: skip
        yield StateSetMetricFamily(
            "lethe_effort", "Hardest step of the last day by which it looked less.",
            {name: telemetry.effort == name for name in ("full", "eased", "least")},
        )  # fmt: skip
        yield GaugeMetricFamily(
            "lethe_throttled", "Whether the firmware has slowed the machine down since its start.",
            int(bool(telemetry.throttled)),
        )  # fmt: skip
