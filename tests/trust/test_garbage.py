"""Anything on any topic: refused or not there, by name, and the list in force stays."""

import itertools
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import limits
from edge.protocol import topics
from edge.protocol.list_key import new_key
from edge.trust.client import Trust
from edge.watchlist.transport import ListTransport
from tests.fleet_kit import ROOT, Fleet, Keeper, listing
from tests.protocol.test_sealed_list import people


class Shelves:
    """The session of a device with a broker that is a dictionary, and answers at once."""

    def __init__(self, retained):
        self.retained = {topics.trust(ROOT, path): content for path, content in retained.items()}
        self.retained[topics.trust(ROOT, topics.SENTINEL)] = b"."
        self.take = self.watch = None

    def route(self, _topic, callback, _most):
        self.take = callback

    def subscribe(self, topic, callback, most):
        self.watch = (topic, callback, most)

    def on_lost(self, _callback):
        """It is never lost."""

    def request(self, asked):
        for topic in asked:
            if self.retained.get(topic):
                self.take(topic, self.retained[topic])
        return True

    def release(self, _topics):
        """Nothing comes later."""

    def announce(self):
        topic, callback, most = self.watch
        if len(content := self.retained.get(topic, b"")) <= most:
            callback(topic, content)


class Device:
    """A device's trust, synchronised when the test says so."""

    def __init__(self, fleet, folder, retained):
        self.keeper, self.link = Keeper(), Shelves(retained)
        self.trust = Trust(self.link, ROOT, fleet.root, folder)
        transport = ListTransport(
            self.keeper, list_id="gate", device="camera-1", key=fleet.opening_key()
        )
        self.trust.follow("list", transport)

    def synchronise(self):
        self.link.announce()
        return self.trust._synchronise()


@pytest.fixture(scope="module", autouse=True)
def no_patience():
    """A broker that is a dictionary has said all that it will when it returns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FETCH_S", 0.001)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fleet with two versions of a list, and a device's folder that knows the first."""
    folder = tmp_path_factory.mktemp("world")
    fleet = Fleet(folder / "fleet")
    fleet.issue(listing(1, people(300)))
    first = fleet.retained()
    device = Device(fleet, folder / "trust", first)
    assert device.synchronise()
    fleet.key, fleet.last = new_key(), None  # everything of the second is new
    with fleet.change() as state:
        state.put("targets", "policy", b'{"schema":1,"ceilings":{"gate":5000}}')
    fleet.issue(listing(2, people(299)))
    return fleet, folder, first, fleet.retained(), device.keeper.deliveries[0], itertools.count()


def copied(world):
    """A device that has the first version, before a broker that holds the second."""
    fleet, folder, _, second, delivery, numbers = world
    own = folder / f"trust-{next(numbers)}"
    shutil.copytree(folder / "trust", own)
    device = Device(fleet, own, second)
    device.keeper.deliveries.append(delivery)
    return device


def judge(world, device):
    """Whatever was tried, the device has the first list or the whole second one."""
    done = device.synchronise()
    timestamp = topics.trust(ROOT, topics.TIMESTAMP)
    held_back = device.link.retained[timestamp] == world[2][topics.TIMESTAMP]  # until it expires
    assert not device.keeper.withdrawn
    if device.keeper.version == 1:
        assert done == (not device.trust.reason)
        assert held_back or not done
    else:
        assert device.keeper.version == 2
        ids = [entry.id for entry in device.keeper.deliveries[-1].watchlist.entries]
        assert ids == sorted(entry.id for entry in people(299))


def test_without_garbage_the_second_comes(world):
    device = copied(world)
    assert device.synchronise()
    assert device.keeper.version == 2


garbage = (
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=8,
    ).map(lambda value: repr(value).replace("'", '"').encode())
    | st.sampled_from([b"", b"{}", b"[]", b"null", b'{"signed":{},"signatures":[]}', b"[" * 10_000])
)


numbers = st.integers(0, 10**6)
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def some(paths, number):
    """One of the paths; a number below their count is all that a strategy must know of them."""
    ordered = sorted(paths)
    return ordered[number % len(ordered)]


@few
@given(st.dictionaries(numbers, garbage, min_size=1, max_size=3))
def test_garbage_on_any_topics(world, found):
    device = copied(world)
    for number, content in found.items():
        device.link.retained[some(device.link.retained, number)] = content
    judge(world, device)


@few
@given(numbers, numbers, st.binary(max_size=8))
def test_any_topic_a_little_altered(world, number, at, bytes_):
    device = copied(world)
    path = some(device.link.retained, number)
    content = bytearray(device.link.retained[path])
    at %= len(content)
    content[at : at + 4] = bytes_
    device.link.retained[path] = bytes(content)
    judge(world, device)


@few
@given(numbers, numbers, st.sets(numbers, max_size=4))
def test_topics_whose_contents_are_exchanged_or_old(world, one, other, old):
    device = copied(world)
    first = {topics.trust(ROOT, path): content for path, content in world[2].items()}
    retained = device.link.retained
    one, other = some(retained, one), some(retained, other)
    retained[one], retained[other] = retained[other], retained[one]
    for path in {some(first, number) for number in old}:
        retained[path] = first[path]
    judge(world, device)


@pytest.mark.parametrize("size", [limits.MAX_TARGET_BYTES // 16])
def test_a_message_of_many_megabytes_on_any_topic(world, size):
    huge = bytes(size)
    for path in sorted(copied(world).link.retained):
        if not path.endswith("sentinel"):
            device = copied(world)
            device.link.retained[path] = huge
            judge(world, device)
