"""Truth is there and can be right, before anything is measured."""

import contextlib
import logging
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import evaluate
from data.artifacts import voc_palette, write_mask
from data.dataset import Index, Record
from data.index import open_index
from data.mask_values import truth_rule
from data.settings import DataSettings
from evaluation import truth
from evaluation.truth import check_predictions, check_truth, warn_of_trained, why_no_truth
from stages.config import Config
from tests.data.layouts_of_tools import coco, put, put_json
from utils.errors import UserError


def index(folder: Path, *masks: np.ndarray, label: int = 0) -> Index:
    records = []
    for number, mask in enumerate(masks):
        write_mask(folder / f"{number}.png", mask)
        records.append(Record(f"{number}", folder / f"{number}.jpg", (label,), folder / f"{number}.png"))
    return Index(("cat", "dog"), tuple(records))


def test_a_list_is_read_once_and_again_when_a_mask_has_changed_or_is_gone(tmp_path, monkeypatch):
    found = index(tmp_path, np.ones((3, 4)), np.ones((3, 4)))
    real = truth.read_with_facts
    read = []
    monkeypatch.setattr(truth, "read_with_facts", lambda *given: (read.append(given[0]), real(*given))[1])
    check_truth(found, 0)
    check_truth(found, 0)
    assert len(read) == 2
    for name in ("0", "1"):
        write_mask(tmp_path / f"{name}.png", np.tile([0, 255], (30, 20)))
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"hold only 0 and 255.*data.mask_values=\{0: background, 255: cat\}"):
            check_truth(found, workers)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"1\.png has no mask.* 1 of 2 have none"):
        check_truth(found, 0)


def test_validation_images_that_were_trained_on_are_told_and_other_classes_refused(tmp_path, caplog, monkeypatch):
    document = coco("1.png", "2.png")
    for name in ("train", "val"):
        put_json(tmp_path, f"annotations/instances_{name}.json", document)
        put(tmp_path / name, "1.png", "2.png")
    shutil.copy(tmp_path / "train/1.png", tmp_path / "val/2.png")
    Image.effect_noise((8, 8), 50).save(tmp_path / "val/1.png")
    data = DataSettings(kind="coco", root=str(tmp_path), train_list="train", val_list="val")
    cfg = Config(run=str(tmp_path / "run"), data=data)
    assert why_no_truth(cfg) is None
    with caplog.at_level(logging.WARNING):
        warn_of_trained(cfg, open_index(data, "val"))
    assert "1 of 2 images of list 'val' are in list 'train', too: figures on them say little" in caplog.text
    caplog.clear()
    checkpoint = SimpleNamespace(config=cfg.to_dict(), class_names=("cat", "dog"), backbone="")
    monkeypatch.setattr(evaluate, "load_network", lambda path: (None, checkpoint))
    monkeypatch.setattr(evaluate, "evaluate_network", lambda *given: {})
    for split in ("val", "train"):
        evaluate.evaluate(Namespace(split=split, seeds="", masks="", model_path="a.pth", output=None), cfg)
    assert caplog.text.count("1 of 2 images of list 'val' are in list 'train', too") == 1
    document["categories"].reverse()
    document["categories"][0]["id"], document["categories"][1]["id"] = 1, 2
    put_json(tmp_path, "annotations/instances_val.json", document)
    with pytest.raises(UserError, match="list 'train' has the classes cat, dog, list 'val' has dog, cat"):
        why_no_truth(cfg)


def test_contradictions_of_masks_and_labels_are_a_warning(tmp_path, caplog):
    right, wrong = np.tile([0, 1], (3, 2)), np.tile([0, 2], (3, 2))
    check_truth(index(tmp_path / "truth", right, right, right, right, wrong), 0)
    assert "the masks of 1 of 5 images contradict their labels" in caplog.text
    found = index(tmp_path, *[right] * 2, *[wrong] * 3)
    check_predictions(found, tmp_path, 0)
    assert "3 of 5 masks hold none of the labels of their images, first" in caplog.text
    caplog.clear()
    next(tmp_path.glob("*.png")).unlink()  # which is the first thing to mend
    check_predictions(found, tmp_path, 0)
    assert not caplog.text


@pytest.mark.parametrize(
    ("values", "palette", "told"),
    [
        ([0, 255], None, "hold 0 and 255 and no class"),
        ([0, 1], [[224, 224, 192], [0, 128, 0]], "value 0 has #e0e0c0, the colour of ignore; value 1 has #008000"),
        ([0, 1], None, ""),
    ],
)
def test_predictions_with_values_that_are_not_those_of_the_classes_are_told(tmp_path, caplog, values, palette, told):
    write_mask(tmp_path / "0.png", np.tile(values, (3, 2)), palette and np.array(palette))
    records = tuple(Record("0", tmp_path / "0.jpg", (label,)) for label in (0, 1))
    rule = truth_rule({}, ("cat", "dog"), "background", voc_palette())
    found = Index(("cat", "dog"), tuple(replace(record, truth=rule) for record in records))
    remedy = r"write class values 0..2 \(0 background, 1 cat\) instead"
    with pytest.raises(UserError, match=f"{told}.*{remedy}") if told else contextlib.nullcontext():
        check_predictions(found, tmp_path, 0)
    assert bool(told) != ("no class but cat (value 1), and the images show 2" in caplog.text)
