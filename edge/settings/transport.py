"""From the fleet's signed state to the configuration that it wants of this device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge import limits
from edge.errors import BadInput, FormatError
from edge.protocol import configuration
from edge.settings.keeper import Configuration

if TYPE_CHECKING:
    from edge.trust.view import View


class ConfigurationTransport:
    """Brings one device's configuration; a `Consumer` of `edge.trust.client.Trust`."""

    def __init__(self, keeper: Configuration, device: str) -> None:
        """Bring what is signed for `device` to `keeper`."""
        self._keeper = keeper
        self._path = configuration.target(device)
        self._fetched: tuple[str, bytes] = ("", b"")

    def __call__(self, view: View) -> None:
        """Fetch what is new in a state and hand it over.

        Raises:
            BadInput: refused; what was in force stays.
            Unavailable: it cannot be fetched or kept at the moment.
        """
        try:
            target = view.find(self._path, configuration.ROLE)
            if target is not None and target.length > limits.MAX_DESIRED_BYTES:
                raise FormatError(
                    f"configuration of {target.length} bytes, at most "
                    f"{limits.MAX_DESIRED_BYTES} are read"
                )
            if target is not None and target.sha256 != self._fetched[0]:
                self._fetched = (target.sha256, view.read(target))
        except BadInput as refusal:
            self._keeper.refuse(refusal)
            raise
        if target is None:
            self._keeper.withdraw()
        else:
            self._keeper.take(self._fetched[1], target.sha256)
