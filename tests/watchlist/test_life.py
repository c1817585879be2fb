"""A list's life against a model of it: whatever happens, in whatever order."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.watchlist.lists import MEMORY, A, Device, delivery, listing, vouched
from tests.watchlist.test_authorisation import NOW, REGULAR, URGENT, authorised
from tests.watchlist.test_gallery import entry

HOUR = 3600
LONG = authorised(not_after=NOW + 20 * 24 * HOUR)


def issue_of(version):
    return NOW - (10 - version) * HOUR


def make(version, variant):
    """Lists of uneven length; two of each version, which no device may use both of."""
    hours = (5, 60, 30)[version % 3]
    watchlist = listing(
        version, entry(variant, A), base=LONG,
        issued=issue_of(version), expires=NOW + hours * HOUR,
    )  # fmt: skip
    return NOW + hours * HOUR, delivery(watchlist)


LISTS = {(v, variant): make(v, variant) for v in range(1, 10) for variant in range(2)}
offers = st.tuples(
    st.integers(1, 6), st.sampled_from([0, 0, 0, 1]), st.sampled_from(["regular", "urgent"])
)


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.device = Device(Path(self.folder.name))
        self.true = NOW
        self.held = None  # what is kept: an offer
        self.in_force = False
        self.waiting = None
        self.floor, self.dead, self.by_order = (0, 0), False, False
        self.first = None  # since the regular role signed: the first urgent version
        self.stopped = False
        self.receipts = []
        self.last = (1, 0, "regular")

    def teardown(self):
        self.folder.cleanup()

    # --- The model -------------------------------------------------------------------------------

    def end_of(self, offer):
        version, variant, role = offer
        end = LISTS[version, variant][0]
        first = version if self.first is None else min(self.first, version)
        return min(end, issue_of(first) + 24 * HOUR) if role == "urgent" else end

    def died_of(self, offer):
        return "not-countersigned" if self.end_of(offer) < LISTS[offer[:2]][0] else "expired"

    def over(self, end):
        d = self.device
        return d.least >= end or (not d.doubt and d.now >= end)

    def end(self, reason):
        other = self.waiting and self.held and self.waiting[:2] != self.held[:2]
        if not other or reason in ("withdrawn", "stopped"):  # else its time may come yet
            self.waiting = None
        self.in_force = False
        if self.held:
            self.receipts.append((self.held[0], reason))
            self.held, self.dead, self.by_order = None, True, reason == "stopped"
        elif reason == "withdrawn":
            self.by_order = False

    def take(self, offer):
        ours = self.held is not None and offer[:2] == self.held[:2]
        if ours and self.in_force and offer[2] in (self.held[2], "urgent"):
            return
        older = offer[0] < self.floor[0]
        other = offer[0] == self.floor[0] and (offer[1] != self.floor[1] or self.dead)
        if older or other or self.over(self.end_of(offer)):
            if offer is self.waiting:
                self.waiting = None
            if ours:
                self.end(self.died_of(offer))
        elif self.device.doubt:
            self.waiting = offer
        else:
            if self.held and not ours:
                self.receipts.append((self.held[0], "replaced"))
            self.held, self.in_force, self.waiting = offer, True, None
            self.floor, self.dead, self.by_order = offer[:2], False, False
            first = offer[0] if self.first is None else min(self.first, offer[0])
            self.first = first if offer[2] == "urgent" else None

    def step(self, work=None):
        if self.stopped:
            self.end("stopped")
            work = work if work == "withdraw" else None
        if self.in_force and self.over(self.end_of(self.held)):
            self.end(self.died_of(self.held))
        if work == "withdraw":
            self.end("withdrawn")
        elif work:
            self.take(work)
        elif self.waiting:
            self.take(self.waiting)

    # --- What may happen -------------------------------------------------------------------------

    @rule(offer=offers)
    def offer(self, offer):
        self.last = offer
        self.device.offer(vouched(LISTS[offer[:2]][1], URGENT if offer[2] == "urgent" else REGULAR))
        self.step(offer)

    @rule(role=st.sampled_from(["regular", "urgent"]))
    def offer_the_same_again(self, role):
        self.offer((*self.last[:2], role))

    @rule(role=st.sampled_from(["regular", "urgent"]))
    def offer_the_next(self, role):
        self.offer((min(self.last[0] + 1, max(LISTS)[0]), 0, role))

    @rule()
    def withdraw(self):
        self.device.withdraw()
        self.step("withdraw")

    @rule()
    def stop(self):
        self.device.lists.stop("order")
        self.stopped = True
        assert self.device.version() is None
        self.device.settle()
        self.step()

    @rule()
    def stop_and_cut_the_power(self):
        self.device.lists.stop("order")
        self.stopped = True
        self.restart()

    @precondition(lambda self: self.stopped)
    @rule()
    def resume(self):
        self.device.lists.resume()
        self.stopped = False
        if self.by_order:
            self.dead = self.by_order = False
        self.device.settle()
        self.step()

    @precondition(lambda self: self.stopped)
    @rule(work=st.sampled_from(["withdraw", "restart", "offer"]))
    def resume_after(self, work):
        if work == "withdraw":
            self.withdraw()
        elif work == "restart":
            self.restart()
        self.resume()
        self.offer(self.last)

    @rule(hours=st.integers(1, 30))
    def later(self, hours):
        self.true += hours * HOUR
        if not self.device.doubt:
            self.device.now = self.true
        self.device.settle()
        self.step()

    @rule(hours=st.sampled_from([-1000, -10, 10, 1000]))
    def the_clock_goes_wrong(self, hours):
        self.device.now, self.device.doubt = NOW + hours * HOUR, "it has jumped"
        self.device.settle()
        self.step()

    @rule()
    def the_clock_is_right_again(self):
        self.device.now, self.device.doubt = self.true, ""
        self.device.settle()
        self.step()

    @rule()
    def time_passes_for_certain(self):
        self.device.least = self.true
        self.device.settle()
        self.step()

    @rule()
    def restart(self):
        self.device.restart()
        self.waiting, self.in_force = None, False
        held = self.held
        if self.stopped:
            self.end("stopped")
        elif held:
            self.take(held)
            if self.waiting == held:
                self.take(self.waiting)
        self.step()

    # --- What always holds -----------------------------------------------------------------------

    @invariant()
    def the_list_in_force_is_the_models(self):
        looks = self.in_force and not self.device.doubt and not self.over(self.end_of(self.held))
        assert self.device.version() == (self.held[0] if looks else None)

    @invariant()
    def each_end_has_one_receipt(self):
        assert self.device.receipts.reasons() == self.receipts

    @invariant()
    def nothing_is_kept_but_the_list_that_is_held(self):
        records = [name for name in self.device.files() if name.startswith("record-")]
        expected = [f"record-{LISTS[self.held[:2]][1].sealed.digest}"] if self.held else []
        assert records == expected
        assert self.held or self.device.files() <= {"life.json"}

    @invariant()
    def there_is_a_reason_or_a_list(self):
        assert (self.device.version() is None) <= bool(self.device.said())


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
