"""The one file that a new device is given: everything it must be told. Pure.

It is the device's configuration (docs/configuration.md) with the content of the files that a
configuration only names, what opens the network, and a one-time token:

    [fleet]   root_json  the fleet's root of trust (root.json)
    [broker]  ca_pem     the authority of the broker and of the devices' certificates
    [enrol]   token      one-time; without it the request is carried by hand
    [network]            see `edge.provision.network`
"""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any

import msgspec
import tomli_w
from msgspec import Meta
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edge import config, limits
from edge.errors import BadInput, ConfigError, FormatError
from edge.protocol import certificate
from edge.provision.network import NetworkConfig

EXAMPLE_TOKEN = "A" * 32
STATE_DIR, CLIENT = "/var/lib/lethe/state", "/var/lib/lethe/state/tls/client.pem"
ROOT_FILE, CA_FILE = "root.json", "ca.pem"
_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$(?!\n)"
"""`edge.protocol.watchlist.Name`, which few people read."""
_NOT_HERE = {
    ("device", "state_dir"): "the image has a place for it",
    ("fleet", "root"): "put the content of root.json into fleet.root_json",
    ("broker", "ca_file"): "put the content of the PEM file into broker.ca_pem",
    ("broker", "cert_file"): "the device makes its own key, and asks for a certificate",
    ("broker", "key_file"): "the device makes its own key, and asks for a certificate",
    ("broker", "username"): "devices are known by their certificates",
    ("broker", "password_file"): "devices are known by their certificates",
    ("update", "ca_file"): "the authorities of the system are used",
}
"""Fields of the configuration that name files, of which there are none yet."""


class EnrolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device gets its certificate.

    Attributes:
        token: from `./lethe authority invite`; empty: the request is carried by hand.
        port: of the broker's listener for one-time passwords.
    """

    token: Annotated[str, Meta(pattern=r"^([A-Za-z0-9_-]{16,128})?$")] = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = limits.ENROL_PORT


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with the file.

    Attributes:
        line: where; 0 if it is nowhere in particular.
        field: section and name, such as "broker.port"; empty if it is no field.
        says: what is wrong, and what would be right.
    """

    line: int
    field: str
    says: str

    def __str__(self) -> str:
        """Return it as a person reads it."""
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.field}{': ' if self.field else ''}{self.says}"


class Refused(ConfigError):
    """The file is refused whole.

    Attributes:
        problems: all that were found.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("lethe.toml refused: " + "; ".join(map(str, problems)))
        self.problems = problems


class Plan(msgspec.Struct, frozen=True):
    """What a file asks for, all of it checked.

    Attributes:
        config: the device's configuration.
        files: name in the folder of the configuration to content; the configuration itself last.
        enrol: how it gets its certificate.
        network: how it reaches its broker; None: as the image comes, by cable and DHCP.
    """

    config: config.Config
    files: dict[str, bytes]
    enrol: EnrolConfig
    network: NetworkConfig | None

    def __repr__(self) -> str:
        """Say whose it is; never a secret."""
        return f"Plan({self.config.device.id!r})"


def parse(content: bytes) -> Plan:
    """Read the file.

    Raises:
        Refused: with every problem that was found, its line, field and what is allowed.
    """
    if len(content) > limits.MAX_CONFIG_BYTES:
        says = f"{len(content)} bytes, at most {limits.MAX_CONFIG_BYTES} are read"
        raise Refused([Problem(0, "", says)])
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")  # as Windows' editor saves it
        given = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Refused([Problem(line, "", "not UTF-8 text: save it as UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        says = str(error).partition(" (at ")[0]
        where = f" (column {found[2]})" if found else " (at the end of the file)"
        raise Refused([Problem(int(found[1]) if found else 0, "", says + where)]) from error
    except RecursionError as error:
        raise Refused([Problem(0, "", "nested too deeply")]) from error
    except ValueError as error:  # a number of thousands of digits
        raise Refused([Problem(0, "", str(error))]) from error
    problems: list[Problem] = []

    def wrong(section: str, name: str, says: str) -> None:
        field = f"{section}.{name}" if name else section
        problems.append(Problem(_line(text, section, name), field, says))

    for section, name in _NOT_HERE:
        if isinstance(given.get(section), dict) and name in given[section]:
            wrong(section, name, f"not in this file: {_NOT_HERE[section, name]}")
            del given[section][name]
    enrol = _section(given.pop("enrol", {}), "enrol", EnrolConfig, wrong)
    network = None
    if "network" in given:
        network = _section(given.pop("network"), "network", NetworkConfig, wrong)
        if network is not None and (says := network.trouble()):
            wrong("network", says[0], says[1])
    files = {
        ROOT_FILE: _content(given, "fleet", "root_json", "the content of root.json", wrong),
        CA_FILE: _content(given, "broker", "ca_pem", "PEM of the broker's authority", wrong),
    }
    _check_root(files[ROOT_FILE], wrong)
    _check_authority(files[CA_FILE], wrong)
    given.setdefault("device", {})
    for section, name, value in (
        ("device", "state_dir", STATE_DIR), ("fleet", "root", ROOT_FILE),
        ("broker", "ca_file", CA_FILE), ("broker", "cert_file", CLIENT),
    ):  # fmt: skip
        if isinstance(given.get(section), dict):
            given[section][name] = value
    if isinstance(given.get("broker"), dict):
        given["broker"].setdefault("port", 8883)
        if "host" not in given["broker"]:
            wrong("broker", "host", "missing: name or address of the broker")
    parsed = _config(given, wrong)
    if problems or parsed is None or enrol is None:
        raise Refused(sorted(problems, key=lambda each: each.line or 10**6))
    files["lethe.toml"] = tomli_w.dumps(given).encode()
    return Plan(parsed, files, enrol, network)


def _config(given: dict[str, Any], wrong: Any) -> config.Config | None:  # noqa: ANN401 (a callback)
    """Check section by section: a person is told of all that is wrong at once."""
    kinds = {field.name: field for field in msgspec.structs.fields(config.Config)}
    fine = True
    for name, value in given.items():
        if name not in kinds:
            wrong(name, "", f"there is no such section; there are {', '.join(sorted(kinds))}")
            fine = False
        else:
            fine = _section(value, name, kinds[name].type, wrong) is not None and fine
    for name, field in kinds.items():
        if field.required and name not in given:
            if name != "fleet":  # said already: its root_json is missing
                wrong(name, "", "this section is missing")
            fine = False
    if not fine:
        return None
    try:
        return config.parse(given)
    except ConfigError as error:
        says = str(error).removeprefix("configuration refused: ")
        wrong(
            *(says.partition(":")[0].split(".") if says.startswith("device.") else ("", "")), says
        )
        return None


def _section(value: Any, section: str, kind: Any, wrong: Any) -> Any:  # noqa: ANN401 (of any kind)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        says, _, path = str(error).partition(" - at `$")
        says = says.replace(f"matching regex {_NAME!r}", "of 1 to 64 letters, digits, . _ or -")
        names = re.findall(r"[A-Za-z_]+", path.partition("`")[0])
        named = re.search(r"(?:unknown|required) field `([a-z_]+)`", says)
        name = names[0] if names else (named[1] if named else "")
        wrong(section, name, says)
        return None


def _content(given: dict[str, Any], section: str, name: str, what: str, wrong: Any) -> bytes:  # noqa: ANN401
    table = given.get(section)
    value = table.pop(name, None) if isinstance(table, dict) else None
    if not isinstance(value, str) or not value.strip():
        wrong(section, name, f"missing: {what}, between ''' and '''")
        return b""
    return value.strip().encode() + b"\n"


def _check_root(content: bytes, wrong: Any) -> None:  # noqa: ANN401
    if not content:
        return
    try:
        if len(content) > limits.MAX_ROOT_BYTES:
            raise FormatError(f"{len(content)} bytes")
        root: Metadata[Root] = Metadata[Root].from_bytes(content)
        root.verify_delegate(Root.type, root)
    except (RepositoryError, BadInput, ValueError, TypeError, AttributeError) as error:
        wrong("fleet", "root_json", f"not a fleet's root.json: {error}")


def _check_authority(content: bytes, wrong: Any) -> None:  # noqa: ANN401
    if not content:
        return
    try:
        certificate.read_all(content)
    except FormatError as error:
        wrong("broker", "ca_pem", f"not a PEM file of certificates: {error}")


def _line(text: str, section: str, name: str) -> int:
    """Return the line on which a field, or else its section, stands; 0 if neither does."""
    at, inside = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]", line):
            inside = header[1].split(".")[0] == section
            if inside and not at:
                at = number
            if header[1] == f"{section}.{name}":
                return number
        elif re.match(rf"\s*{re.escape(name or section)}\s*=", line) and (inside or not name):
            return number
    return at
