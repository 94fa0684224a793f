from utils.files import write_text
from utils.names import MOST_BYTES, fault_of, is_too_long, shown

FAULTS = {
    "is empty": ["", " ", ".", ".."],
    "leads out": ["a/..", "../a", "a/../../b", "..\\a", "a\\..\\b"],
    "absolute": ["/etc/passwd", "\\\\server\\share", "C:\\a.jpg", "c:a.jpg"],
    "control character": ["a\0b", "a\nb", "\x1b[31ma"],
    "half a character": ["a\ud800b"],
    "too long": ["x" * (MOST_BYTES + 1), "ü" * (MOST_BYTES // 2 + 1), "/".join(["x" * 99] * 11)],
    "which Windows": ["con", "a/NUL.jpg", "lpt1 .txt/a"],
}
GOOD = "a.jpg a/b.jpg a..b/..c ./a .hidden ab:c con_carne.jpg conny/1.jpg 2007_000032 a\udcff.jpg"


def test_names_of_images_are_taken_those_that_lead_elsewhere_are_not_and_what_is_shown_cannot_act_on_a_terminal(
    tmp_path,
):
    for name in (*GOOD.split(), "ü ß.png"):
        assert fault_of(name) is None, name
    for fault, names in FAULTS.items():
        for name in names:
            assert fault in (fault_of(name) or "nothing"), name
    name = "x" * MOST_BYTES
    assert not is_too_long(name)
    write_text(tmp_path / f"{name}.9.webp", "")  # the longest that a run adds to an image's name
    assert (tmp_path / f"{name}.9.webp").is_file()
    assert shown("a\x1b[2Jb\n") == r"'a\x1b[2Jb\n'"
    assert shown("ü\ud800") == r"'ü\ud800'"
    assert len(shown("x" * 1000)) == 62
