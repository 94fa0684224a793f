import pytest
import torch

from data.sides import Sides
from stages.reading import prepare
from tests.models.tiny import tiny_classifier
from utils.compute import Compute


@pytest.mark.parametrize(
    ("sides", "own", "expected"),
    [
        (Sides(), (30, 50), (30, 50)),
        (Sides(40, 60), (30, 50), (30, 50)),
        (Sides(100), (30, 50), (60, 100)),
        (Sides(100), (50, 30), (100, 60)),
        (Sides(0, 20), (30, 50), (12, 20)),
        (Sides(100, 80), (30, 50), (48, 80)),  # both cannot hold
        (Sides(0, 20), (1, 400), (1, 20)),
    ],
)
def test_the_long_side_is_brought_between_the_limits(sides, own, expected):
    assert sides.size(*own) == expected


def test_a_limit_is_added_only_where_there_is_none():
    assert Sides(0, 0).or_at_most(90) == Sides(0, 90)
    assert Sides(100, 0).or_at_most(90).size(50, 50) == (100, 100)
    assert Sides(0, 30).or_at_most(90) == Sides(0, 30)


@pytest.mark.parametrize(("sides", "size"), [(Sides(), (12, 20)), (Sides(40), (24, 40)), (Sides(40, 30), (18, 30))])
def test_networks_see_an_image_at_that_size(sides, size):
    """An even image stays even: it is enlarged, and not padded."""
    pixels = torch.full((3, 12, 20), 200, dtype=torch.uint8)
    image = prepare(pixels, tiny_classifier(), Compute(torch.device("cpu")), sides)
    assert image.shape == (3, *size)
    torch.testing.assert_close(image, image[:, :1, :1].expand_as(image))
