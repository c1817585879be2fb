"""What can be told of the device's certificate for the broker, and of the broker's own."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

from edge import limits
from edge.config import Config
from edge.credentials import CLIENT, FOLDER, read, read_authorities
from edge.errors import BadInput
from edge.health.finding import Finding
from edge.link.session import tls_context
from edge.protocol import certificate

_RENEW = "./lethe provision request, and have it signed"


def check_certificate(config: Config, now: float) -> Finding:
    """Check the client certificate: is it ours, from the right authority, and how long still.

    Args:
        config: of the device.
        now: seconds since 1970.
    """
    broker, name = config.broker, "certificate"
    if broker.ca_file is None:
        todo = "set broker.ca_file: anyone on the way can read and change what is sent"
        return Finding(name, "note", "no TLS with the broker", todo)
    if broker.cert_file is None:
        todo = "./lethe provision request, unless the broker asks for a password"
        return Finding(name, "note", "the broker is shown no certificate", todo)
    try:
        found = read(Path(broker.cert_file))
        if (trouble := certificate.validity(found, now)) != "":
            todo = f"correct the clock, or {_RENEW}"
            return Finding(name, "problem", trouble, todo)
        certificate.check_issuer(found, read_authorities(Path(broker.ca_file)))
        tls_context(broker)
    except BadInput as error:
        return Finding(name, "problem", str(error), _RENEW)
    ends = certificate.day(found.not_valid_after_utc.timestamp())
    subject = found.subject.rfc4514_string()
    says = f"{subject}, until {ends}"
    if subject != f"CN={config.device.id}":
        todo = f"a broker that knows devices by their certificates refuses what {subject} sends"
        return Finding(name, "note", f"{says}; this device is {config.device.id}", todo)
    if certificate.is_due(found, now):
        ours = Path(config.device.state_dir) / FOLDER / CLIENT == Path(broker.cert_file)
        todo = "it is renewed by itself while the device runs" if ours else _RENEW
        return Finding(name, "note", f"{says}: soon", todo)
    return Finding(name, "ok", says)


def check_broker_tls(config: Config) -> Finding:
    """Check that the broker's certificate is from the right authority, for its name, and valid."""
    broker, name = config.broker, "tls"
    where = f"{broker.host}:{broker.port}"
    try:
        context = tls_context(broker)
        with (
            socket.create_connection((broker.host, broker.port), limits.DOCTOR_CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=broker.host) as secure,
        ):
            _await_alert(secure)
            return Finding(name, "ok", f"{where} is who it says, {secure.version()}")
    except BadInput as error:
        return Finding(name, "problem", str(error), "correct broker.ca_file, cert_file, key_file")
    except ssl.SSLCertVerificationError as error:
        todo = {
            _EXPIRED: "the broker needs a new certificate (or this clock is wrong)",
            _EARLY: "correct this machine's clock, or the broker's",
            _HOST: "use a name in broker.host that is in the broker's certificate",
        }.get(error.verify_code, "broker.ca_file must hold the authority that signed the broker's")
        return Finding(name, "problem", f"{where}: {error.verify_message}", todo)
    except OSError as error:
        reason = getattr(error, "reason", None) or ""
        if "ALERT" in reason:
            why = reason.partition("ALERT_")[2].replace("_", " ").lower()
            says = f"{where} refuses the certificate that it is shown: {why}"
            return Finding(name, "problem", says, "is it revoked, or from another authority?")
        todo = "is this the broker's port for TLS?"
        return Finding(name, "problem", f"{where}: no TLS: {error}", todo)


def _await_alert(secure: ssl.SSLSocket) -> None:
    """Give the broker time to refuse our certificate, which TLS 1.3 lets it do after the handshake.

    Raises:
        OSError: it does.
    """
    secure.settimeout(limits.DOCTOR_ALERT_S)
    with contextlib.suppress(TimeoutError):  # it waits for us to speak
        secure.recv(1)


_EARLY, _EXPIRED, _HOST = 9, 10, 62
"""X509_V_ERR_… of OpenSSL: not yet valid, has expired, host name mismatch."""
