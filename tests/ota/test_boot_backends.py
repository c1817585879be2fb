"""RAUC's custom boot back ends against simulators of the firmware's contract.

Neither has run on its board yet.
"""

import pytest

from .firmware_simulators import BackendError, Jetson, RaspberryPi

SLOT = {2: "A", 3: "B"}


@pytest.fixture
def pi(tmp_path):
    return RaspberryPi(tmp_path)


@pytest.fixture
def jetson(tmp_path):
    return Jetson(tmp_path)


def test_pi_keeps_a_version_that_was_tried_and_marked_good(pi):
    assert (pi.rauc("get-primary"), pi.rauc("get-current")) == ("A", "A")
    pi.install("B")
    assert (pi.rauc("get-primary"), pi.rauc("get-current")) == ("B", "A")
    pi.restart()
    assert pi.rauc("get-current") == "B"
    pi.rauc("set-state", "B", "good")
    pi.power_cut()
    assert SLOT[pi.booted] == "B"
    assert pi.rauc("get-primary") == "B"


def test_pi_goes_back_when_the_try_is_not_marked_good(pi):
    pi.install("B")
    pi.restart()
    assert SLOT[pi.booted] == "B"
    pi.restart()  # a panic, a watchdog, a self-test that failed, a power cut
    assert SLOT[pi.booted] == "A"


def test_pi_power_cut_before_the_try_leaves_the_old_version(pi):
    pi.rauc("set-state", "B", "bad")
    pi.power_cut()
    assert (SLOT[pi.booted], pi.rauc("get-state", "B")) == ("A", "bad")
    pi.install("B")
    pi.power_cut()
    assert (SLOT[pi.booted], pi.rauc("get-primary")) == ("A", "A")


def test_pi_back_and_forth_keeps_the_file_one_sector(pi):
    for slot in "BABA":
        pi.install(slot)
        pi.restart()
        pi.rauc("set-state", slot, "good")
        assert len(pi.autoboot.read_bytes()) == 512
        pi.power_cut()
        assert SLOT[pi.booted] == slot


def test_pi_marking_the_old_version_good_changes_nothing(pi):
    before = pi.autoboot.read_bytes()
    pi.rauc("set-state", "A", "good")
    pi.install("B")
    assert pi.autoboot.read_bytes() == before


def test_pi_a_slot_marked_bad_is_not_tried(pi):
    pi.install("B")
    pi.rauc("set-state", "B", "bad")
    pi.restart()
    assert (SLOT[pi.booted], pi.rauc("get-state", "B")) == ("A", "bad")


def test_pi_a_damaged_file_is_an_error_not_a_guess(pi):
    pi.autoboot.write_bytes(b"\0" * 512)
    with pytest.raises(BackendError, match="names no partition"):
        pi.rauc("get-primary")


def test_jetson_keeps_a_version_marked_good(jetson):
    jetson.install("B")
    assert (jetson.rauc("get-primary"), jetson.rauc("get-current")) == ("B", "A")
    jetson.restart()
    jetson.rauc("set-state", "B", "good")
    for _ in range(5):
        jetson.restart()
        assert jetson.booted == "B"
        jetson.rauc("set-state", "B", "good")
    assert jetson.rauc("get-state", "B") == "good"


def test_jetson_goes_back_after_its_tries(jetson):
    jetson.install("B")
    for _ in range(Jetson.TRIES):
        jetson.restart()
        assert jetson.booted == "B"
    jetson.restart()
    assert (jetson.booted, jetson.rauc("get-state", "B")) == ("A", "bad")


def test_jetson_without_redundancy_says_so_instead_of_pretending(tmp_path):
    board = Jetson(tmp_path, armed=False)
    with pytest.raises(BackendError, match="was not taken"):
        board.rauc("set-primary", "B")


def test_jetson_a_slot_that_is_being_written_cannot_start(jetson):
    jetson.install("B")
    jetson.rauc("set-state", "B", "bad")
    jetson.restart()
    assert jetson.booted == "A"


def test_jetson_only_the_booted_slot_is_marked_good(jetson):
    with pytest.raises(BackendError, match="not booted"):
        jetson.rauc("set-state", "B", "good")


@pytest.mark.parametrize("board", [RaspberryPi, Jetson])
@pytest.mark.parametrize(
    "words", [("get-state", "C"), ("set-primary", ""), ("set-state", "A", "fine"), ("explode",), ()]
)
def test_what_rauc_never_says_is_refused(board, words, tmp_path):
    with pytest.raises(BackendError):
        board(tmp_path).rauc(*words)
