import pytest

from utils.files import write_text
from utils.names import MOST_BYTES, fault_of, is_too_long, shown


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "a/b.jpg",
        "a..b/..c",
        "ü ß.png",
        "./a",
        ".hidden",
        "ab:c",
        "con_carne.jpg",
        "conny/1.jpg",
        "2007_000032",
        "a\udcff.jpg",
    ],
)
def test_names_of_images_are_taken(name):
    assert fault_of(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        (".", "is empty"),
        ("..", "is empty"),
        ("a/..", "leads out"),
        ("../a", "leads out"),
        ("a/../../b", "leads out"),
        ("..\\a", "leads out"),
        ("a\\..\\b", "leads out"),
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\a.jpg", "absolute"),
        ("c:a.jpg", "absolute"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\x1b[31ma", "control character"),
        ("a\ud800b", "half a character"),
        ("x" * (MOST_BYTES + 1), "too long"),
        ("ü" * (MOST_BYTES // 2 + 1), "too long"),
        ("/".join(["x" * 99] * 11), "too long"),
        ("con", "'con', which Windows"),
        ("a/NUL.jpg", "'NUL.jpg', which Windows"),
        ("lpt1 .txt/a", "Windows"),
    ],
)
def test_names_that_lead_elsewhere_or_nowhere_are_not(name, fault):
    assert fault in (fault_of(name) or "nothing")


def test_a_name_that_is_not_too_long_can_be_written(tmp_path):
    name = "x" * MOST_BYTES
    assert not is_too_long(name)
    write_text(tmp_path / f"{name}.9.webp", "")  # the longest that a run adds to an image's name
    assert (tmp_path / f"{name}.9.webp").is_file()


def test_what_is_shown_cannot_act_on_a_terminal():
    assert shown("a\x1b[2Jb\n") == r"'a\x1b[2Jb\n'"
    assert shown("ü\ud800") == r"'ü\ud800'"
    assert len(shown("x" * 1000)) == 62
