"""Letters of any script, as far as this system has fonts."""

import pytest
from PIL import ImageFont

import utils.visualize
from utils.visualize import drawable, font_for


@pytest.fixture
def no_fonts(monkeypatch):
    monkeypatch.setattr(utils.visualize, "_system_fonts", lambda size: [])
    utils.visualize.font_for.cache_clear()
    yield
    utils.visualize.font_for.cache_clear()


def test_latin_needs_no_font_of_the_system_and_what_none_has_becomes_a_question_mark(no_fonts):
    assert (drawable("cat, dog (2)"), drawable("cat 猫")) == ("cat, dog (2)", "cat ?")


def test_a_font_of_the_system_is_taken_where_it_has_more_letters():
    font = font_for("Кот", 16)
    if drawable("Кот") != "Кот":
        pytest.skip("no font here has Cyrillic letters")
    assert font.getname() != ImageFont.load_default(16).getname()
    assert drawable("猫 Кот").endswith("Кот")
