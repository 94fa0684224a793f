import pytest

from stages.config import load_config
from utils.errors import UserError
from utils.yaml_text import DEEPEST, MOST_VALUES, NOT_YAML, parse_yaml

LAUGHS = "a0: &a0 [0]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


def test_plain_values_and_references():
    assert parse_yaml("a: &x {b: [1, 2.5, true]}\nc: {<<: *x, d: ü}")[1] == {
        "a": {"b": [1, 2.5, True]},
        "c": {"b": [1, 2.5, True], "d": "ü"},
    }
    assert parse_yaml("[yes, no, on, off, TRUE, false]")[1] == ["yes", "no", "on", "off", True, False]
    assert parse_yaml("") == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,  # twelve lines that stand for a hundred thousand million values
        "&a [*a]",
        "[" * 10_000,
        "!!python/object/apply:os.system ['false']",
        "!!python/name:os.system",
        "2020-13-45",
        "9" * 5000,
        "!!int a",
        "!!bool a",
        "{[1]: 2}",
        "\x00",
        "=",
        "0x" + "f" * 5000,
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "\n".join("  " * depth + "-" for depth in range(DEEPEST + 1)),
    ],
)
def test_what_is_refused(text, tmp_path):
    with pytest.raises(NOT_YAML):
        parse_yaml(text)
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(None, overrides=[f"seed={text}"])
    (tmp_path / "settings.yaml").write_text(text if text == LAUGHS else f"seed: {text}")
    with pytest.raises(UserError, match=r"settings\.yaml.*not valid YAML"):
        load_config(tmp_path / "settings.yaml")


def test_a_large_file_is_no_bomb():
    assert len(parse_yaml("\n".join(f"- {n}" for n in range(MOST_VALUES // 2)))[1]) == MOST_VALUES // 2


def test_nesting_up_to_the_limit():
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST)[1]
