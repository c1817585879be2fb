"""The MQTT session: one connection that comes back by itself, through paho-mqtt.

MQTT 3.1.1, which every broker speaks. A broker that is down at the start or goes away later is
tried again for ever, with growing pauses, by paho's own network thread. Callbacks run on that
thread and must return at once.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge import limits
from edge.config import BrokerConfig
from edge.errors import ConfigError
from edge.files import read_secret

log = logging.getLogger(__name__)
_PAHO = logging.getLogger(f"{__name__}.paho")
# What `Link` says in its own words, paho would say again at every attempt.
_PAHO.addFilter(lambda record: "Client is not connected" not in record.getMessage())


class Link:
    """A session with the broker.

    Attributes:
        sent_bytes: topics and payloads of everything published, the last will included.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        client_id: str,
        *,
        will: tuple[str, bytes] | None = None,
        lasting: bool = False,
    ) -> None:
        """Prepare a session; nothing is sent before `start`.

        Args:
            broker: where, and with which credentials.
            client_id: unique at the broker.
            will: topic and payload that the broker publishes, retained, when this session dies.
            lasting: the broker keeps what comes while this session is away; what `subscribe_safely`
                brings is acknowledged only when it was taken.

        Raises:
            ConfigError: a credential file is missing, or open to others.
        """
        self._where = f"{broker.host}:{broker.port}"
        self._host, self._port = broker.host, broker.port
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=not lasting,
            manual_ack=lasting,
        )
        self._client.enable_logger(_PAHO)
        self._client.max_inflight_messages_set(2 * limits.PUBLISH_WINDOW)  # the rest is telemetry
        self._client.connect_timeout = limits.MQTT_CONNECT_S
        self._client.suppress_exceptions = True  # logged by paho; the network thread lives on
        self._client.reconnect_delay_set(limits.MQTT_RETRY_FIRST_S, limits.MQTT_RETRY_MAX_S)
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._subscriptions: dict[str, int] = {}
        self._on_connected: list[Callable[[], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._on_acknowledged: list[Callable[[int], None]] = []
        self._count = threading.Lock()
        self._down_said = False
        self._socket: Any = None
        self.sent_bytes = 0
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
            self.sent_bytes += len(will[0].encode()) + len(will[1])
        self._tls = _authenticate(self._client, broker)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this session."""
        return self._client.is_connected()

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Have `callback` called at every connection, the first and each later one."""
        self._on_connected.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when a connection has ended, for whatever reason."""
        self._on_lost.append(callback)

    def on_acknowledged(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called with the number of each publication the broker has taken."""
        self._on_acknowledged.append(callback)

    def subscribe(self, topic: str, callback: Callable[[str, bytes], None], max_bytes: int) -> None:
        """Have `callback` called with topic and payload; subscribed again at each connection.

        Args:
            topic: may hold wildcards.
            callback: runs on the network thread.
            max_bytes: a larger message is dropped, and the log says so.
        """
        self.route(topic, callback, max_bytes)
        self._subscriptions[topic] = 1
        if self.connected:
            self._client.subscribe(topic, qos=1)

    def route(self, topic: str, callback: Callable[[str, bytes], None], max_bytes: int) -> None:
        """Have `callback` called as by `subscribe`, but ask the broker for nothing."""

        def deliver(_client: Client, _data: object, message: MQTTMessage) -> None:
            if self._fits(message, max_bytes):
                callback(message.topic, bytes(message.payload))

        self._client.message_callback_add(topic, deliver)

    def request(self, topics: Sequence[str]) -> bool:
        """Subscribe for the moment, in one packet: what is retained there comes in this order.

        With QoS 0: nothing is acknowledged, and whoever asks sees what is missing.

        Returns:
            False if there is no connection. The subscription ends with it, or by `release`.
        """
        if not self.connected:
            return False
        code, _ = self._client.subscribe([(topic, 0) for topic in topics])
        return code == MQTTErrorCode.MQTT_ERR_SUCCESS

    def release(self, topics: Sequence[str]) -> None:
        """End what `request` began."""
        if self.connected:
            self._client.unsubscribe(list(topics))

    def subscribe_safely(
        self, topic: str, callback: Callable[[str, bytes], bool], max_bytes: int
    ) -> None:
        """Subscribe in a lasting session: what `callback` does not take, comes again.

        Args:
            topic: may hold wildcards.
            callback: runs on the network thread; returns whether the message is safe.
            max_bytes: a larger message is dropped, and the log says so.
        """

        def deliver(client: Client, _data: object, message: MQTTMessage) -> None:
            if self._fits(message, max_bytes) and not callback(
                message.topic, bytes(message.payload)
            ):
                return
            client.ack(message.mid, message.qos)

        self._client.message_callback_add(topic, deliver)
        self._subscriptions[topic] = 1

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """Send with QoS 1 and return the publication's number; None if there is no connection.

        Drive what follows by `on_acknowledged`, whose number may come before this returns.
        """
        if not self.connected:
            return None
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        with self._count:
            self.sent_bytes += len(topic.encode()) + len(payload)
        return int(info.mid)

    def start(self) -> None:
        """Connect in the background, now or whenever the broker is there."""
        self._client.connect_async(self._host, self._port, keepalive=limits.MQTT_KEEPALIVE_S)
        self._client.loop_start()

    def renew(self, cert_file: str) -> None:
        """Show the broker another client certificate from the next connection on.

        The present one goes on: what it was opened with is not asked for again.

        Args:
            cert_file: PEM file of the certificate and its key.

        Raises:
            ConfigError: it cannot be used; the session stays as it is.
        """
        if self._tls is None:
            raise ConfigError("the session has no TLS: broker.ca_file is not set")
        _check_private(cert_file)
        _show(self._tls, cert_file, None)

    def close(self) -> None:
        """Disconnect cleanly: the broker keeps its last will to itself."""
        self._client.disconnect()
        self._client.loop_stop()
        if self._socket is not None:  # paho leaves one that was being opened just then
            self._socket.close()

    @staticmethod
    def _fits(message: MQTTMessage, max_bytes: int) -> bool:
        if len(message.payload) <= max_bytes:
            return True
        log.warning(
            "message of %d bytes on %s dropped: at most %d are read",
            len(message.payload), message.topic, max_bytes,
        )  # fmt: skip
        return False

    def _on_socket_open(self, _client: Client, _data: object, sock: Any) -> None:  # noqa: ANN401
        """Send small messages at once: Nagle's algorithm costs 40 ms a fetch."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    def _on_connect(
        self, client: Client, _data: object, _flags: object, reason: ReasonCode, _p: object
    ) -> None:
        if reason.is_failure:
            log.warning("broker %s refuses the session: %s", self._where, reason)
            return
        log.info("broker %s: connected", self._where)
        self._down_said = False
        for topic, qos in list(self._subscriptions.items()):
            client.subscribe(topic, qos=qos)
        for callback in self._on_connected:
            callback()

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        if not self._down_said:
            log.warning("broker %s cannot be reached; trying again", self._where)
        self._down_said = True

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _p: object
    ) -> None:
        if reason.is_failure:
            log.warning("broker %s: connection lost (%s); trying again", self._where, reason)
        for callback in self._on_lost:
            callback()

    def _on_publish(
        self, _client: Client, _data: object, number: int, _reason: object, _p: object
    ) -> None:
        for callback in self._on_acknowledged:
            callback(number)


def _authenticate(client: Client, broker: BrokerConfig) -> ssl.SSLContext | None:
    """Give a client its credentials; return what holds those of TLS, if they are used."""
    try:
        if broker.username is not None:
            password = None
            if broker.password_file is not None:
                password = read_secret(Path(broker.password_file)).decode("utf-8").strip()
            client.username_pw_set(broker.username, password)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"credentials of the broker cannot be read: {error}") from error
    if broker.ca_file is None:
        return None
    context = tls_context(broker)
    client.tls_set_context(context)
    return context


def tls_context(broker: BrokerConfig) -> ssl.SSLContext:
    """Return what a session checks the broker with, and shows it.

    Args:
        broker: with `ca_file`.

    Raises:
        ConfigError: a file is missing, damaged, or open to others.
    """
    if secret := broker.key_file or broker.cert_file:
        _check_private(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name of the broker
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(broker.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS: {broker.ca_file} cannot be used: {error}") from error
    if broker.cert_file is not None:
        _show(context, broker.cert_file, broker.key_file)
    return context


def _check_private(secret: str) -> None:
    """Refuse a key that others may read: OpenSSL would take it."""
    try:
        read_secret(Path(secret))
    except OSError as error:
        raise ConfigError(f"TLS: {secret} cannot be read: {error}") from error


def _show(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS: {cert_file}, or the key of it, cannot be used: {error}") from error
