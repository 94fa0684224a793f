"""What is said of a run that has learned nothing."""

from pathlib import Path

import numpy as np
import pytest

from data.artifacts import Seed, write_seed
from data.dataset import Index, Record
from stages.cam import check_labels, check_learned, class_weights
from stages.config import Config, override
from stages.learned import Learned, classifier_warnings, map_warnings
from utils.errors import UserError
from utils.ranking import chance_level
from utils.run import Run

NAMES = ("cat", "dog")


def learned(images: int, precision: float, count: int = 40) -> Learned:
    return Learned("cat", images, precision, *chance_level(images, count))


def test_a_class_at_chance_is_named_with_its_figures_and_no_other():
    assert learned(10, 0.9).is_learned
    assert classifier_warnings([learned(10, 0.9)]) == []
    (warning,) = classifier_warnings([learned(10, 0.27), learned(10, 0.95)])
    assert "cat 0.27 (chance 0.3" in warning
    assert "10 images" in warning


@pytest.mark.parametrize("images", [0, 40])
def test_a_class_of_all_images_or_of_none_cannot_be_told(images):
    assert not learned(images, 1.0).can_tell
    assert "too few" in classifier_warnings([learned(images, 1.0)])[0]


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


def test_a_run_in_which_no_class_is_above_chance_stops_unless_told_to_go_on(monkeypatch, tmp_path):
    cfg, nothing = Config(), Index(NAMES, ())
    run = Run(override(cfg, [f"run={tmp_path}"]))
    assert check_learned(cfg, run, None, nothing) == {}  # cam.held_back is 0
    kept = check_learned(override(cfg, ["cam.held_back=0.1"]), run, None, nothing)  # too few images
    assert "nothing tells whether the classes have been learned" in kept["warnings"][0]
    monkeypatch.setattr("stages.cam.what_classes_learned", lambda *_: [learned(10, 0.27)])
    held = Index(NAMES, (Record("a", Path("x"), (0,)),))
    with pytest.raises(UserError, match="has learned nothing"):
        check_learned(cfg, run, None, held)
    kept = check_learned(override(cfg, ["cam.must_learn=false"]), run, None, held)
    assert kept["ap cat"] == 0.27
    assert "not above chance" in kept["warnings"][0]
    lines = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "not above chance" in line]
    assert len(lines) == 2
    assert all("WARNING" in line for line in lines)
