"""What is said of a run that has learned nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.artifacts import Seed, write_mask, write_seed
from data.dataset import Index, Record
from stages.cam import check_labels, check_learned, class_weights
from stages.config import Config, override
from stages.learned import (
    Learned,
    average_precision,
    chance_level,
    classifier_warnings,
    loss_warnings,
    map_warnings,
    mask_warnings,
    pseudo_warnings,
)
from tests.models.tiny import tiny_classifier
from utils.compute import Compute
from utils.errors import UserError
from utils.run import Run

NAMES = ("cat", "dog")


def index_of(*labels: tuple[int, ...]) -> Index:
    return Index(NAMES, tuple(Record(str(number), Path("x"), each) for number, each in enumerate(labels)))


def learned(images: int, precision: float, count: int = 40) -> Learned:
    return Learned("cat", images, precision, *chance_level([images], count))


def test_average_precision_is_the_mean_precision_at_the_right_ones_and_hardly_ever_above_chance_by_chance():
    truth, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, -scores) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert np.isnan(average_precision(np.zeros(4, bool), scores))
    random, truth = np.random.default_rng(1), np.arange(40) < 8
    mean, needed = chance_level([8], 40)
    found = average_precision(truth, random.random((1000, 40)))
    assert (found > needed).mean() < 0.08
    assert found.mean() == pytest.approx(mean, abs=0.02)
    assert chance_level([5], 5)[1] == 1  # no figure is above chance where all are right
    assert chance_level([1], 1)[1] == 1


def test_a_class_at_chance_is_named_with_its_figures_and_so_is_one_that_cannot_be_told():
    assert classifier_warnings([learned(10, 0.9)]) == []
    (warning,) = classifier_warnings([learned(10, 0.27), learned(10, 0.95)])
    assert "cat 0.27 (chance 0.3" in warning
    assert "10 images" in warning
    (warning,) = classifier_warnings([learned(0, float("nan"))])
    assert "too few" in warning


def seeds(folder: Path, maps: np.ndarray, count: int = 4) -> Index:
    """An index of images whose seeds hold these maps (K, 10, 10)."""
    classes = np.arange(len(maps))
    for number in range(count):
        write_seed(folder / f"i{number}.npz", Seed(classes, maps.astype(np.float32), (40, 40)))
    return Index(NAMES, tuple(Record(f"i{n}", folder / f"i{n}.jpg", tuple(classes.tolist())) for n in range(count)))


def spot(row: int) -> np.ndarray:
    one = np.zeros((10, 10))
    one[row : row + 3, 2:5] = 1
    return one


def test_maps_that_show_no_place_are_warned_of(tmp_path):
    assert map_warnings(seeds(tmp_path, np.stack([spot(0), spot(6)])), tmp_path) == []
    flat, same = "4 of 4 maps are flat", "the same"
    for maps, warning in (([0 * spot(0)], flat), ([np.ones((10, 10))], flat), ([spot(2), spot(2)], same)):
        (found,) = map_warnings(seeds(tmp_path, np.stack(maps)), tmp_path)
        assert warning in found


def test_a_list_in_which_all_images_show_the_same_is_refused_and_a_class_of_all_is_warned_of():
    same = index_of(*[(0,)] * 20)
    with pytest.raises(UserError, match="every image"):
        check_labels(same, "train", True)
    (warning,) = check_labels(same, "train", False)
    assert "shows the same" in warning
    assert not check_labels(index_of(*[(0,)] * 20, ()), "train", True)
    (warning,) = check_labels(index_of(*[(0, 1), (0,)] * 10), "train", True)
    assert "every image of list 'train' shows cat. A class is learned" in warning
    assert not classifier_warnings([learned(40, 1.0)]), "said once is enough"
    # Both kinds of images count the same; none has a dog: as for one image.
    assert class_weights(index_of(*[(0,)] * 4, *[()] * 16)).tolist() == [4, 20]


def test_a_run_in_which_no_class_is_above_chance_stops_unless_told_to_go_on_and_few_images_tell_together(
    monkeypatch, tmp_path
):
    cfg, nothing = Config(), Index(NAMES, ())
    run = Run(override(cfg, [f"run={tmp_path}"]))
    assert check_learned(cfg, run, None, nothing) == {}  # cam.held_back is 0
    kept = check_learned(override(cfg, ["cam.held_back=0.1"]), run, None, nothing)  # too few images
    assert "nothing tells whether the classes have been learned" in kept["warnings"][0]
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: [learned(10, 0.27)])
    held = index_of(*[(0,)] * 40)
    with pytest.raises(UserError, match="has learned nothing"):
        check_learned(cfg, run, None, held)
    kept = check_learned(override(cfg, ["cam.must_learn=false"]), run, None, held)
    assert kept["ap cat"] == 0.27
    assert "cannot be told from chance" in kept["warnings"][0]
    assert "WARNING: average precision of images held back cannot be told" in (tmp_path / "log.txt").read_text()
    # Two of six images: no figure of one class is better than chance, three good ones together are.
    held, good, bad = index_of(*[(0,)] * 6), [learned(2, 0.9, 6)] * 3, [learned(2, 0.4, 6)] * 3
    assert not any(row.can_tell for row in good)
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: good)
    assert "too few images were held back" in check_learned(cfg, run, None, held)["warnings"][0]
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: bad)
    with pytest.raises(UserError, match="of 6 images held back"):
        check_learned(cfg, run, None, held)


@pytest.mark.parametrize(
    ("side", "of_masks", "of_network"), [(0, "there is none", "draws none"), (10, "", ""), (39, "cover more", "more")]
)
def test_objects_nowhere_or_everywhere_are_warned_of(tmp_path, monkeypatch, side, of_masks, of_network):
    """Of three images of a cat; one of none is not counted."""
    mask = np.zeros((40, 40), np.uint8)
    mask[:side, :side] = 1
    for name in "abcd":
        Image.new("RGB", (40, 40)).save(tmp_path / f"{name}.jpg")
        write_mask(tmp_path / f"{name}.png", mask)
    index = Index(NAMES, tuple(Record(name, tmp_path / f"{name}.jpg", (0,) if name > "a" else ()) for name in "abcd"))
    drawn = torch.nn.functional.one_hot(torch.from_numpy(mask).long(), 3).permute(2, 0, 1)[None].float()
    monkeypatch.setattr("stages.learned.cell_probabilities", lambda *_: drawn)
    cfg = override(Config(), ["workers=0"])
    drawing = mask_warnings(cfg, index, tiny_classifier(), Compute(torch.device("cpu")))
    of_seeds = pseudo_warnings(index, tmp_path)
    for found, what, says in ((of_seeds, "pseudo masks", of_masks), (drawing, "images", of_network)):
        assert len(found) == bool(says)
        assert all(f"in 3 of 3 {what}" in warning and says in warning for warning in found)


def test_a_loss_no_better_than_that_of_a_constant_answer_is_warned_of():
    mask = np.full((10, 10), 255, np.uint8)
    mask[:4], mask[4:5] = 0, 1  # 40 and 10 pixels: entropy 0.50, and 0.69 if an object's pixel counts four times
    assert loss_warnings(0.49, [mask, mask], 1) == []
    assert "is 0.51, and" in loss_warnings(0.51, [mask], 1)[0]
    assert loss_warnings(0.69, [mask], 4) == []
    assert loss_warnings(0.70, [mask], 4)
    assert loss_warnings(0.0, [np.full((4, 4), 255, np.uint8)], 1) == []
