"""The commands of the README as they are, on own images and on COCO's, with settings that make a run tiny."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask
from data.shapes import SHAPES_CLASSES, scenes
from tests.project import ROOT, Ended, call

TINY = [
    *("device=cpu", "workers=0", "model.backbone=tiny", "model.weights=none", "report.thresholds=4"),
    *("seeds.max_side=48", "seeds.class_threshold=0.95", "pseudo.refine=none", "ibb.iterations=1", "ibb.epochs=1"),
    *("cam.epochs=1", "cam.batch_size=4", "cam.crop_size=32", "cam.resize_long=[32,48]", "cam.scales=[1.0]"),
    *("cam.lr=0.01", "segment.stage=-2", "segment.from_classifier=false", "segment.epochs=1", "segment.batch_size=4"),
    *("segment.crop_size=32", "segment.scales=[1.0]", "segment.max_side=48", "affinity.epochs=1", "affinity.radius=4"),
    *("affinity.batch_size=4", "affinity.crop_size=48", "affinity.max_side=48", "affinity.refine=none"),
    *("ibb.crop_size=32", "ibb.max_side=48", "cam.least_steps=8", "segment.least_steps=8"),
]


def indented(section: str) -> list[str]:
    """The indented lines of a section: commands and code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = re.search(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL).group(1)
    return [line.strip() for line in body.splitlines() if line.startswith("    ")]


def commands(section: str) -> list[list[str]]:
    """The commands of a section, as words without `python`."""
    return [shlex.split(line)[1:] for line in indented(section) if line.startswith("python ")]


@dataclass
class Reader:
    """Somebody who runs what the README says, from one folder."""

    folder: Path
    named: dict[str, Path]  # words of the README -> what they stand for here

    def run(self, words: list[str]) -> Ended:
        """A command, with its paths replaced and, if it takes settings, a tiny run."""
        named = self.named | {"out/": self.folder / "out", "checkpoints/best_model.pth": self.folder / "best_model.pth"}
        known = "|".join(map(re.escape, named))
        words = [re.sub(known, lambda match: str(named[match.group()]), word) for word in words]
        script = words.pop(0)
        if script == "-m":
            script = words.pop(0)
            words += ["--output", str(self.folder / "check")]
        if script.startswith("train"):
            tiny = [*TINY, f"run={self.folder / 'run'}", f"checkpoint={self.folder / 'best_model.pth'}"]
            words += [word for setting in tiny for word in ("--set", setting)]
        if script.startswith("evaluate"):
            words += ["--json", str(self.folder / "figures.json")]
        return call(script.removesuffix(".py"), *words)

    def run_all(self, section: str) -> dict[str, Ended]:
        """Every command of a section in order; how each kind ended last."""
        ended = {}
        for words in commands(section):
            result = self.run(words)
            assert result.code == 0, (words, result.err)
            ended[words[1] if words[0] == "-m" else words[0]] = result
        return ended

    def figures(self) -> dict:
        return json.loads((self.folder / "figures.json").read_text())


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch, tiny_backbone):
    monkeypatch.chdir(ROOT)


def others(folder: Path) -> Path:
    folder.mkdir()
    for index, scene in enumerate(scenes(1, 2, 48)):
        Image.fromarray(scene.image).save(folder / f"new {index}.png")
    return folder


@pytest.mark.long
def test_a_folder_of_images_sorted_by_class(tmp_path):
    """Two images of each of three classes and one of none, masks for some; a table of labels gives the same index."""
    own = tmp_path / "own images"
    kept = [scene for scene in scenes(0, 40, 48) if scene.labels in ((0,), (1,), (2,), (0, 1), (0, 2))]
    chosen = [scene for label in range(3) for scene in [one for one in kept if label in one.labels][:2]]
    classes = sorted({SHAPES_CLASSES[scene.labels[0]] for scene in chosen})
    values = [0, *(classes.index(name) + 1 if name in classes else 0 for name in SHAPES_CLASSES)]
    for index, scene in enumerate(chosen):
        mask = np.array(values, np.uint8)[scene.mask]
        for folder, pixels in ((own, scene.image), (own / "masks", mask))[: 1 + index % 2]:
            (folder / SHAPES_CLASSES[scene.labels[0]]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / SHAPES_CLASSES[scene.labels[0]] / f"bild {index}.png")
    (own / "background").mkdir()
    Image.new("RGB", (48, 40), "green").save(own / "background/meadow.png")
    reader = Reader(tmp_path, {"FOLDER": own, "OTHER_IMAGES": others(tmp_path / "new")})
    ended = reader.run_all("Your own images")
    assert "7 images" in ended["data.check"].out
    assert (reader.folder / "check/contact_sheet.jpg").is_file()
    assert len(list((reader.folder / "run/pseudo").rglob("*.png"))) == 7
    assert reader.figures()["n_images"] == 3
    assert set(reader.figures()["per_class"]) == {"background", *classes}
    masks = sorted((reader.folder / "out/masks").glob("*.png"))
    assert [path.stem for path in masks] == ["new 0", "new 1"]
    assert read_mask(masks[0]).shape == np.asarray(Image.open(reader.folder / "new/new 0.png")).shape[:2]
    assert (reader.folder / "out/index.html").is_file()


def few_of_coco(shared: Path, root: Path, count: int) -> None:
    """COCO's layout with the first images, half as many to validate on, and their annotations."""
    for list_name, kept in (("train2017", count), ("val2017", count // 2)):
        source = shared / "coco_mini"
        document = json.loads((source / f"annotations/instances_{list_name}.json").read_text())
        document["images"] = document["images"][:kept]
        ids = {image["id"] for image in document["images"]}
        document["annotations"] = [row for row in document["annotations"] if row["image_id"] in ids]
        (root / list_name).mkdir(parents=True)
        for image in document["images"]:
            shutil.copy(source / list_name / image["file_name"], root / list_name)
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{list_name}.json").write_text(json.dumps(document))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
@pytest.mark.parametrize("count", [4, pytest.param(80, marks=pytest.mark.slow)])
def test_coco(shared_data, tmp_path, count):
    few_of_coco(shared_data, tmp_path / "coco", count)
    reader = Reader(tmp_path, {"/data/coco": tmp_path / "coco", "IMAGES": others(tmp_path / "new")})
    ended = reader.run_all("COCO")
    assert set(ended) == {"train.py", "evaluate.py", "infer.py"}
    stages = json.loads((tmp_path / "run/stages.json").read_text())
    assert stages["cam"]["result"]["images"] == stages["seeds"]["result"]["images"] == count
    assert (reader.figures()["n_images"], len(reader.figures()["per_class"])) == (count // 2, 81)
    assert len(list((tmp_path / "coco/masks_cache/val2017").glob("*.png"))) == count // 2
    assert not (tmp_path / "coco/masks_cache/train2017").exists()
    assert len(list((tmp_path / "out/masks").glob("*.png"))) == 2


def test_lines_for_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(next(scenes(1, 1, 64)).image).save("photo.jpg")
    code = [line.replace("PATH/TO/IBBNet", str(ROOT)) for line in indented("Masks without training")[1:]]
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec("\n".join(code), {})
    assert read_mask(tmp_path / "mask.png").shape == Image.open("photo.jpg").size[::-1]
