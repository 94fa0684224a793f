"""Tables of labels: cells in the notations of people and tools, read where they mean one thing, else named."""

import pytest

from data.dataset import refuse
from data.label_table import read_label_table
from utils.errors import UserError


def labels_of(tmp_path, *cells, known=(), header="image,labels"):
    """The labels of each row, and the notes."""
    path = tmp_path / "labels.csv"
    quoted = [cell.replace('"', '""') for cell in cells]
    path.write_text(header + "\n" + "".join(f'{n}.jpg,"{cell}"\n' for n, cell in enumerate(quoted)), encoding="utf-8")
    table = read_label_table(path, known, refuse)
    return [labels for _, _, labels in table.rows], " ".join(table.notes)


@pytest.mark.parametrize("both", ["cat;dog", "cat, dog", "cat|dog", "cat dog", "cat/dog", "cat + dog", "cat, dog|cat"])
def test_separators_are_read_where_their_parts_are_classes(tmp_path, both):
    assert labels_of(tmp_path, "cat", "dog", both) == ([{"cat"}, {"dog"}, {"cat", "dog"}], "")
    assert labels_of(tmp_path, both, known=("dog", "cat")) == ([{"cat", "dog"}], "")


@pytest.mark.parametrize(
    "both", ["['cat', 'dog']", '["cat", "dog"]', "[cat, dog]", "{'cat', 'dog'}", '{"choices": ["cat", "dog"]}']
)
def test_lists_are_lists(tmp_path, both):
    assert labels_of(tmp_path, both) == ([{"cat", "dog"}], "")


def test_quotes_and_empty_cells(tmp_path):
    found, notes = labels_of(tmp_path, "'cat'", '"dog"', "", "nan", "None", "[]")
    assert found == [{"cat"}, {"dog"}, set(), set(), set(), set()]
    assert "cells that are read as no label: 3" in notes
    assert labels_of(tmp_path, "none", known=("none",))[0] == [{"none"}]


def test_names_of_several_words_stay_whole(tmp_path):
    assert labels_of(tmp_path, "golden retriever", "poodle") == ([{"golden retriever"}, {"poodle"}], "")
    found, notes = labels_of(tmp_path, "hot dog", "dog")
    assert found == [{"hot dog"}, {"dog"}]
    assert "read as one class, though other labels have some of their words: 1, first hot dog" in notes
    found, notes = labels_of(tmp_path, "clear primary", "haze primary")
    assert "other labels have some of their words: 2" in notes


@pytest.mark.parametrize("odd", ["fox|hen", "fox, hen"])
def test_cells_that_may_be_several_labels_are_named(tmp_path, odd):
    with pytest.raises(UserError, match=r"labels\.csv, line 3: separate labels with ';', found 'fox.*data\.classes"):
        labels_of(tmp_path, "cat", odd)


def test_many_labels_of_few_words_are_named(tmp_path):
    words = ("a", "b", "c", "d")
    pairs = [f"{first} {second}" for first in words for second in words if first < second]
    with pytest.raises(UserError, match=r"look like several, separated by spaces.*data\.classes=\[a, b, c, \.\.\.\]"):
        labels_of(tmp_path, *pairs)
    assert labels_of(tmp_path, *pairs, known=words)[0][0] == {"a", "b"}


@pytest.mark.parametrize("text", ["id;class\n1;cat\n", "filename\tspecies\n1\tcat\n", "image_id,breed\n1,cat\n"])
def test_usual_headers_and_separators_of_cells(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    assert [row[1:] for row in read_label_table(tmp_path / "x.csv", (), refuse).rows] == [("1", {"cat"})]


def test_columns_of_zeros_and_ones(tmp_path):
    (tmp_path / "x.csv").write_text("image,cat,dog\n1,1,0\n2,0.0,True\n3,,\n")
    table = read_label_table(tmp_path / "x.csv", (), refuse)
    assert table.class_names == ("cat", "dog")
    assert [labels for _, _, labels in table.rows] == [{"cat"}, {"dog"}, set()]


def test_one_fault_of_a_whole_file_is_one_message(tmp_path):
    (tmp_path / "x.csv").write_text("image,labels\n" + "1.jpg,cat,dog\n" * 50)
    noted: list[str] = []
    with pytest.raises(UserError) as raised:
        read_label_table(tmp_path / "x.csv", (), noted.append)
    assert noted == [str(raised.value)]
    assert "line 2: expected 2 cells" in noted[0]
    assert noted[0].endswith("(50 such)")
