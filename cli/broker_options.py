"""Options that several commands share: where the broker is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import limits
from edge.config import BrokerConfig, parse_section

Broker = Annotated[str, typer.Option("--broker", metavar="HOST[:PORT]", help="The MQTT broker.")]
TopicRoot = Annotated[str, typer.Option(help="First level of every topic.")]
Username = Annotated[str | None, typer.Option(help="MQTT user name.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File (mode 0600) with the password.", show_default=False)
]
CertFile = Annotated[
    Path | None,
    typer.Option(
        help="PEM (mode 0600) of our client certificate and its key, from `authority role`."
    ),
]
CaFile = Annotated[Path | None, typer.Option(help="PEM of the broker's authority; turns TLS on.")]

DEFAULT_BROKER = "127.0.0.1:1883"
DEFAULT_ROOT = limits.DEFAULT_TOPIC_ROOT


def broker_config(
    address: str,
    root: str,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
) -> BrokerConfig:
    """Return the broker that the options name.

    Raises:
        ConfigError: a value is out of range.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        host, port = address, "8883" if ca_file else "1883"
    return parse_section(
        {
            "host": host.strip("[]"),
            "port": int(port),
            "topic_root": root,
            "username": username,
            "password_file": str(password_file) if password_file else None,
            "ca_file": str(ca_file) if ca_file else None,
            "cert_file": str(cert_file) if cert_file else None,
        },
        BrokerConfig,
    )
