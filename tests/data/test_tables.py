"""Class names in files of their own."""

import pytest

from data.index import open_index
from data.settings import DataSettings
from data.tables import natural, read_class_names
from tests.data.layouts_of_tools import put, put_text
from utils.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "dog\ncat\n",
        "0 dog\n1 cat\n",
        "background\ndog\ncat\n",
        "id,name\n1,dog\n2,cat\n",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:128,0,0::\ncat:0,128,0::\n",
    ],
)
def test_the_order_of_a_file_is_that_of_the_classes(tmp_path, text):
    root = put(tmp_path / "own", "cat/1.jpg", "dog/1.jpg")
    path = put_text(tmp_path, "names.txt", text) / "names.txt"
    assert read_class_names(path) == ("dog", "cat")
    data = DataSettings(kind="folder", root=str(root), classes=(str(path),))
    assert open_index(data, "all").class_names == ("dog", "cat")


def test_a_file_without_different_names_is_refused_and_numbers_are_in_natural_order(tmp_path):
    for text, found in (("", "found none"), ("cat\ncat\n", "found cat more than once")):
        path = put_text(tmp_path, "names.txt", text) / "names.txt"
        with pytest.raises(UserError, match=found):
            read_class_names(path)
    names = ["10", "2", "1", "class 10", "class 9", "b", "a"]
    assert sorted(names, key=natural) == ["1", "2", "10", "a", "b", "class 9", "class 10"]
