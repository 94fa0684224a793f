import pytest

from stages.config import load_config
from utils.errors import UserError
from utils.yaml_text import NOT_YAML, parse_yaml


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
    ],
)
def test_what_is_refused(text, tmp_path):
    with pytest.raises(NOT_YAML):
        parse_yaml(text)
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(None, overrides=[f"seed={text}"])
    (tmp_path / "settings.yaml").write_text(f"seed: {text}")
    with pytest.raises(UserError, match=r"settings\.yaml.*not valid YAML"):
        load_config(tmp_path / "settings.yaml")
