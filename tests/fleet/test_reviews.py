"""Who verified a candidate: signed, only added to, bound to the event, counted by person."""

import json
import re

import pytest
from typer.testing import CliRunner

from cli import events as command
from edge.errors import ConfigError
from edge.identity import write_public_key
from edge.protocol import event
from fleet import keys, reviews
from fleet.archive import Archive
from tests.fleet.test_ledger import KEYS, NOW, ONE, made
from tests.protocol.test_event import CANDIDATE, UPDATED

ID = "gate-1-" + "0" * 19


class Desk:
    """An archive of two candidates, an update and something else; three people who review."""

    def __init__(self, folder):
        self.folder, self.archive = folder, folder / "a.jsonl"
        kept = Archive(self.archive, KEYS, now=lambda: NOW)
        for number, data in enumerate((CANDIDATE, CANDIDATE, UPDATED, None), 1):
            assert kept.add(made(number, data=data)).trusted
        kept.close()
        write_public_key(folder / "device.pub", ONE.public_key())
        for name in ("anna", "ben", "dora"):
            keys.make_key(folder / name, None)

    def run(self, *arguments):
        return CliRunner().invoke(
            command.app, [*map(str, arguments), "--device-key", f"gate-1={self.folder}/device.pub"]
        )

    def review(self, name, verdict, number=1, key=None):
        done = self.run(
            "review", self.archive, f"{ID}{number}", verdict, "--as", name,
            "--key", self.folder / f"{key or name}.key",
        )  # fmt: skip
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def verify(self, *more, names=("anna", "ben", "dora")):
        given = [f"--reviewer-key={name}={self.folder}/{name}.pub" for name in names]
        done = self.run("verify", self.archive, "--json", *given, *more)
        found = [json.loads(line) for line in done.output.splitlines()]
        outcomes = {each["candidate"][-1]: each["review"] for each in found if "candidate" in each}
        return outcomes, [each["why"] for each in found if "why" in each], done.exit_code


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_two_people_have_to_confirm_and_one_can_reject(desk):
    assert desk.verify() == ({"1": "open", "2": "open"}, [], 0)
    desk.review("anna", "--confirm")
    desk.review("anna", "--confirm")
    assert desk.verify()[0]["1"] == "open", "one person, however often"
    assert desk.verify("--persons", 1)[0]["1"] == "confirmed"
    desk.review("ben", "--confirm")
    assert desk.verify() == ({"1": "confirmed", "2": "open"}, [], 0)
    desk.review("dora", "--reject")
    assert desk.verify()[0]["1"] == "rejected"
    desk.review("dora", "--confirm")
    assert desk.verify()[0]["1"] == "confirmed", "each one's last word counts"


def test_an_archive_goes_on_being_added_to_and_reviews_lie_beside_it(desk):
    before = desk.archive.read_bytes()
    desk.review("anna", "--confirm")
    assert desk.archive.read_bytes() == before
    first = reviews.path_of(desk.archive).read_bytes()
    desk.review("ben", "--reject")
    assert reviews.path_of(desk.archive).read_bytes().startswith(first)
    document = json.loads(first)
    assert (document["reviewer"], document["verdict"]) == ("anna", "confirmed")


def test_what_was_done_to_reviews_is_said(desk):
    for name in ("anna", "ben", "dora"):
        desk.review(name, "--confirm")
    path = reviews.path_of(desk.archive)
    good = path.read_bytes().splitlines(keepends=True)

    def said(lines):
        path.write_bytes(b"".join(lines))
        _, wrong, code = desk.verify()
        assert code == (1 if wrong else 0)
        return wrong

    assert said(good) == []
    assert "left out" in said([good[0], good[2]])[0]
    assert "left out" in said([good[1], good[0], good[2]])[0]
    turned = good[0].replace(b'"confirmed"', b'"rejected"')
    wrong = said([turned, *good[1:]])
    assert "signature" in wrong[0]
    assert "left out" in wrong[1]
    assert "not in the documented form" in said([b"{}\n", *good[1:]])[0]


def test_where_reviews_stood_is_told_and_what_is_gone_since_is_said(desk):
    heads = []
    for name in ("anna", "ben", "dora"):
        said = desk.review(name, "--confirm").output
        heads.append(re.search(r"reviews stand at ([0-9]+-[0-9a-f]{64});", said)[1])
    assert [head.split("-")[0] for head in heads] == ["1", "2", "3"]
    noted = [f"--review-head={head}" for head in heads]
    assert desk.verify(*noted) == ({"1": "confirmed", "2": "open"}, [], 0)
    path = reviews.path_of(desk.archive)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert desk.verify()[1:] == ([], 0), "the chain alone does not show it"
    cut = ["review 3: was there when its head was noted; there are 2 now"]
    assert desk.verify(*noted)[1:] == (cut, 1)
    path.write_bytes(lines[0])
    desk.review("dora", "--reject")
    other, *rest = desk.verify(*noted)[1]
    assert other == "review 2: another one was here when its head was noted"
    assert rest == ["review 3: was there when its head was noted; there are 2 now"]
    path.unlink()
    assert len(desk.verify(*noted)[1]) == 3


@pytest.mark.parametrize("head", ["", "3", "x-" + "0" * 64, "1-" + "0" * 63, "1-" + "0" * 65])
def test_what_is_no_head_is_said(desk, head):
    with pytest.raises(ConfigError, match="no head of reviews"):
        list(reviews.judge(desk.archive, {}, {}, [head]))


def test_a_review_by_another_key_or_of_another_event_does_not_count(desk):
    desk.review("anna", "--confirm", key="ben")
    desk.review("ben", "--confirm")
    outcomes, wrong, code = desk.verify()
    assert (outcomes["1"], code, len(wrong)) == ("open", 1, 1)
    assert "no --reviewer-key" in desk.verify(names=("anna",))[1][1]
    about = event.parse(made(1, data=CANDIDATE, now=NOW + 1))
    key = keys.read_ed25519(desk.folder / "anna.key", None)
    reviews.add(desk.archive, about, "confirmed", "anna", key, NOW)
    assert "not about an event of this archive" in desk.verify()[1][-1]


@pytest.mark.parametrize(
    ("number", "name", "said"),
    [(3, "anna", "not a candidate"), (4, "anna", "not a candidate"), (9, "anna", "no such event"),
     (1, "an na", "could not be read again")],
)  # fmt: skip
def test_what_cannot_be_reviewed_is_said(desk, number, name, said):
    with pytest.raises(ConfigError, match=said):
        desk.review(name, "--confirm", number=number, key="anna")
    assert not reviews.path_of(desk.archive).exists()


def test_one_key_does_not_pass_for_two_people(desk):
    done = desk.run(
        "verify", desk.archive, f"--reviewer-key=anna={desk.folder}/anna.pub",
        f"--reviewer-key=ben={desk.folder}/anna.pub",
    )  # fmt: skip
    assert isinstance(done.exception, ConfigError)
