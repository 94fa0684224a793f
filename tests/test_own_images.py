"""README's command for own images, where nothing can be learned from them, and where it can."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT, Ended, call

COLOURS = {"fire": (200, 60, 40), "grass": (50, 170, 60)}
QUICK = (
    "cam.epochs=1 cam.least_steps=12 cam.batch_size=8 cam.crop_size=64 cam.resize_long=[64,64] cam.held_back=0.25 "
    "cam.frozen_stride=16 seeds.min_side=0 workers=0 device=cpu"
)
TINY = ("model.backbone=tiny", "model.weights=none", "cam.least_steps=2", "cam.frozen_stride=0")
LONG = pytest.param((), marks=pytest.mark.long)
NETWORKS = pytest.mark.parametrize("more", [TINY, LONG], ids=["tiny", "of photographs"])
BOTH = [*COLOURS] * 24


def train(folder: Path, colours: Sequence[str], labels: Sequence[str], *more: str) -> Ended:
    """Images of these colours, with these labels; "" is an image of none of the classes."""
    random, table = np.random.default_rng(0), "image,labels\n"
    for number, (colour, label) in enumerate(zip(colours, labels, strict=True)):
        pixels = np.array(COLOURS[colour]) + random.normal(0, 30, (40, 48, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        table += f"{number}.png,{label}\n"
    (folder / "labels.csv").write_text(table)
    settings = [*QUICK.split(), f"data.root={folder}", f"checkpoint={folder}/best.pth", *more]
    options = [word for setting in settings for word in ("--set", setting)]
    command = ("--config", ROOT / "config.yaml", "--preset", "folder", "--run", folder / "run", "--stages", "cam")
    return call("train", *command, *options)


def test_classes_that_can_be_told_are_learned(tmp_path):
    ended = train(tmp_path, BOTH, BOTH).well()
    assert "average precision of 12 images held back: fire" in ended.out
    assert "WARNING" not in ended.out


@NETWORKS
def test_random_labels_end_the_run_unless_it_is_told_to_go_on(tmp_path, tiny_backbone, more):
    labels = np.random.default_rng(1).permutation(BOTH).tolist()
    ended = train(tmp_path, BOTH, labels, *more)
    assert (ended.code, "has learned nothing" in ended.err, "cam.must_learn=false" in ended.err) == (2, True, True)
    assert train(tmp_path, BOTH, labels, *more, "cam.must_learn=false").code == 0


@NETWORKS
@pytest.mark.parametrize("without", ["grass", ""])
def test_twelve_images_are_said_to_be_too_few_to_tell(tmp_path, tiny_backbone, without, more):
    ended = train(tmp_path, BOTH[:12], ["fire", without] * 6, *more, "cam.held_back=0.1").well()
    assert "WARNING" in ended.out
    assert "give at least ten images of each class" in ended.out
