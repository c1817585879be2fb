import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EvaluationError
from evaluation.data import Pair, open_people, open_scenes, read_pairs


@pytest.fixture
def folder(tmp_path):
    """Three people; pictures are only named here, not opened."""
    for name in (
        "anna/anna_0001.jpg",
        "anna/anna_0002.jpg",
        "ben/ben_0001.png",
        "cem/side/x y.jpg",
    ):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "images" / "loose.jpg").write_bytes(b"")
    (tmp_path / "images" / "anna" / "notes.txt").write_text("")
    return tmp_path


def test_people_are_the_first_folders_and_loose_files_nobody(folder):
    people = open_people(folder)
    assert [(p.person, p.name) for p in people.pictures] == [
        ("anna", "anna/anna_0001.jpg"), ("anna", "anna/anna_0002.jpg"),
        ("ben", "ben/ben_0001.png"), ("cem", "cem/side/x y.jpg"),
    ]  # fmt: skip
    assert people.pairs_file is None
    assert people.unseen("anna"), "nobody of a strange folder took part in the fit"


@pytest.mark.parametrize("data", ["", "images"])
def test_the_folder_may_be_named_with_or_without_images(folder, data):
    assert len(open_people(folder / data).pictures) == 4


def test_a_folder_without_people_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="no pictures as person/picture"):
        open_people(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "1\nanna 1 2\nanna 1 ben 1\n",
        "2\t300\nanna\t1\t2\n\n# a remark\nanna\t1\tben\t1\n",
        "first,second,same\nanna/anna_0001.jpg,anna/anna_0002.jpg,1\n"
        "anna/anna_0001.jpg,ben/ben_0001.png,0\n",
        "anna/anna_0001 anna/anna_0002 1\nanna/anna_0001 ben/ben_0001 0\n",
    ],
    ids=["lfw", "lfw with tabs", "csv", "blanks, no endings"],
)
def test_every_form_of_pairs(folder, text):
    listed = folder / "pairs.txt"
    listed.write_text(text)
    people = open_people(folder)
    assert people.pairs_file == listed
    assert read_pairs(listed, people) == [
        Pair("anna/anna_0001.jpg", "anna/anna_0002.jpg", True),
        Pair("anna/anna_0001.jpg", "ben/ben_0001.png", False),
    ]


def test_a_name_with_a_blank_in_csv(folder):
    listed = folder / "p.csv"
    listed.write_text('"cem/side/x y.jpg",anna/anna_0001.jpg,0\n')
    assert read_pairs(listed, open_people(folder))[0].first == "cem/side/x y.jpg"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no pairs"),
        ("anna 1 2\nanna 1 3\n", "line 2: no picture 'anna/anna_0003'"),
        ("anna 1 2\nanna 1\n", "line 2: 2 fields"),
        ("anna 1 2\nanna/anna_0001.jpg,ben/ben_0001.png,maybe\n", "line 2: 3 fields"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(folder, text, says):
    listed = folder / "pairs.txt"
    listed.write_text(text)
    with pytest.raises(EvaluationError, match=says):
        read_pairs(listed, open_people(folder))


def test_a_list_that_is_not_text_is_refused(folder):
    (folder / "pairs.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_pairs(folder / "pairs.txt", open_people(folder))


@settings(max_examples=60)
@given(text=st.text(max_size=120))
def test_any_text_gives_pairs_or_a_refusal(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("p")
    (folder / "a").mkdir()
    (folder / "a" / "a_0001.jpg").write_bytes(b"")
    listed = folder / "pairs.txt"
    listed.write_text(text, "utf-8", newline="")
    try:
        pairs = read_pairs(listed, open_people(folder))
    except EvaluationError:
        return
    assert pairs


def test_labels_of_crowds(tmp_path):
    (tmp_path / "labels.txt").write_text("# a b.jpg 100 50\n1 2 3 4\n5 6 7.5 8\n# none.jpg 10 10\n")
    one, none = open_scenes(tmp_path)
    assert (one.path.name, one.width, one.height) == ("a b.jpg", 100, 50)
    assert np.array_equal(one.boxes, [[1, 2, 3, 4], [5, 6, 7.5, 8]])
    assert none.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "text", ["1 2 3 4\n", "# x.jpg 1\n", "# x.jpg 1 1\n1 2 3\n", "# x.jpg a b\n", ""]
)
def test_bad_labels_are_refused(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(EvaluationError):
        open_scenes(tmp_path)


def test_no_labels_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        open_scenes(tmp_path)
