"""The owner's folder: what is kept, what is refused, and that versions only rise."""

import secrets
import threading

import numpy as np
import pytest

from edge import files
from edge.errors import ConfigError, StorageUnavailable
from fleet import lists
from fleet.keys import read_passphrase
from fleet.owner import Owner
from tests.fleet_kit import authorisation


def unit(seed):
    vector = np.random.default_rng(seed).normal(size=64).astype(np.float32)
    return vector / np.linalg.norm(vector)


def begin(folder, **changes):
    return lists.begin(folder, "gate", authorisation(**changes), fleet=None)


@pytest.fixture
def owner(tmp_path):
    return begin(tmp_path / "list", max_entries=3)


def add(owner, label, seed=1, embedder="e"):
    return owner.add(label, [unit(seed)], embedder=embedder, not_before=1, not_after=2)


def test_only_the_owner_may_read_it(owner):
    assert owner.folder.stat().st_mode & 0o777 == 0o700
    assert (owner.folder / "list.json").stat().st_mode & 0o777 == 0o600


def test_what_was_done_is_there_at_the_next_opening(owner):
    entry = add(owner, "anna")
    again = Owner(owner.folder)
    assert again.labels == {entry: "anna"}
    assert again.owned == owner.owned


def test_neither_a_list_nor_a_key_is_ever_overwritten(owner):
    before = {file: file.read_bytes() for file in owner.folder.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match="holds signers already"):
        begin(owner.folder)
    with pytest.raises(ConfigError, match=r"holds list\.json already"):
        Owner.init(owner.folder, "gate", authorisation(), signers=owner.owned.signers, threshold=2)
    assert before == {file: file.read_bytes() for file in before}


def test_a_threshold_that_nobody_could_meet_is_refused(tmp_path, owner):
    one = owner.owned.signers[0]
    for signers, threshold in (([one], 2), ([one, one], 2), ([one], 0)):
        with pytest.raises(ConfigError, match="impossible"):
            Owner.init(
                tmp_path / "x", "gate", authorisation(), signers=signers, threshold=threshold
            )
    assert not (tmp_path / "x").exists()


def test_every_issue_has_a_higher_version_whatever_becomes_of_it(owner):
    assert [owner.issue(now=5, embedder="e", dimension=64).version for _ in range(2)] == [1, 2]
    assert Owner(owner.folder).issue(now=5, embedder="e", dimension=64).version == 3


def test_a_draft_is_what_would_be_issued_and_changes_nothing(owner):
    add(owner, "anna")
    draft = owner.draft(now=5, embedder="x", dimension=1)
    assert Owner(owner.folder).owned.version == 0
    assert owner.issue(now=5, embedder="x", dimension=1) == draft


def test_what_another_command_did_meanwhile_is_never_undone(owner):
    add(owner, "anna")
    late = Owner(owner.folder)
    owner.revoke("anna")
    for change in (
        lambda: add(late, "ben", 2),
        lambda: late.revoke("anna"),
        lambda: late.authorise(authorisation()),
        lambda: late.issue(now=5, embedder="e", dimension=64),
    ):
        with pytest.raises(ConfigError, match="another command meanwhile; run this one again"):
            change()
    assert Owner(owner.folder).owned == owner.owned
    add(Owner(owner.folder), "ben", 2)


def test_of_many_commands_at_once_each_is_done_or_refused(owner):
    openings = [Owner(owner.folder) for _ in range(8)]
    versions, refused = [], []
    together = threading.Barrier(len(openings))

    def issue(opened):
        together.wait()
        try:
            versions.append(opened.issue(now=5, embedder="e", dimension=64).version)
        except ConfigError:
            refused.append(opened)

    threads = [threading.Thread(target=issue, args=(opened,)) for opened in openings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (versions, len(refused)) == ([1], 7)


def test_a_list_whose_time_is_over_is_not_issued_until_it_is_authorised_anew(owner):
    end = owner.owned.authorisation.not_after
    with pytest.raises(ConfigError, match=r"is over.*watchlist authorise"):
        owner.issue(now=end, embedder="e", dimension=64)
    assert owner.owned.version == 0
    owner.authorise(authorisation(not_after=end + 60))
    assert owner.issue(now=end, embedder="e", dimension=64).expires == end + 60


def test_a_list_that_is_empty_again_takes_any_embedder(owner):
    add(owner, "anna")
    owner.revoke("anna")
    assert owner.issue(now=5, embedder="f", dimension=32).embedder == "f"
    add(owner, "anna", embedder="f")
    assert Owner(owner.folder).owned.embedder == "f"


def test_revoked_is_gone_from_list_and_file(owner):
    entry = add(owner, "anna")
    add(owner, "ben", 2)
    owner.revoke(entry[:8])
    assert list(owner.labels.values()) == ["ben"]
    assert entry not in (owner.folder / "list.json").read_text()


def test_a_name_that_is_taken_unknown_or_ambiguous_is_refused(owner):
    add(owner, "anna")
    with pytest.raises(ConfigError, match="enrolled already"):
        add(owner, "anna", 2)
    with pytest.raises(ConfigError, match="no entry is called 'ben'"):
        owner.revoke("ben")
    with pytest.raises(ConfigError, match="no entry"):
        owner.revoke("")


def test_the_beginning_of_an_id_names_one_entry_or_none(owner, monkeypatch):
    ids = iter(["aaaa1" + "0" * 27, "aaaa2" + "0" * 27])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(ids))
    first, second = add(owner, "anna"), add(owner, "ben", 2)
    assert owner.find("aaaa1").entry.id == first
    assert owner.find(second).label == "ben"
    with pytest.raises(ConfigError, match="2 entries are called 'aaaa'"):
        owner.find("aaaa")
    with pytest.raises(ConfigError, match="no entry"):
        owner.find("aaa")


def test_a_full_list_and_another_embedder_are_refused(owner):
    for i in range(3):
        add(owner, str(i), i)
    with pytest.raises(ConfigError, match="3 entries, the most"):
        add(owner, "one more", 9)
    owner.revoke("0")
    with pytest.raises(ConfigError, match="templates here are of 'e', not 'f'"):
        add(owner, "other", 9, embedder="f")


def test_a_list_with_impossible_values_is_not_made(tmp_path):
    with pytest.raises(ConfigError, match="max_entries"):
        begin(tmp_path / "a", max_entries=10**6)
    with pytest.raises(ConfigError, match="id"):
        lists.begin(tmp_path / "b", "no spaces", authorisation(), fleet=None)
    with pytest.raises(ConfigError, match="no fleet here"):
        lists.begin(tmp_path / "c", "gate", authorisation(), fleet=tmp_path / "fleet")
    assert not list(tmp_path.iterdir())


def test_a_passphrase_comes_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "passphrase"
    file.write_text("open sesame\n")
    with pytest.raises(ConfigError, match="chmod 600"):
        read_passphrase(file)
    file.chmod(0o600)
    assert read_passphrase(file) == b"open sesame"
    monkeypatch.setenv("LETHE_OWNER_PASSPHRASE_FILE", str(file))
    assert read_passphrase(None) == b"open sesame"
    file.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        read_passphrase(None)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_passphrase(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 3}', b'{"id": "\xff"}'])
def test_a_damaged_list_is_said(owner, content):
    (owner.folder / "list.json").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        Owner(owner.folder)


def test_a_folder_without_a_list_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="watchlist init"):
        Owner(tmp_path)


def test_a_full_disk_changes_nothing(owner, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageUnavailable):
        add(owner, "anna")
    monkeypatch.undo()
    assert Owner(owner.folder).labels == {} == owner.labels
