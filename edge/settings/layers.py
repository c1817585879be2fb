"""Who may set which field, and what comes of several who do. Pure.

A field is set by, the last one first: the command line, the fleet's signed document, the device's
own file, its default. Of identity, state, root of trust and broker, and of what was screwed to the
wall (`[device]`), the file alone has the word; and so of paths to what the device runs or reads
models from, for they are no wish but a fact of the machine.

What limits a device may be made stricter by the fleet than its file is, never laxer. Limits of a
signed list are applied beside both (`edge.watchlist.authorisation`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from edge.config import Config
from edge.errors import ConfigError
from edge.protocol.audit import digest
from edge.protocol.configuration import Source
from edge.protocol.signing import canonical
from edge.settings.fields import describe, plain, shown, value_of

Path = str
Complaint = Callable[[Any], str]
Settings = Mapping[str, Any]
"""Section to field to value, as in the file."""
_ATTACHED = re.compile(
    r"picamera2(:[0-9]{1,2})?|/dev/(video[0-9]{1,3}|v4l/by-(id|path)/[A-Za-z0-9][A-Za-z0-9_.:@+-]*)"
)
_NETWORK = re.compile(r"rtsps?://[!-~]+")


class Rule(msgspec.Struct, frozen=True):
    """What the fleet may do with a field.

    Attributes:
        when: it counts: at once, or after a restart of the device, which comes by itself.
        stricter: whether a value (first) is at least as strict as the file's; None: no limit.
        says: what that means, in words, of the file's value.
        objection: why a value may not come this way, or "".
    """

    when: Literal["at once", "restart"]
    stricter: Callable[[Any, Any], bool] | None = None
    says: str = ""
    objection: Complaint = lambda _value: ""


def _source(value: str) -> str:
    """Object to what is no camera: a clip ends, and the device with it; other paths are no wish."""
    if _ATTACHED.fullmatch(value):
        return ""
    if not _NETWORK.fullmatch(value):
        return (
            "a source from the fleet is a camera: /dev/videoN, /dev/v4l/by-id/…, picamera2, "
            "picamera2:N, rtsp://… or rtsps://…; a clip or folder is named in the device's own file"
        )
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return "not an address"
    if "@" in value or parts.query:
        return (
            "an address with user, password or query does not come this way: the broker holds it "
            "in clear; write it into the device's own file"
        )
    return ""


def _elsewhere(local: Config, source: str) -> bool:
    """Whether a source may be another place than the one that lists for an area are judged by.

    `device.position`, or gpsd, says where the camera of the device's own file is. Another one on
    the same machine is there too; one on the network may hang anywhere.
    """
    own, placed = local.camera.source, local.device.position or local.device.profile == "body-worn"
    return bool(placed) and source != own and ("://" in own or "://" in source)


_AT_MOST = ((lambda value, own: value <= own), "at most {} is allowed by the device's own file")

RULES: Mapping[Path, Rule] = {
    "camera.source": Rule("restart", objection=_source),
    "camera.width": Rule("restart"),
    "camera.height": Rule("restart"),
    "camera.fps": Rule("restart"),
    "watchlist.id": Rule("restart"),
    "watchlist.index": Rule("restart"),
    "watchlist.purposes": Rule(
        "at once", lambda value, own: value <= own, "the device's own file allows {}"
    ),
    "watchlist.max_entries": Rule("at once", *_AT_MOST),
    "watchlist.max_hours": Rule("at once", *_AT_MOST),
    "vision.detector": Rule("restart"),
    "vision.embedder": Rule("restart"),
    "vision.threads": Rule("restart"),
    "vision.backend": Rule("restart"),
    "vision.edgetpu_device": Rule("restart"),
    "vision.effort": Rule("restart"),
    "vision.fpir_target": Rule("at once", *_AT_MOST),
    "events.pictures": Rule(
        "at once", lambda value, own: own or not value, "the device's own file says {}"
    ),
    "telemetry.period_s": Rule("at once"),
    "telemetry.prometheus_port": Rule("at once"),
    "home_assistant.discovery": Rule("at once"),
    "home_assistant.prefix": Rule("at once"),
    "log_level": Rule("at once"),
}
"""Fields that the fleet may set. What is not named is the file's alone."""


def flat(settings: Settings) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of each field that a document names.

    Raises:
        ConfigError: a name holds a dot: there is one way to write a field.
    """
    for name, value in settings.items():
        if "." in name:
            raise ConfigError(f"{shown(name)} is no field of the configuration")
        if isinstance(value, dict) and name in Config.__struct_fields__:
            for inner, held in value.items():
                yield f"{name}.{inner}", held
        else:
            yield name, value


def nested(fields: Mapping[Path, Any]) -> dict[str, Any]:
    """Return a document's form of path and value: the reverse of `flat`."""
    document: dict[str, Any] = {}
    for path, value in fields.items():
        section, _, name = path.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = value
    return document


def checked(settings: Settings) -> dict[Path, Any]:
    """Return path and typed value of each field, where the fleet may set all of them.

    Raises:
        ConfigError: naming the field, its value, and what it may hold.
    """
    found: dict[Path, Any] = {}
    for path, value in flat(settings):
        field, rule = describe().get(path), RULES.get(path)
        if field is None:
            raise ConfigError(f"{shown(path)[1:-1]} is no field of the configuration")
        if rule is None:
            raise ConfigError(f"{path} is set in the device's own file only, not by the fleet")
        try:
            typed = msgspec.convert(value, field.kind)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{path} = {shown(value)} refused; it may hold: {field.allowed}"
            ) from error
        if objection := rule.objection(typed):
            raise ConfigError(f"{path} refused: {objection}")
        found[path] = typed
    return found


def merged(local: Config, settings: Settings, pinned: frozenset[Path] = frozenset()) -> Config:
    """Return the configuration that follows from the device's file and the fleet's document.

    Args:
        local: from the file.
        settings: of the fleet's document.
        pinned: fields that the command line has set; they stay.

    Raises:
        ConfigError: naming the field, its value, and what it may hold. Nothing of it counts then.
    """
    wanted = checked(settings)
    for path, value in wanted.items():
        rule, own = RULES[path], value_of(local, path)
        if rule.stricter is not None and not rule.stricter(value, own):
            raise ConfigError(
                f"{path} = {shown(value)} refused: it may only be made stricter, "
                f"{rule.says.format(shown(own))}"
            )
    changed_to = {path: value for path, value in wanted.items() if path not in pinned}
    if _elsewhere(local, changed_to.get("camera.source", local.camera.source)):
        raise ConfigError(
            "camera.source refused: lists for an area are judged by where the camera of the "
            "device's own file is, and another on the network may hang elsewhere. Write it, with "
            "device.position, into that file"
        )
    changes = nested(changed_to)
    return msgspec.structs.replace(
        local,
        **{
            name: msgspec.structs.replace(getattr(local, name), **value)
            if isinstance(value, dict)
            else value
            for name, value in changes.items()
        },
    )


def source(
    path: Path, local: Config, settings: Settings, pinned: frozenset[Path] = frozenset()
) -> Source:
    """Return who has set a field. What the file sets to the default counts as default."""
    if path in pinned:
        return "command line"
    if path in dict(flat(settings)):
        return "fleet"
    field = describe()[path]
    given = field.required or value_of(local, path) != field.default
    return "file" if given else "default"


def changed(before: Config, after: Config, *, when: str) -> tuple[Path, ...]:
    """Return the fields that differ, of those that count at once or after a restart."""
    return tuple(
        path
        for path, rule in RULES.items()
        if rule.when == when and value_of(before, path) != value_of(after, path)
    )


def fingerprint(config: Config) -> str:
    """Return the SHA-256 of a whole configuration (RFC 8785 form), hex."""
    return digest(canonical({path: plain(value_of(config, path)) for path in describe()}))
