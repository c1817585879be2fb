"""Who may connect to the rig's broker: the fleet's side of provisioning (docs/provisioning.md)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.protocol.enrolment import Asked, read_request
from fleet import approval, authority, enrolments, invitation
from fleet.broker import session
from hil_tests.proxy import Proxy
from tests.brokers import Shipped


class Access:
    """Invites the device, and signs for it.

    Attributes:
        door: the way to the broker's listener for those who have no certificate yet.
    """

    def __init__(
        self,
        broker: Shipped,
        fleet: Path,
        bind: str,
        known: Callable[[Ed25519PublicKey], None],
    ) -> None:
        """Begin.

        Args:
            broker: with its authority.
            fleet: folder of the fleet that a device becomes part of.
            bind: where this machine listens for the device.
            known: told the key that the device signs its events with.
        """
        self._broker, self._fleet, self._known = broker, fleet, known
        self.door = Proxy(bind, broker.enrol_port)

    def invite(self, device: str, template: Path) -> bytes:
        """Return the one file for a device that is to come; the broker expects it from now on."""
        opened = self._broker.authority
        content = invitation.complete(
            template, device, self._fleet / "root.json", opened.folder / authority.CA, opened.invite
        )
        self._broker.take_along()
        self._broker.reload()
        return content

    def sign(self, request: bytes) -> bytes:
        """Answer a request that was carried here by hand."""
        asked = read_request(request)
        self._register(asked, False)
        return approval.signed(self._broker.authority, asked)

    @contextlib.contextmanager
    def desk(self) -> Iterator[list[tuple[Asked, approval.Decision]]]:
        """Answer at the broker, as `./lethe authority serve`; yields what was asked and decided."""
        decided: list[tuple[Asked, approval.Decision]] = []
        config = self._broker.config("authority")
        with session(config) as link:
            desk = enrolments.Desk(
                link, config.topic_root, lambda: self._broker.authority,
                self._broker.authority.folder, self._register,
            )  # fmt: skip

            def serve() -> None:
                decided.extend((asked, desk.serve(asked)) for asked in desk.requests())

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            try:
                yield decided
            finally:
                desk.close()
                thread.join()

    def _register(self, asked: Asked, renewal: bool) -> None:
        enrolments.register(self._fleet, None, asked, renewal)
        self._known(asked.request.device.device_key)
