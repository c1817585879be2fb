"""From the fleet's signed state to the list this device obeys, opened, for the rules to judge.

A list is a target of one of two roles. `watchlist/<id>` needs several signatures; its sibling
`watchlist/<id>/urgent` needs one, and what only it has signed lives for a day (that is a rule's
to say, `edge.watchlist.authorisation`). The newer of the two counts; of the same version the one
that more have signed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge import limits
from edge.errors import FormatError, FreezeRefused, KeyRefused, MissingAtBroker
from edge.protocol import list_key, policy, topics
from edge.protocol.sealed_list import check_piece, open_head, open_list
from edge.protocol.watchlist import list_role, list_target
from edge.trust.target import TOP_LEVEL, Target
from edge.watchlist.delivery import Delivery, ListKeeper, Provenance, SealedList

if TYPE_CHECKING:
    from edge.trust.view import View

log = logging.getLogger(__name__)

Kind = Literal["regular", "urgent"]


class ListTransport:
    """Brings one list; a `Consumer` of `edge.trust.client.Trust`."""

    def __init__(
        self, keeper: ListKeeper, *, list_id: str, device: str, key: X25519PrivateKey
    ) -> None:
        """Bring lists to `keeper`.

        Args:
            keeper: takes them.
            list_id: the list this device obeys.
            device: its id.
            key: opens what is wrapped for it.
        """
        self._keeper = keeper
        self._list_id = list_id
        self._device = device
        self._key = key
        self._forgotten = False
        self._delivered: Provenance | None = None
        self._digest = ""
        self._fetched: dict[str, bytes] = {}  # pieces of a list that is not whole yet

    def __call__(self, view: View) -> None:
        """Fetch what is new in a state and hand it over.

        Raises:
            BadInput: refused; what was delivered before stays.
            Unavailable: something cannot be fetched at the moment.
        """
        if self._forgotten:
            self._forgotten = False
            self._digest, self._delivered = "", None
        signed_policy = view.find(policy.TARGET, TOP_LEVEL)
        newest = self._newest(view)
        found = self._gather(view, signed_policy, newest and newest[0])
        rules = policy.Policy()
        if signed_policy is not None:
            rules = policy.decode(found[_path(signed_policy)])
        if self._device in rules.removed:
            self._withdraw("this device was removed from the fleet")
            return
        if newest is None:
            self._withdraw(f"list {self._list_id!r} is not published, or was withdrawn")
            return
        target, kind = newest
        provenance = Provenance(
            role=kind,
            signers=target.signers,
            threshold=target.threshold,
            ceiling=rules.ceilings.get(self._list_id),
        )
        if (target.sha256, provenance) == (self._digest, self._delivered):
            return
        delivery = self._open(view, target, provenance, found)
        log.info("list %s version %d fetched", self._list_id, delivery.watchlist.version)
        self._keeper.offer(delivery)
        self._digest, self._delivered, self._fetched = target.sha256, provenance, {}

    def forget(self) -> None:
        """Deliver the list again at the next state, also if it is the same one.

        For any thread: a delivery that is under way at this moment does not undo it.
        """
        self._forgotten = True

    def _withdraw(self, reason: str) -> None:
        self.forget()
        self._fetched = {}
        self._keeper.withdraw(reason)

    def _newest(self, view: View) -> tuple[Target, Kind] | None:
        """Return what counts; the other role's metadata, expired or refused, stands in no way."""
        regular, urgent = list_role(self._list_id), list_role(self._list_id, urgent=True)
        # Those who sign together have the last word, also when it is that there is no list.
        if view.version(urgent) > view.version(regular):
            try:
                hurried = view.find(list_target(self._list_id, urgent=True), urgent)
            except FreezeRefused:  # its day is over: that is how it ends
                hurried = None
            if hurried is not None:
                return hurried, "urgent"
        together = view.find(list_target(self._list_id), regular)
        return None if together is None else (together, "regular")

    def _gather(self, view: View, rules: Target | None, head: Target | None) -> dict[str, bytes]:
        """Fetch together what does not wait for anything else: policy, head and key."""
        targets, others = [rules] if rules else [], {}
        stored = self._keeper.stored()
        if head is not None and head.sha256 != self._digest:
            if head.length > limits.MAX_HEAD_BYTES:
                raise FormatError(
                    f"head of {head.length} bytes, at most {limits.MAX_HEAD_BYTES} are read"
                )
            targets.append(head)
            if stored is None or list_key.commitment(stored.key) != head.custom.get("key"):
                others[self._key_path(head)] = list_key.WRAPPED_BYTES
        return view.gather(targets, others)

    def _open(
        self, view: View, target: Target, provenance: Provenance, found: Mapping[str, bytes]
    ) -> Delivery:
        stored = self._keeper.stored()
        if target.sha256 == self._digest and stored is not None:  # others have signed it as well
            head = stored.head
        else:
            head = found[_path(target)]
        key = self._list_key(target, stored, found)
        read = open_head(head, key, self._list_id)
        if read.version != target.version:
            raise FormatError(
                f"list {self._list_id!r}: version {read.version} signed as {target.version}"
            )
        pieces = self._pieces(view, read.pieces, dict(stored.segments) if stored else {})
        return Delivery(
            open_list(
                head,
                pieces,
                key,
                self._list_id,
                between=lambda: time.sleep(0),  # a millisecond each: whoever waits has their turn
            ),
            SealedList(
                list_id=self._list_id,
                version=read.version,
                digest=target.sha256,
                head=head,
                segments=pieces,
                key=key,
                provenance=provenance,
            ),
        )

    def _key_path(self, target: Target) -> str:
        committed = target.custom.get("key")
        if not list_key.is_commitment(committed):
            raise KeyRefused(f"list {self._list_id!r} was signed without a commitment to its key")
        return topics.list_key(self._list_id, committed, self._device)

    def _list_key(
        self, target: Target, stored: SealedList | None, found: Mapping[str, bytes]
    ) -> bytes:
        path, committed = self._key_path(target), target.custom["key"]
        if stored is not None and list_key.commitment(stored.key) == committed:
            return stored.key
        if path not in found:
            raise MissingAtBroker(
                f"no key of list {self._list_id!r} for device {self._device!r}: is it registered "
                "(`lethe fleet device add`) and named by the list's authorisation?"
            )
        return list_key.unwrap(
            found[path],
            committed=committed,
            list_id=self._list_id,
            device=self._device,
            private=self._key,
        )

    def _pieces(
        self, view: View, names: list[str], stored: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Return all pieces; those that came before a fetch broke off are not fetched again."""
        known = {**stored, **self._fetched}
        self._fetched = {
            name: known[name]
            for name in names
            if name in known and hashlib.sha256(known[name]).hexdigest() == name
        }
        missing = [name for name in names if name not in self._fetched]
        for start in range(0, len(missing), limits.FETCH_TOPICS):
            paths = {
                topics.piece(self._list_id, name): name
                for name in missing[start : start + limits.FETCH_TOPICS]
            }
            came = view.gather([], dict.fromkeys(paths, limits.MAX_PIECE_BYTES))
            for path, piece in came.items():
                check_piece(paths[path], piece)
                self._fetched[paths[path]] = piece
            for path in paths:
                if path not in came:
                    raise MissingAtBroker(f"{path}: the broker holds nothing there")
        return {name: self._fetched[name] for name in names}


def _path(target: Target) -> str:
    return topics.target(target.path, target.sha256)
