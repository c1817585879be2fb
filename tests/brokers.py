"""Real brokers: a mosquitto of a test's own, and one with all of the files that ship."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.broker import free_port
from edge.config import BrokerConfig
from edge.credentials import Credentials
from edge.files import private_folder, write_atomically
from edge.protocol import enrolment
from edge.protocol.enrolment import read_request
from fleet import approval, authority
from fleet.authority import Authority

DEPLOY = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto"
SHIPPED = DEPLOY / "lethe.conf"
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Mosquitto:
    """A mosquitto on loopback that can be killed and started again on the same port.

    Attributes:
        wrapper: program and arguments that start it.
    """

    wrapper: Sequence[str] = ()

    def __init__(self, folder: Path, *settings: str) -> None:
        """Prepare one: as this project ships its configuration, or with other settings."""
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = settings or (
            "allow_anonymous true",
            SHIPPED.read_text("utf-8"),
            f"persistence_location {folder}/",
        )
        self._config.write_text(
            "\n".join((f"listener {self.port} 127.0.0.1", "user root", *lines, "")), "utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [*self.wrapper, MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        patience = time.monotonic() + 60
        while time.monotonic() < patience:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise TimeoutError("mosquitto did not start")

    def hang(self) -> None:
        """Leave its connections open and answer nothing, until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def reload(self) -> None:
        """Have it read its passwords and rules again (systemctl reload mosquitto)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Stop it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Shipped(Mosquitto):
    """mosquitto with all of the shipped files; only folders and ports are the test's.

    Attributes:
        enrol_port: where those ask who have no certificate yet.
        open_port: a further listener without any rule, for the test itself.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float] = time.time,
        addresses: Sequence[str] = ("127.0.0.1",),
    ) -> None:
        """Prepare one.

        Args:
            folder: for all of its files.
            now: of its authority, seconds since 1970.
            addresses: by which it is reached, in its certificate.
        """
        self.folder = folder
        self.port, self.enrol_port, self.open_port = free_port(), free_port(), free_port()
        self._config = folder / "mosquitto.conf"
        authority.create(folder / "authority", "authority of the test", None, now)
        self._now = now
        chain, key = self.authority.issue_server(list(addresses))
        write_atomically(folder / "broker.pem", chain)
        write_atomically(folder / "broker.key", key)
        self.take_along()
        for name in ("acl", "enrol.acl"):
            (folder / name).write_text((DEPLOY / name).read_text())
        text = (DEPLOY / "lethe.conf").read_text() + (DEPLOY / "tls.conf").read_text()
        text = text.replace("/etc/mosquitto/lethe", str(folder))
        text = text.replace("/var/lib/mosquitto", str(folder))
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        text = text.replace("listener 8884", f"listener {self.enrol_port} 127.0.0.1")
        text += f"listener {self.open_port} 127.0.0.1\nallow_anonymous true\n"
        self._config.write_text(f"user root\n{text}")
        self._process = None

    @property
    def authority(self) -> Authority:
        """Opened anew: others may have changed it."""
        return Authority(self.folder / "authority", None, self._now)

    def take_along(self) -> None:
        """Bring what the authority has for the broker to it, as the operator does."""
        for name in (authority.CA, authority.CRL, authority.PASSWORDS):
            shutil.copy(self.authority.folder / name, self.folder / name)

    def config(self, name: str, **changes: object) -> BrokerConfig:
        """A role's access, or a device's as if it were one."""
        file = self.folder / f"{name}.pem"
        if not file.exists():
            write_atomically(
                file,
                self.authority.issue_role(name) if name in authority.ROLES else self._device(name),
            )
        return BrokerConfig(
            port=self.port, ca_file=str(self.folder / "ca.pem"), cert_file=str(file), **changes
        )

    def expected(self, name: str, token: str, folder: Path) -> BrokerConfig:
        """The access of a device that has no certificate yet."""
        file = folder / f"{name}.password"
        write_atomically(file, enrolment.password(token).encode())
        return BrokerConfig(
            port=self.enrol_port, ca_file=str(self.folder / "ca.pem"), username=name,
            password_file=str(file),
        )  # fmt: skip

    def _device(self, name: str) -> bytes:
        state = private_folder(self.folder / f"{name}-state")
        credentials = Credentials(state, name)
        answer = approval.signed(self.authority, read_request(credentials.ask()))
        credentials.receive(answer, self.authority.folder / "ca.pem", self._now())
        credentials.take_over()
        return credentials.client.read_bytes()
