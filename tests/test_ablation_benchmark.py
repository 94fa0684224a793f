"""The ablation: which rows it prints, and that each row equals the method with these steps."""

import pytest
import torch

from benchmarks.ablation import ReadOnce, chosen_rows, every_row, read_anew
from models.backbone import BACKBONES
from models.classifier import Classifier
from models.context import ContextDiscriminant
from models.segmenter import Segmenter
from stages.config import Config, load_config
from stages.dataset_steps import FullMethod
from stages.files import IBB
from stages.networks import save_network
from tests.models.tiny import TinyBackbone, tiny_classifier
from tests.project import call
from utils.compute import Compute

SETTINGS = [
    *("cam.scales=[1.0]", "gfm.min_stride=8", "model.backbone=tiny"),
    *("affinity.kind=features", "affinity.feature_strides=[8]"),
]
SWITCHES = {
    **{"gfm": "gfm.enabled=false", "prm": "prm.enabled=false", "ibb": "ibb.iterations=0"},
    **{"context": "context.enabled=false", "trained": "ibb.epochs=0", "walk": "affinity.kind=none"},
}
NAMES = tuple(SWITCHES)
CPU = Compute(torch.device("cpu"))


def settings(off: tuple[str, ...] = ()) -> Config:
    """With the steps of these names left out."""
    return load_config(None, overrides=[*SETTINGS, *(SWITCHES[name] for name in off)])


@pytest.fixture
def networks(tmp_path, monkeypatch) -> Classifier:
    """A classifier with context; the segmentation network of stage `ibb` is in `tmp_path`."""
    monkeypatch.setitem(BACKBONES, "tiny", lambda imagenet: TinyBackbone())
    random = torch.Generator().manual_seed(0)
    classifier = tiny_classifier()
    classifier.context = ContextDiscriminant(4, classifier.backbone.channels[3])
    classifier.context.weight.data.normal_(generator=random)
    torch.manual_seed(0)
    segmenter = Segmenter(TinyBackbone(), 5).eval()
    save_network(tmp_path / IBB, "segmenter", segmenter, ("a", "b", "c", "d"), settings(), {})
    return classifier.requires_grad_(False)


def test_each_step_of_a_run_alone_added_and_left_out_and_every_combination_once(networks, tmp_path):
    run = FullMethod(settings(), tmp_path, networks, CPU)
    rows = chosen_rows(run)
    assert list(rows)[:4] == ["CAM", "GFM", "PRM", "IBB"]
    assert rows["GFM + PRM + IBB + context + IBB in training + random walk"] == NAMES
    assert rows["all but PRM"] == ("gfm", "ibb", "context", "trained", "walk")
    for name in NAMES:
        assert (name,) in rows.values()
        assert tuple(other for other in NAMES if other != name) in rows.values()
    for count in range(len(NAMES) + 1):
        assert NAMES[:count] in rows.values()
    every = every_row(run)
    assert len(every) == len({frozenset(names) for names in every.values()}) == 64
    run = FullMethod(settings(off=("context", "trained")), tmp_path, networks, CPU)
    for rows in (chosen_rows(run), every_row(run)):
        assert {name for names in rows.values() for name in names} == {"gfm", "prm", "ibb", "walk"}


@pytest.mark.long
def test_each_row_equals_the_method_with_these_steps(networks, tmp_path):
    cfg = settings()
    pixels = torch.randint(256, (3, 61, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    item = {"image": pixels, "labels": torch.tensor([1, 0, 1, 0])}
    run = FullMethod(cfg, tmp_path, networks, CPU)
    image = ReadOnce(run, item)
    for title, on in every_row(run).items():
        own = settings(off=tuple(name for name in NAMES if name not in on))
        full = FullMethod(own, tmp_path, networks, CPU).trace(pixels, [0, 2])
        torch.testing.assert_close(image.maps(on), list(full.maps.values())[-1], msg=title)
    torch.testing.assert_close(read_anew(run, item, ("gfm", "walk")), image.maps(("gfm", "walk")))


def test_the_command_prints_a_line_for_each_row(finished):
    ended = call("benchmarks.ablation", finished.run, "--list", "train", "--every", "4", "--seconds").well()
    about, head, *rows = ended.out.splitlines()
    assert about.startswith("train, ")
    assert head.split()[-2:] == ["at", "s/image"]
    assert rows[0].startswith("CAM  ")
    assert len(rows) > 4
    assert all(float(row.split()[-1]) >= 0 for row in rows)
