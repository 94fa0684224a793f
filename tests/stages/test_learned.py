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
    map_warnings,
    mask_warnings,
    pseudo_warnings,
    together,
)
from tests.models.tiny import tiny_classifier
from utils.compute import Compute
from utils.errors import UserError
from utils.run import Run

NAMES = ("cat", "dog")


def learned(images: int, precision: float, count: int = 40) -> Learned:
    return Learned("cat", images, precision, *chance_level([images], count))


def test_average_precision_is_the_mean_precision_at_the_right_ones():
    truth, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, -scores) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert np.isnan(average_precision(np.zeros(4, bool), scores))


def test_random_scores_are_hardly_ever_above_chance():
    random, truth = np.random.default_rng(1), np.arange(40) < 8
    mean, needed = chance_level([8], 40)
    found = average_precision(truth, random.random((1000, 40)))
    assert (found > needed).mean() < 0.08
    assert found.mean() == pytest.approx(mean, abs=0.02)
    assert chance_level([5], 5)[1] == 1  # no figure is above chance where all are right
    assert chance_level([1], 1)[1] == 1


def test_a_class_at_chance_is_named_with_its_figures_and_no_other():
    assert learned(10, 0.9).is_learned
    assert classifier_warnings([learned(10, 0.9)]) == []
    (warning,) = classifier_warnings([learned(10, 0.27), learned(10, 0.95)])
    assert "cat 0.27 (chance 0.3" in warning
    assert "10 images" in warning


def test_a_class_of_no_image_held_back_cannot_be_told():
    row = learned(0, float("nan"))
    assert not row.can_tell
    assert "too few" in classifier_warnings([row])[0]


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


@pytest.mark.parametrize(
    ("maps", "warning"),
    [
        ([spot(0), spot(6)], None),
        ([np.zeros((10, 10))], "4 of 4 maps are flat"),
        ([np.ones((10, 10))], "4 of 4 maps are flat"),
        ([spot(2), spot(2)], "the same"),
    ],
)
def test_maps_that_show_no_place_are_warned_of(tmp_path, maps, warning):
    found = map_warnings(seeds(tmp_path, np.stack(maps)), tmp_path)
    assert len(found) == (warning is not None)
    assert all(warning in text for text in found)


def test_class_weights_make_both_kinds_of_images_count_the_same():
    records = [Record(str(n), Path("x"), (0,) if n < 4 else ()) for n in range(20)]
    cat, dog = class_weights(Index(NAMES, tuple(records))).tolist()
    assert (cat * 4, dog) == (16, 20)  # none has a dog: as for one image


def test_a_list_in_which_all_images_show_the_same_is_refused():
    records = tuple(Record(str(n), Path("x"), (0,)) for n in range(20))
    with pytest.raises(UserError, match="every image"):
        check_labels(Index(NAMES, records), "train", True)
    (warning,) = check_labels(Index(NAMES, records), "train", False)
    assert "shows the same" in warning
    assert not check_labels(Index(NAMES, (*records, Record("other", Path("x"), ()))), "train", True)


def test_a_class_of_all_images_is_warned_of():
    records = tuple(Record(str(n), Path("x"), (0, 1) if n % 2 else (0,)) for n in range(20))
    (warning,) = check_labels(Index(NAMES, records), "train", True)
    assert "every image of list 'train' shows cat. A class is learned" in warning
    of_all = learned(40, 1.0)
    assert not of_all.can_tell
    assert not classifier_warnings([of_all]), "said once is enough"


def test_a_run_in_which_no_class_is_above_chance_stops_unless_told_to_go_on(monkeypatch, tmp_path):
    cfg, nothing = Config(), Index(NAMES, ())
    run = Run(override(cfg, [f"run={tmp_path}"]))
    assert check_learned(cfg, run, None, nothing) == {}  # cam.held_back is 0
    kept = check_learned(override(cfg, ["cam.held_back=0.1"]), run, None, nothing)  # too few images
    assert "nothing tells whether the classes have been learned" in kept["warnings"][0]
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: [learned(10, 0.27)])
    held = Index(NAMES, tuple(Record(str(number), Path("x"), (0,)) for number in range(40)))
    with pytest.raises(UserError, match="has learned nothing"):
        check_learned(cfg, run, None, held)
    kept = check_learned(override(cfg, ["cam.must_learn=false"]), run, None, held)
    assert kept["ap cat"] == 0.27
    assert "cannot be told from chance" in kept["warnings"][0]
    lines = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "cannot be told from chance" in line]
    assert lines
    assert all("WARNING" in line for line in lines)


def test_few_images_of_several_classes_tell_together(monkeypatch, tmp_path):
    """Two of six images: no figure of one class is better than chance, three good ones together are."""
    run = Run(override(Config(), [f"run={tmp_path}"]))
    held = Index(NAMES, tuple(Record(str(number), Path("x"), (0,)) for number in range(6)))
    good, bad = [learned(2, 0.9, 6)] * 3, [learned(2, 0.4, 6)] * 3
    assert not any(row.can_tell for row in good)
    assert together(good, 6).is_learned
    assert not together(bad, 6).is_learned
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: good)
    assert "too few images were held back" in check_learned(Config(), run, None, held)["warnings"][0]
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: bad)
    with pytest.raises(UserError, match="of 6 images held back"):
        check_learned(Config(), run, None, held)


def masks(folder: Path, values: np.ndarray, count: int = 4) -> Index:
    """An index of images of a cat with these masks, and one of none."""
    for number in range(count):
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / f"i{number}.jpg")
        write_mask(folder / f"i{number}.png", values)
    records = [Record(f"i{n}", folder / f"i{n}.jpg", (0,) if n else ()) for n in range(count)]
    return Index(NAMES, tuple(records))


def square(side: int) -> np.ndarray:
    mask = np.zeros((40, 40), np.uint8)
    mask[:side, :side] = 1
    return mask


@pytest.mark.parametrize(
    ("side", "of_masks", "of_network"), [(0, "there is none", "draws none"), (10, "", ""), (39, "cover more", "more")]
)
def test_objects_nowhere_or_everywhere_are_warned_of(tmp_path, monkeypatch, side, of_masks, of_network):
    index = masks(tmp_path, square(side))
    drawn = torch.nn.functional.one_hot(torch.from_numpy(square(side)).long(), 3).permute(2, 0, 1)[None].float()
    monkeypatch.setattr("stages.learned.cell_probabilities", lambda *_: drawn)
    cfg, compute = override(Config(), ["workers=0"]), Compute(torch.device("cpu"))
    drawing = mask_warnings(cfg, index, tiny_classifier(), compute)
    for found, what, says in (
        (pseudo_warnings(index, tmp_path), "pseudo masks", of_masks),
        (drawing, "images", of_network),
    ):
        assert len(found) == bool(says)
        assert all(f"in 3 of 3 {what}" in warning and says in warning for warning in found)
