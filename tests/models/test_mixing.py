"""Objects of other crops on a crop."""

import torch

from models.mixing import paste_objects


def crops() -> tuple[torch.Tensor, torch.Tensor]:
    """Four crops, each of one value, with an object of its own class in its own column, and an ignored column."""
    image = torch.arange(4.0)[:, None, None, None].expand(4, 3, 2, 6).clone()
    mask = torch.zeros(4, 2, 6, dtype=torch.int64)
    for number in range(4):
        mask[number, :, number] = number + 1
    mask[:, :, 5] = 255
    return image, mask


def test_a_crop_gets_the_objects_of_its_neighbour_with_their_mask_and_nothing_else():
    image, mask = crops()
    mixed, found = paste_objects(image, mask, 1.0)
    for number in range(4):
        other = (number - 1) % 4
        assert (mixed[number, :, :, other] == other).all()
        assert (found[number, :, other] == other + 1).all()
        rest = [column for column in range(6) if column != other]
        assert torch.equal(mixed[number][..., rest], image[number][..., rest])
        assert torch.equal(found[number][:, rest], mask[number][:, rest])


def test_the_part_of_the_crops_that_get_objects():
    image, mask = crops()
    assert all(
        torch.equal(one, other) for one, other in zip(paste_objects(image, mask, 0.0), (image, mask), strict=True)
    )
    torch.manual_seed(0)
    many = torch.ones(400, 2, 2, dtype=torch.int64)
    many[::2] = 2
    _, found = paste_objects(torch.zeros(400, 3, 2, 2), many, 0.25)
    assert 60 < (found != many).any(dim=(1, 2)).sum() < 140
