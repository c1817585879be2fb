"""Options that several commands share: where the broker is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from edge.config import BrokerConfig, parse_section

LOCAL = BrokerConfig()
"""What `at_broker` gives where no option says otherwise."""


def at_broker(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command take the options that say where the broker is.

    Args:
        command: has a parameter `broker`, and gets the `BrokerConfig` in it.

    Raises:
        ConfigError: when it is called: a value is out of range.
    """
    hints = get_type_hints(command, include_extras=True)
    options = inspect.signature(_broker, eval_str=True).parameters.values()
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == "broker":
            parameters += options
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))

    @functools.wraps(command)
    def called(**given: Any) -> None:  # noqa: ANN401 (whatever the command takes)
        where = {option.name: given.pop(option.name) for option in options}
        command(**given, broker=_broker(**where))

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _broker(
    broker: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="The MQTT broker.")
    ] = f"{LOCAL.host}:{LOCAL.port}",
    topic_root: Annotated[str, typer.Option(help="First level of every topic.")] = LOCAL.topic_root,
    username: Annotated[str | None, typer.Option(help="MQTT user name.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File (mode 0600) with the password.", show_default=False)
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM of the broker's authority; turns TLS on.")
    ] = None,
    cert_file: Annotated[
        Path | None,
        typer.Option(
            help="PEM (mode 0600) of our client certificate and its key, from `authority role`."
        ),
    ] = None,
) -> BrokerConfig:
    """Return the broker that the options name.

    Raises:
        ConfigError: a value is out of range.
    """
    host, separator, port = broker.rpartition(":")
    if not separator or not port.isdecimal():
        host, port = broker, "8883" if ca_file else "1883"
    return parse_section(
        {
            "host": host.strip("[]"),
            "port": int(port),
            "topic_root": topic_root,
            "username": username,
            "password_file": str(password_file) if password_file else None,
            "ca_file": str(ca_file) if ca_file else None,
            "cert_file": str(cert_file) if cert_file else None,
        },
        BrokerConfig,
    )
