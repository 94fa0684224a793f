"""Properties of the way from maps to a mask."""

from functools import partial

import pytest
import torch
from torch import Tensor

from models.pseudo import confident_labels, pseudo_mask, upsample
from utils.ignore import IGNORE

CLASSES = torch.tensor([4, 0, 11])


def random_maps(classes: int = 3, height: int = 20, width: int = 30, seed: int = 0) -> Tensor:
    return torch.rand(classes, height, width, generator=torch.Generator().manual_seed(seed))


def test_mask_is_the_best_label_and_background_where_there_is_no_class():
    maps = torch.tensor([[[0.9, 0.1, 0.5, 0.1, 0.0]], [[0.2, 0.6, 0.4, 0.2, 0.0]]])
    for threshold, expected in ((0.3, [8, 3, 8, 0, 0]), (0.0, [8, 3, 8, 3, 0])):
        mask = pseudo_mask(maps, torch.tensor([7, 2]), background="threshold", threshold=threshold)
        assert mask.dtype == torch.uint8
        assert mask.tolist() == [expected]
    for cut in (partial(pseudo_mask, ignore_band=0.3), confident_labels):
        mask = cut(torch.zeros(0, 5, 7), torch.zeros(0, dtype=torch.int64), refiner=pytest.fail)
        assert (mask.shape, mask.dtype) == ((5, 7), torch.uint8)
        assert not mask.any()


@pytest.mark.parametrize("background", ["threshold", "power"])
def test_ignore_band_is_the_margin(background):
    maps = random_maps()
    maps[:, 0, 0] = 0.6  # at the boundary itself
    settings = {"background": background, "threshold": 0.6, "power": 2.0}
    best = maps.amax(dim=0)
    score = {"threshold": torch.full_like(best, 0.6), "power": (1 - best) ** 2}[background]
    margin = (best - score).abs()
    plain = pseudo_mask(maps, CLASSES, **settings)
    assert torch.equal(pseudo_mask(maps, CLASSES, refiner=lambda p: p, **settings), plain)
    for band in (0.0, 0.05, 0.2, 0.5):
        mask = pseudo_mask(maps, CLASSES, ignore_band=band, **settings)
        assert (mask == IGNORE).sum() == (margin < band).sum()
        assert torch.equal(mask[mask != IGNORE], plain[mask != IGNORE])


def test_refiner_gets_probabilities_of_the_same_best_label_and_decides():
    maps = random_maps()
    maps[:, 0] = 0
    seen = []
    for threshold in (0.6, 0.0):
        pseudo_mask(maps, CLASSES, threshold=threshold, refiner=lambda p: seen.append(p) or p)
    assert all(torch.isfinite(each).all() for each in seen)
    probabilities = seen[0]
    assert probabilities.shape == (4, 20, 30)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(20, 30))
    scores = torch.cat([torch.full((1, 20, 30), 0.6), maps])
    assert torch.equal(probabilities.argmax(dim=0), scores.argmax(dim=0))
    certain = torch.zeros(4, 20, 30)  # probabilities of 0 and 1 leave nothing undecided
    certain[2] = 1
    mask = pseudo_mask(random_maps(), CLASSES, ignore_band=0.5, refiner=lambda probabilities: certain)
    assert (mask == CLASSES[1] + 1).all()


@pytest.mark.parametrize("size", [(40, 60), (37, 58), (33, 41), (4, 4), (1, 7)])
def test_upsampled_maps_lie_where_they_were(size):
    """A ramp over the image, reduced to stride 4 and brought back, is the same ramp but for the rim."""

    def ramps(rows: int, columns: int) -> Tensor:  # at the middles of cells, edge to edge
        down, right = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
        return torch.stack([down[:, None].expand(rows, columns), right[None].expand(rows, columns)])

    back = upsample(ramps(-(-size[0] // 4), -(-size[1] // 4)), size)
    assert back.shape == (2, *size)
    inside = (slice(None), slice(2, size[0] - 2), slice(2, size[1] - 2))
    torch.testing.assert_close(back[inside], ramps(*size)[inside], atol=1e-5, rtol=0)
    assert upsample(torch.zeros(0, 5, 7), size).shape == (0, *size)


def test_confident_labels_have_three_zones_and_the_likelier_class():
    maps = torch.tensor([[[0.5, 0.31, 0.29, 0.06, 0.04, 0.0, 0.4]], [[0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6]]])
    assert confident_labels(maps, torch.tensor([4, 2])).tolist() == [[5, 5, 255, 255, 0, 0, 3]]
    both = confident_labels(maps, torch.tensor([4, 2]), fg_threshold=0.45, bg_threshold=0.3)
    assert both.tolist() == [[5, 255, 0, 0, 0, 0, 3]]
    maps = random_maps()
    both = confident_labels(maps, CLASSES, fg_threshold=0.8, bg_threshold=0.4)
    high, low = (pseudo_mask(maps, CLASSES, threshold=threshold) for threshold in (0.8, 0.4))
    assert torch.equal(both, torch.where(high > 0, high, torch.where(low > 0, IGNORE, 0).byte()))


def test_the_refiner_of_confident_labels_gets_both_cuts_as_probabilities():
    maps, classes, seen = torch.tensor([[[0.5, 0.1]], [[0.1, 0.2]]]), torch.tensor([0, 1]), []
    refined = confident_labels(maps, classes, refiner=lambda p: seen.append(p) or p)
    assert torch.equal(refined, confident_labels(maps, classes))
    (both,) = seen
    assert both.shape == (2, 3, 1, 2)
    torch.testing.assert_close(both.sum(dim=1), torch.ones(2, 1, 2))
    torch.testing.assert_close(both[:, :, 0, 1], torch.tensor([[0.7, 0.15, 0.15], [0.15, 0.15, 0.7]]))
    # As published: a refinement that removes an object only in the low cut leaves it confident.
    maps, classes = torch.tensor([[[0.5]]]), torch.tensor([0])
    swapped = confident_labels(maps, classes, refiner=lambda p: torch.stack([p[0], p[1].flip(0)]))
    assert swapped.tolist() == [[1]]
