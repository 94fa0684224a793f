"""A new entry of a table is a function and a line, and the whole pipeline takes it."""

import re
from dataclasses import replace

import pytest

from data.dataset import Index
from data.index import KINDS
from data.voc import open_voc
from models.backbone import BACKBONES
from stages.choices import check_choices
from stages.config import Config
from stages.refinement import REFINEMENTS
from stages.walk import WALKS, WalkKind
from tests.models.tiny import TinyBackbone, tiny_classifier
from tests.project import Project, call, names
from utils.errors import UserError

ADDED = ("data.kind=reversed", "model.backbone=tiny", "affinity.kind=shift", "pseudo.refine=swap")
SETTINGS = [word for setting in ADDED for word in ("--set", setting)]


def open_reversed(data, list_name, masks, complain) -> Index:
    """A kind of data: a VOC folder, its list from the end."""
    index = open_voc(data.root, list_name, masks=masks, complain=complain)
    return replace(index, records=index.records[::-1])


@pytest.fixture
def added(monkeypatch) -> dict[str, list]:
    """One more entry in each table; what the refinement and the walk were called with."""
    seen: dict[str, list] = {"swap": [], "shift": []}

    def swap(image, probabilities, settings):
        seen["swap"].append((image.shape[-2:], probabilities.shape[-2:]))
        return probabilities.flip(0)

    def open_shift(cfg, run):
        def walk(image, maps):
            seen["shift"].append(maps.shape)
            return maps.roll(1, dims=-1)

        return tiny_classifier(), walk

    monkeypatch.setitem(KINDS, "reversed", open_reversed)
    monkeypatch.setitem(BACKBONES, "tiny", lambda imagenet: TinyBackbone())
    monkeypatch.setitem(REFINEMENTS, "swap", swap)
    monkeypatch.setitem(WALKS, "shift", WalkKind(open_shift, ("seed",)))
    return seen


def test_one_more_of_each_runs_through_the_pipeline(added, project: Project):
    ended = project.train(*SETTINGS)
    assert ended.code == 0, ended.err
    assert ended.stages("done") == [
        "cam",
        "seeds",
        "context",
        "part",
        "ibb",
        "fuse",
        "walk",
        "pseudo",
        "segment",
        "ladder",
        "report",
    ]
    trained, measured = len(names(project, "train")), len(names(project, "val"))
    assert len(added["swap"]) == trained + measured
    assert all(of_image == of_maps for of_image, of_maps in added["swap"])
    assert len(added["shift"]) == trained + 2 * measured
    assert project.train(*SETTINGS).stages("done") == []
    assert project.train(*SETTINGS, "--set", "seed=1", "--stages", "walk").stages("done") == [
        "walk"
    ]  # which the walk reads
    checkpoint = project.run / "segmenter.pth"
    masks = project.folder / "out"
    ended = call(
        "infer",
        "--input",
        project.folder / "voc/JPEGImages",
        "--limit",
        "2",
        "--model_path",
        checkpoint,
        "--output",
        masks,
    )
    assert ended.code == 0, ended.err
    assert len(list((masks / "masks").glob("*.png"))) == 2
    figures, _ = project.evaluate(*SETTINGS, "--model_path", checkpoint)
    assert figures.code == 0, figures.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "data.kind=vocc",
            r"'data\.kind' must be one of voc, coco, folder, shapes, found 'vocc'; did you mean 'voc'\?",
        ),
        ("model.backbone=resnet5", r"'model\.backbone' must be one of .*; did you mean 'resnet50'\?"),
        ("affinity.kind=learnt", r"'affinity\.kind' must be one of none, learned, features, .*'learned'"),
        ("affinity.refine=krf", r"'affinity\.refine' must be one of auto, none, par, crf, .*'crf'"),
        ("pseudo.refine=median", r"'pseudo\.refine' must be one of none, par, crf, found 'median'$"),
    ],
)
def test_a_name_that_is_in_no_table_is_told_before_any_work(setting, message, project: Project):
    ended = project.train("--set", setting)
    assert ended.code == 2
    assert re.search(message, ended.err.strip()), ended.err
    assert not ended.stages("train") + ended.stages("done")


def test_the_defaults_are_in_the_tables():
    check_choices(Config())
    with pytest.raises(UserError):
        check_choices(replace(Config(), data=replace(Config().data, kind="")))
