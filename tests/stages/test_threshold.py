"""The threshold that is found without truth."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from data.artifacts import Seed, write_seed
from data.dataset import Index, Record
from data.hint_shapes import Shape
from data.hints import Hints, Said
from data.pixels import PixelRule
from stages.config import Config, override
from stages.threshold import (
    Choice,
    choose,
    choose_threshold,
    find_threshold,
    separating_value,
    with_found_threshold,
)
from utils.run import Run

SIZE = (160, 160)


def seed(maps: np.ndarray) -> Seed:
    return Seed(np.arange(len(maps)), maps.astype(np.float32), SIZE)


def found(maps: np.ndarray, by_roots: bool = False) -> Choice | None:
    """The choice for four images with these maps."""
    return choose(lambda: [seed(maps)] * 4, by_roots)


def blob(value: float = 1.0, side: int = 16, around: float = 0.0) -> np.ndarray:
    """A map (1, 40, 40) with one square object."""
    one = np.full((1, 40, 40), around)
    one[:, 4 : 4 + side, 6 : 6 + side] = value
    return one


def test_two_groups_of_values_are_separated_between_them_and_no_regions_are_counted(monkeypatch):
    monkeypatch.setattr("stages.threshold.regions_above", pytest.fail)
    histogram = np.zeros(256)
    histogram[[20, 25, 30]], histogram[[200, 210]] = 100, 40
    assert 30 / 255 <= separating_value(histogram) < 200 / 255
    assert 0.3 < found(blob(0.8, around=0.3)).threshold < 0.8
    assert choose(list, False) is None


def test_many_objects_in_each_image_are_kept():
    """Their number says nothing: a rule that wanted few regions cut them all away."""
    spots = np.zeros((1, 40, 40))
    for row, column in np.ndindex(5, 5):
        spots[0, row * 8 : row * 8 + 3, column * 8 : column * 8 + 3] = 0.4 + 0.02 * (row + column)
    choice = found(spots)
    assert 0 < choice.threshold < 0.4
    assert "14.06%" in choice.reason


def test_maps_that_are_low_on_most_of_an_object_are_cut_lower(index, tmp_path):
    faint = np.zeros((1, 40, 40))
    faint[0, 5:25, 5:25] = np.linspace(0.1, 1, 400).reshape(20, 20) ** 3
    plain, low = (found(faint, by_roots).threshold for by_roots in (False, True))
    assert 0 < low < plain
    folder = tmp_path / "seeds_context"
    for record in index.records:
        write_seed(folder / f"{record.name}.npz", seed(faint if record.labels else faint[:0]))
    assert find_threshold(index, folder).threshold == low


@pytest.mark.parametrize(("specks", "least"), [(3, 0.45), (40, 0.0)])
def test_noise_around_tiny_objects_is_cut_away_unless_most_would_be_lost(specks, least):
    random, noisy = np.random.default_rng(0), blob(side=2)
    noisy[0, random.integers(20, 40, specks), random.integers(0, 20, specks) * 2] = 0.48
    choice = found(noisy)
    assert least < choice.threshold < (1.0 if least else 0.45)
    assert ("tiny" in choice.reason) == bool(least)


def test_regions_that_a_person_has_clicked_are_no_noise():
    objects, clicks = np.zeros((1, 40, 40)), np.zeros((1, 40, 40), bool)
    for column in (4, 14, 24):
        objects[0, 4:6, column : column + 2] = 0.8
        clicks[0, 4, column] = True
    assert "tiny" not in found(np.where(clicks, 2, objects)).reason
    objects[0, 30, 4:40:6] = 0.6
    assert found(objects).threshold < 0.6 < found(np.where(clicks, 2, objects)).threshold


@pytest.mark.parametrize("untold", [30, 4])  # with few others, hinted images are looked at, without what is told
def test_what_a_person_has_said_chooses_no_threshold(tmp_path, untold):
    records, images = [], {}
    for number in range(60):
        name, maps = f"i{number}", blob(0.5, around=0.3)
        records.append(Record(name, tmp_path / f"{name}.jpg", (0,)))
        if number >= untold:
            maps[0, 20:, 10:] = 1.0
            images[name] = Said(SIZE, [(Shape("polygon", "cat", ((40, 80), (160, 80), (160, 160), (40, 160))), 0)])
        write_seed(tmp_path / f"{name}.npz", seed(maps))
    index = Index(("cat",), tuple(records))
    assert find_threshold(index, tmp_path).threshold > 0.5
    assert 0.3 < find_threshold(index, tmp_path, Hints(images)).threshold < 0.5


@pytest.fixture
def index(tmp_path) -> Index:
    """Five images, one without a class."""
    records = []
    for number in range(5):
        maps = blob(0.8, around=0.3) if number else np.zeros((0, 40, 40))
        write_seed(tmp_path / f"i{number}.npz", seed(maps))
        records.append(Record(f"i{number}", tmp_path / f"i{number}.jpg", (0,) if number else ()))
    return Index(("cat",), tuple(records))


def test_it_is_used_where_it_is_asked_for_lower_where_masks_are_refined_and_shown_on_a_sheet(index, tmp_path, caplog):
    asked = override(Config(), ["pseudo.find_threshold=true", "pseudo.threshold=0.25"])
    assert with_found_threshold(asked, tmp_path / "run").pseudo.threshold == 0.25
    assert "threshold.json" in caplog.text
    bands, records = np.stack([np.full(SIZE, 40 * number, np.uint8) for number in range(1, 7)]), []
    for record in index.records:
        image = tmp_path / f"{record.name}.tif"
        tifffile.imwrite(image, bands, photometric="minisblack")
        records.append(replace(record, image=image, pixels=PixelRule((0, 255), (6, 1, 3))))
    index, cuts = Index(index.class_names, tuple(records)), {}
    for refine in ("none", "par"):
        cfg = override(Config(), ["pseudo.find_threshold=true", f"pseudo.refine={refine}", f"run={tmp_path / 'run'}"])
        changed, kept, _ = choose_threshold(cfg, Run(cfg), index, tmp_path)
        cuts[refine] = changed.pseudo.threshold
        assert with_found_threshold(cfg, tmp_path / "run").pseudo.threshold == kept["threshold"] == cuts[refine]
    sheet = np.asarray(Image.open(tmp_path / "run/threshold.jpg"), np.int16).reshape(-1, 3)
    assert (np.abs(sheet - (240, 40, 120)).max(axis=1) < 12).mean() > 0.1, "bands 6, 1 and 3 as red, green and blue"
    given = override(cfg, ["pseudo.find_threshold=false", "pseudo.threshold=0.2"])
    choose_threshold(given, Run(given), index, tmp_path)  # infer.py with the classifier, whose settings are the former
    assert with_found_threshold(cfg, tmp_path / "run").pseudo.threshold == 0.2
    assert with_found_threshold(Config(), tmp_path / "run").pseudo.threshold == Config().pseudo.threshold
    assert cuts["none"] == find_threshold(index, tmp_path).threshold == found(blob(0.8, around=0.3)).threshold
    assert cuts["par"] == pytest.approx(0.9 * cuts["none"], abs=1e-3)
