"""Tiles cover the image and blend without seams; they find small objects; their number is bounded."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from inference.tiles import LEAST_TILE, MOST_TILES, OVERLAP, STRIDE, decide, read_tiles, starts, tile_side


def test_tiles_cover_a_side_and_overlap_and_their_number_is_bounded():
    for side, tile in ((64, 64), (65, 64), (1000, 64), (401, 100), (8000, 512), (12, 400)):
        places = starts(side, tile)
        assert places[0] == 0
        assert places[-1] + tile >= side
        assert all(place % STRIDE == 0 and place < side for place in places)
        assert all(after - before <= tile * (1 - OVERLAP) + STRIDE for before, after in pairwise(places))
    for size in ((6000, 8000), (20000, 30000), (100, 1_000_000), (70, 70)):
        tile = tile_side(*size, LEAST_TILE)
        assert len(starts(size[0], tile)) * len(starts(size[1], tile)) <= MOST_TILES
        assert tile % STRIDE == 0
    assert tile_side(200, 300, 100) == 100


def by_colour(window: np.ndarray) -> torch.Tensor:
    """A network that needs no surroundings: red is class 1's probability, green class 2's."""
    pixels = torch.from_numpy(window.copy()).permute(2, 0, 1).float() / 255
    return torch.stack([1 - pixels[0] - pixels[1], pixels[0], pixels[1]])


@pytest.mark.parametrize("size", [(100, 151), (64, 300), (40, 30)])
def test_tiles_say_what_the_whole_image_would(size):
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 2, *(2 + side // 40 for side in size), generator=random) * 0.5
    smooth = interpolate(coarse, size, mode="bicubic").clamp(0, 0.5)[0]
    image = torch.cat([smooth, torch.zeros(1, *size)]).mul(255).byte().permute(1, 2, 0).numpy()
    cells = read_tiles(image, 64, 3, by_colour)
    assert cells.shape == (3, -(-size[0] // STRIDE), -(-size[1] // STRIDE))
    mask, means = decide(cells, size)
    shares = by_colour(image)
    expected = shares.argmax(dim=0).numpy()
    top = shares.sort(dim=0, descending=True).values
    clear = (top[0] - top[1]).numpy() > 0.03
    assert mask.shape == size
    assert clear.mean() > 0.5
    assert (mask == expected)[clear].mean() > 0.999
    assert means == pytest.approx(
        {value: float(shares[value][torch.from_numpy(mask) == value].mean()) for value in np.unique(mask)}, abs=0.02
    )


def test_every_tile_counts_less_at_its_rim():
    """Each call says another class: inside a tile its own wins, and between two there is one change, in the overlap."""
    calls = []

    def one_class_each(window: np.ndarray) -> torch.Tensor:
        calls.append(window.shape)
        return torch.eye(9)[len(calls) - 1][:, None, None].expand(9, 5, 5)

    image = np.zeros((64, 160, 3), np.uint8)
    mask, _ = decide(read_tiles(image, 64, 9, one_class_each), (64, 160))
    assert calls == [(64, 64, 3)] * 3
    assert (mask == mask[:1]).all()
    changes = np.flatnonzero(np.diff(mask[0]))
    assert mask[0, 0] == 0
    assert mask[0, -1] == 2
    assert len(changes) == 2
    assert all(any(abs(change + 0.5 - middle) <= STRIDE for middle in (56, 104)) for change in changes)


def test_a_mask_of_many_values():
    cells = np.zeros((300, 4, 4), np.uint8)
    cells[299] = 200
    mask, means = decide(cells, (15, 16))
    assert (mask == 299).all()
    assert means == {299: pytest.approx(200 / 255)}
