"""Properties of the way from maps to a mask."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.par import par
from models.pseudo import confident_labels, pseudo_mask, upsample
from utils.ignore import IGNORE

CLASSES = torch.tensor([4, 0, 11])


def random_maps(classes: int = 3, height: int = 20, width: int = 30, seed: int = 0) -> Tensor:
    return torch.rand(classes, height, width, generator=torch.Generator().manual_seed(seed))


# --- Masks


def test_mask_is_the_best_label():
    maps = torch.tensor([[[0.9, 0.1, 0.5, 0.1]], [[0.2, 0.6, 0.4, 0.2]]])
    mask = pseudo_mask(maps, torch.tensor([7, 2]), background="threshold", threshold=0.3)
    assert mask.dtype == torch.uint8
    assert mask.tolist() == [[8, 3, 8, 0]]


def test_threshold_zero_leaves_no_background():
    maps = random_maps().clamp_min(1e-3)
    assert torch.equal(pseudo_mask(maps, CLASSES, threshold=0.0), (CLASSES[maps.argmax(dim=0)] + 1).to(torch.uint8))


def test_threshold_zero_is_background_where_all_maps_are_zero():
    assert not pseudo_mask(torch.zeros(3, 4, 5), CLASSES, threshold=0.0).any()


def test_larger_threshold_never_shrinks_the_background():
    maps = random_maps()
    backgrounds = [pseudo_mask(maps, CLASSES, threshold=threshold / 20) == 0 for threshold in range(21)]
    for smaller, larger in pairwise(backgrounds):
        assert (smaller <= larger).all()
    assert backgrounds[10].float().mean().item() == pytest.approx(0.5**3, abs=0.05)  # three even draws all below 1/2


def test_power_one_is_the_threshold_one_half():
    maps = random_maps()
    power = pseudo_mask(maps, CLASSES, background="power", power=1.0)
    assert torch.equal(power, pseudo_mask(maps, CLASSES, background="threshold", threshold=0.5))


@pytest.mark.parametrize("background", ["threshold", "power"])
def test_no_class_is_all_background(background):
    def never(probabilities: Tensor) -> Tensor:
        raise AssertionError("there is nothing to refine")

    mask = pseudo_mask(
        torch.zeros(0, 5, 7), torch.zeros(0, dtype=torch.int64), background=background, ignore_band=0.3, refiner=never
    )
    assert mask.shape == (5, 7)
    assert mask.dtype == torch.uint8
    assert not mask.any()


# --- Ignore band


@pytest.mark.parametrize("background", ["threshold", "power"])
def test_ignore_band_is_the_margin(background):
    maps = random_maps()
    settings = {"background": background, "threshold": 0.6, "power": 2.0}
    best = maps.amax(dim=0)
    score = {"threshold": torch.full_like(best, 0.6), "power": (1 - best) ** 2}[background]
    margin = (best - score).abs()
    plain = pseudo_mask(maps, CLASSES, **settings)
    for band in (0.0, 0.05, 0.2, 0.5):
        mask = pseudo_mask(maps, CLASSES, ignore_band=band, **settings)
        assert (mask == IGNORE).sum() == (margin < band).sum()
        assert torch.equal(mask[mask != IGNORE], plain[mask != IGNORE])


def test_no_band_ignores_nothing_even_at_the_boundary():
    assert pseudo_mask(torch.full((1, 3, 4), 0.25), torch.tensor([0]), threshold=0.25, ignore_band=0.0).eq(0).all()


# --- Refiner


@pytest.mark.parametrize("background", ["threshold", "power"])
def test_refiner_that_changes_nothing_gives_the_same_mask(background):
    settings = {"background": background, "threshold": 0.55, "power": 2.0}
    maps = random_maps()
    assert torch.equal(
        pseudo_mask(maps, CLASSES, refiner=lambda p: p, **settings), pseudo_mask(maps, CLASSES, **settings)
    )


def test_refiner_gets_probabilities_of_the_same_best_label():
    maps = random_maps()
    seen = []
    pseudo_mask(maps, CLASSES, threshold=0.6, refiner=lambda p: seen.append(p) or p)
    (probabilities,) = seen
    assert probabilities.shape == (4, 20, 30)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(20, 30))
    scores = torch.cat([torch.full((1, 20, 30), 0.6), maps])
    assert torch.equal(probabilities.argmax(dim=0), scores.argmax(dim=0))


def test_scores_of_zero_reach_the_refiner_finite():
    seen = []
    pseudo_mask(torch.zeros(2, 4, 5), CLASSES[:2], threshold=0.0, refiner=lambda p: seen.append(p) or p)
    assert torch.isfinite(seen[0]).all()


def test_refiner_decides():
    """Certain probabilities, 0 and 1, are taken as they are and leave nothing undecided."""

    def all_second_class(probabilities: Tensor) -> Tensor:
        certain = torch.zeros_like(probabilities)
        certain[2] = 1
        return certain

    mask = pseudo_mask(random_maps(), CLASSES, ignore_band=0.5, refiner=all_second_class)
    assert (mask == CLASSES[1] + 1).all()


def test_refined_mask_ends_at_the_colour_edge():
    truth = torch.zeros(48, 64, dtype=torch.bool)
    truth[12:36, 16:48] = True
    image = torch.where(truth, 180, 70).to(torch.uint8).expand(3, -1, -1)
    small = interpolate(truth[None, None].float(), (6, 8), mode="bilinear", antialias=True)[0]
    maps = upsample(small, (48, 64))  # as blurred as a map of stride 8
    for threshold in (0.3, 0.7):  # one too large, one too small
        coarse = pseudo_mask(maps, torch.tensor([2]), threshold=threshold) == 3
        fine = pseudo_mask(maps, torch.tensor([2]), threshold=threshold, refiner=partial(par, image)) == 3
        assert (coarse != truth).float().mean() > 2 * (fine != truth).float().mean()


# --- Upsampling


@pytest.mark.parametrize("size", [(40, 60), (37, 58), (33, 41), (4, 4), (1, 7)])
def test_upsampled_maps_lie_where_they_were(size):
    """A ramp over the image, reduced to stride 4 and brought back, is the same ramp but for the rim."""
    height, width = size
    ramps = torch.stack(
        [
            ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width),
            ((torch.arange(width) + 0.5) / width)[None].expand(height, width),
        ]
    )
    cells = (-(-height // 4), -(-width // 4))
    rows, columns = (torch.arange(cells[0]) + 0.5) / cells[0], (torch.arange(cells[1]) + 0.5) / cells[1]
    seed = torch.stack([rows[:, None].expand(cells), columns[None].expand(cells)])  # cell centres, edge to edge
    back = upsample(seed, size)
    assert back.shape == (2, height, width)
    inside = (slice(2, height - 2), slice(2, width - 2))
    torch.testing.assert_close(back[0][inside], ramps[0][inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(back[1][inside], ramps[1][inside], atol=1e-5, rtol=0)


def test_upsample_without_classes():
    assert upsample(torch.zeros(0, 5, 7), (20, 28)).shape == (0, 20, 28)


class TestConfidentLabels:
    def test_three_zones(self):
        maps = torch.tensor([[[0.5, 0.31, 0.29, 0.06, 0.04, 0.0]]])
        assert confident_labels(maps, torch.tensor([4])).tolist() == [[5, 5, 255, 255, 0, 0]]

    def test_the_likelier_class_is_the_confident_one(self):
        maps = torch.tensor([[[0.5, 0.4]], [[0.4, 0.6]]])
        assert confident_labels(maps, torch.tensor([7, 2])).tolist() == [[8, 3]]

    def test_wider_thresholds_give_fewer_confident_cells(self):
        maps = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
        masks = [
            confident_labels(maps, torch.tensor([0, 1]), fg_threshold=0.5 + d, bg_threshold=0.5 - d)
            for d in (0, 0.1, 0.3)
        ]
        left_out = [(mask == 255).sum() for mask in masks]
        assert left_out[0] == 0 < left_out[1] < left_out[2]
        assert all((masks[2][masks[2] != 255] == mask[masks[2] != 255]).all() for mask in masks)

    def test_without_classes_all_is_background(self):
        assert (confident_labels(torch.zeros(0, 3, 4), torch.zeros(0, dtype=torch.int64)) == 0).all()

    def test_refiner_gets_both_cuts_as_probabilities(self):
        maps = torch.tensor([[[0.5, 0.1]], [[0.1, 0.2]]])
        seen = []

        def refiner(probabilities):
            seen.append(probabilities)
            return probabilities

        assert torch.equal(
            confident_labels(maps, torch.tensor([0, 1]), refiner=refiner), confident_labels(maps, torch.tensor([0, 1]))
        )
        (both,) = seen
        assert both.shape == (2, 3, 1, 2)
        torch.testing.assert_close(both.sum(dim=1), torch.ones(2, 1, 2))
        torch.testing.assert_close(both[:, :, 0, 1], torch.tensor([[0.7, 0.15, 0.15], [0.15, 0.15, 0.7]]))

    def test_object_only_in_the_high_cut_is_kept(self):
        """As published: a refinement that removes an object only in the low cut leaves it confident."""

        def refiner(probabilities):
            return torch.stack([probabilities[0], probabilities[1].flip(0)])

        assert confident_labels(torch.tensor([[[0.5]]]), torch.tensor([0]), refiner=refiner).tolist() == [[1]]
