"""How a device reaches its broker: a section of the file it is given, and the files of it. Pure.

systemd-networkd configures the interface, iwd joins a wireless network.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.errors import ConfigError

_Address = Annotated[str, Meta(min_length=2, max_length=64)]
_Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}$(?!\n)")]
NETWORK, NTP = "run/systemd/network/10-lethe.network", "run/systemd/timesyncd.conf.d/lethe.conf"
IWD = "var/lib/iwd"


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[network]`.

    Attributes:
        kind: "ethernet" or "wifi".
        address: with the length of its prefix, such as "192.0.2.10/24"; DHCP if none.
        gateway: of a fixed address.
        dns: name servers of a fixed address.
        ntp: time servers; those of Debian if none. Without the right time nothing is trusted.
        ssid: name of the wireless network.
        passphrase: of it (WPA2 or WPA3): 8 to 63 ASCII characters.
    """

    kind: Literal["ethernet", "wifi"] = "ethernet"
    address: _Address | None = None
    gateway: _Address | None = None
    dns: Annotated[tuple[_Address, ...], Meta(max_length=8)] = ()
    ntp: Annotated[tuple[_Host, ...], Meta(max_length=8)] = ()
    ssid: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    passphrase: Annotated[str, Meta(pattern=r"^[ -~]{8,63}$")] | None = None

    def __repr__(self) -> str:
        """Say of which kind it is; never the passphrase."""
        return f"NetworkConfig(kind={self.kind!r})"

    def trouble(self) -> tuple[str, str] | None:
        """Return which field does not fit the others, and why; None if all do."""
        if self.kind == "wifi" and (self.ssid is None or self.passphrase is None):
            name = "ssid" if self.ssid is None else "passphrase"
            return name, "missing: a wireless network has a name and a passphrase"
        if self.kind == "ethernet" and (self.ssid or self.passphrase):
            return "kind", 'is "ethernet", but there is a wireless network: kind = "wifi"'
        if self.ssid is not None and (len(self.ssid.encode()) > 32 or not self.ssid.isprintable()):
            return "ssid", "at most 32 bytes of printable characters"
        if self.address is None:
            for name in ("gateway", "dns"):
                if getattr(self, name):
                    return name, "only with network.address: otherwise DHCP says"
            return None
        for name, value, read in (
            ("address", self.address, ip_interface), ("gateway", self.gateway, ip_address),
            *(("dns", each, ip_address) for each in self.dns),
        ):  # fmt: skip
            try:
                if value is not None:
                    read(value if value.isprintable() else "")  # a scope may hold anything
            except ValueError:
                form = "192.0.2.10/24" if name == "address" else "192.0.2.1"
                return name, f"{value!r} is no address; one looks like {form}"
        if "/" not in self.address:
            return "address", "the length of the prefix is missing: 192.0.2.10/24"
        return None


def files(network: NetworkConfig) -> dict[str, str]:
    """Return the files that systemd-networkd, -timesyncd and iwd read, by path below the root.

    Sources: systemd.network(5), timesyncd.conf(5), iwd.network(5).

    Raises:
        ConfigError: the section contradicts itself.
    """
    if trouble := network.trouble():
        raise ConfigError(f"network.{trouble[0]}: {trouble[1]}")
    lines = ["[Match]", f"Type={'wlan' if network.kind == 'wifi' else 'ether'}"]
    if network.kind == "ethernet":
        lines.append("Kind=!*")
    lines += ["", "[Network]", "MulticastDNS=no", "LLMNR=no"]
    if network.address is None:
        lines.append("DHCP=yes")
    else:
        lines.append(f"Address={network.address}")
        lines += [f"Gateway={network.gateway}"] if network.gateway else []
        lines += [f"DNS={each}" for each in network.dns]
    made = {NETWORK: "\n".join(lines) + "\n"}
    if network.ntp:
        made[NTP] = f"[Time]\nNTP={' '.join(network.ntp)}\n"
    if network.kind == "wifi" and network.ssid and network.passphrase:
        name = f"{IWD}/{_file_name(network.ssid)}.psk"
        made[name] = f"[Security]\nPassphrase={_value(network.passphrase)}\n"
    return made


def _file_name(ssid: str) -> str:
    """Return an SSID as iwd names its file: other than letters, digits, `_`, `-`, space: hex."""
    plain = ssid.isascii() and all(c.isalnum() or c in "_- " for c in ssid)
    return ssid if plain else "=" + ssid.encode().hex()


def _value(text: str) -> str:
    r"""Return a value as iwd's files hold it: `\` doubled, a space at the beginning as `\s`."""
    escaped = text.replace("\\", "\\\\")
    return "\\s" + escaped[1:] if escaped.startswith(" ") else escaped
