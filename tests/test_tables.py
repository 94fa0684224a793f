"""A new step, backbone, kind of data or refinement is one line in a list or a table, and everything takes it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import yaml
from torch import Tensor

from data.dataset import Index
from data.index import KINDS
from data.transforms import Sides
from data.voc import open_voc
from docs import settings as docs_settings
from evaluation.report_page import write_report_page
from evaluation.stages import pipeline
from models.backbone import BACKBONES
from models.steps import STEPS, Step
from stages.config import load_config
from stages.dataset_steps import DATASET_STEPS
from stages.pseudo import REFINEMENTS
from stages.reading import Apply, Change, DatasetStep, Fit
from stages.walk import WALKS, WalkKind
from tests.models.tiny import TinyBackbone
from tests.pages.test_page import Page
from tests.project import Ended, Project, call, names
from utils.errors import UserError
from utils.run import Run
from utils.settings import Part, setting

ADDED = ("data.kind=reversed", "model.backbone=another", "affinity.kind=shift", "pseudo.refine=swap")
SETTINGS = [word for text in ADDED for word in ("--set", text)]


@dataclass(frozen=True)
class Sharpen(Step):
    """A step of the method: maps to a power."""

    name, title = "sharpen", "sharpening"
    enabled: bool = setting(True, help="raise the maps to a power")
    power: float = setting(2.0, low=0.1, high=10, help="the power")

    def __call__(self, maps, reading, before):
        return maps**self.power


@dataclass(frozen=True)
class Mirroring:
    """The settings of a step over the data set."""

    weight: float = setting(1.0, low=0, high=1, help="of the mirrored maps")


def mirror(seen: list) -> DatasetStep:
    """A step over the data set with settings: it writes down how many seeds there are, and mirrors each."""

    def learn(cfg, run, seeds):
        count = len(list(seeds.glob("*.npz")))
        run.path("mirror.json").write_text(json.dumps(count))
        return {"seeds": count}

    def open_mirror(cfg, folder, classifier):
        assert json.loads((folder / "mirror.json").read_text()) > 0
        weight = cfg.part("mirror").weight
        change = lambda maps, *_: seen.append(weight) or maps.lerp(maps.flip(-1), weight)  # noqa: E731
        return Change(classifier, Sides(), lambda *_: None, change)

    fit = Fit("count", "count the seeds", learn, ("seed",), "mirror.json", publishes=False)
    reads, files = lambda cfg: ("mirror",), lambda cfg, classifier: ("mirror.json",)
    apply = Apply("mirror", "mirror the seeds", open=open_mirror, reads=reads, files=files)
    part = Part("mirror", "mirror", Mirroring)
    return DatasetStep("mirror", "mirroring", settings=(part,), skip=lambda cfg: None, apply=apply, fit=fit)


def open_reversed(data, list_name, masks, complain) -> Index:
    """A kind of data: a VOC folder, its list from the end."""
    index = open_voc(data.root, list_name, masks=masks, complain=complain)
    return replace(index, records=index.records[::-1])


@dataclass
class Extended:
    """A finished run of a project with one more of everything."""

    project: Project
    ended: Ended
    seen: dict[str, list]


@pytest.fixture(scope="module")
def extended(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extended]:
    """One more entry in each list and table for as long as these tests run, and one run with all of them."""
    seen: dict[str, list] = {"swap": [], "shift": [], "mirror": []}

    def swap(image: Tensor, probabilities: Tensor, settings) -> Tensor:
        seen["swap"].append((image.shape[-2:], probabilities.shape[-2:]))
        return probabilities.flip(0)

    def open_shift(cfg, folder, classifier) -> Change:
        def change(maps: Tensor, *_: None) -> Tensor:
            seen["shift"].append(maps.shape)
            return maps.roll(1, dims=-1)

        return Change(classifier, Sides(), lambda *_: None, change)

    step = mirror(seen["mirror"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "reversed", open_reversed)
        patch.setitem(BACKBONES, "another", lambda imagenet: TinyBackbone())
        patch.setitem(REFINEMENTS, "swap", swap)
        patch.setitem(WALKS, "shift", WalkKind(open_shift, ("channels_last",)))
        STEPS.insert(2, Sharpen)
        DATASET_STEPS.append(step)
        try:
            project = finished.copy(tmp_path_factory.mktemp("extended"))
            ended = project.train(*SETTINGS).well()
            yield Extended(project, ended, {name: list(calls) for name, calls in seen.items()})
        finally:
            STEPS.remove(Sharpen)
            DATASET_STEPS.remove(step)


def test_the_pipeline_takes_all_of_them(extended: Extended):
    stages = "cam seeds context remove ibb correct walk count mirror pseudo segment ablation report"
    assert extended.ended.stages("done") == stages.split()
    training, validation = len(names(extended.project, "train")), len(names(extended.project, "val"))
    assert len(extended.seen["swap"]) == training + validation
    assert all(of_image == of_maps for of_image, of_maps in extended.seen["swap"])
    assert len(extended.seen["shift"]) == len(extended.seen["mirror"]) == training + 2 * validation
    assert extended.project.train(*SETTINGS).stages("done") == []


def test_a_step_has_a_section_in_the_configuration(extended: Extended, tmp_path):
    written, shown = (extended.project.run / "config.yaml").read_text(), docs_settings.settings_text()
    for part, key, defaults, about, bounds in (
        ("steps.sharpen", "sharpen.power", {"enabled": True, "power": 2.0}, "the power", "between 0.1 and 10"),
        ("mirror", "mirror.weight", {"weight": 1.0}, "of the mirrored maps", "between 0 and 1"),
    ):
        section, name = key.split(".")
        assert getattr(load_config(None, overrides=[f"{key}=0.5"]).part(part), name) == 0.5
        (tmp_path / "settings.yaml").write_text(f"{section}: {{{name}: 0.25}}\n")
        assert getattr(load_config(tmp_path / "settings.yaml").part(part), name) == 0.25
        for text, message in (
            (f"{key}=11", f"'{key}' must be {bounds}, found 11"),
            (f"{key}=high", f"'{key}' must be of type float"),
            (f"{key}x=3", f"unknown setting '{key}x'; did you mean '{key}'?"),
        ):
            with pytest.raises(UserError, match=re.escape(message)):
                load_config(None, overrides=[text])
        assert yaml.safe_load(written)[section] == yaml.safe_load(shown)[section] == defaults
        assert f"# {about}" in shown
        assert f"| `{key}` | `{defaults[name]}` | {about} |" in docs_settings.table_text(section)


def test_what_a_step_reads_makes_its_files_again(extended: Extended, tmp_path):
    for text, stages, again in (
        ("mirror.weight=0.5", "count,mirror", ["mirror"]),
        ("seed=1", "count,mirror", ["count", "mirror"]),  # the fit reads it
        ("channels_last=false", "walk", ["walk"]),
        ("sharpen.power=3", "cam,seeds,ablation", ["seeds", "ablation"]),
    ):
        project = extended.project.copy(tmp_path / text)
        assert project.train(*SETTINGS, "--set", text, "--stages", stages).well().stages("done") == again


def test_the_ablation_and_the_report_have_its_rows(extended: Extended):
    run, validation = extended.project.run, sorted(names(extended.project, "val"))
    for folder in ("ablation/given/sharpen", "ablation_steps/given/mirror", "ablation_steps/predicted/mirror"):
        assert sorted(path.stem for path in (run / folder).glob("*.npz")) == validation
    titles = list(json.loads((run / "report.json").read_text()))
    assert titles[:4] == ["CAM", "+ GFM", "+ sharpening", "+ PRM"]
    assert titles.index("+ random walk") + 1 == titles.index("+ mirroring")
    assert "mirroring, predicted labels" in titles
    page = Page(run / "report.html")
    assert {"+ sharpening", "+ mirroring", "+ mirroring, map"} <= {layer["name"] for layer in page.items[0]["layers"]}
    assert "sharpen.power" not in page.text  # as by default
    write_report_page(pipeline(), load_config(run / "config.yaml", overrides=["mirror.weight=0.5"]), Run.reopen(run))
    assert "mirror.weight 0.5" in " ".join(Page(run / "report.html").text.split())


@pytest.mark.parametrize("checkpoint", ["classifier.pth", "segmenter.pth"])
def test_infer_and_evaluate_take_all_of_them(extended: Extended, tmp_path, checkpoint):
    model = ("--model_path", extended.project.run / checkpoint)
    inputs = ("--input", extended.project.folder / "voc/JPEGImages", "--limit", "2", "--output", tmp_path / "out")
    call("infer", *inputs, *model, "--set", "device=cpu", "--set", "mirror.weight=0.25").well()
    assert len(list((tmp_path / "out/masks").glob("*.png"))) == 2
    settings = json.loads((tmp_path / "out/predictions.json").read_text())["settings"]
    if checkpoint == "classifier.pth":
        assert settings["steps"]["sharpen"] == {"enabled": True, "power": 2.0}
        assert list(settings["dataset steps"]) == ["context", "trained", "walk", "mirror"]
        assert settings["mirror"] == {"weight": 0.25}
    extended.project.evaluate_only(*SETTINGS, *model).well()
