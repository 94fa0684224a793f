"""The commands of the README as they are, on own images and on COCO's, with settings that make a run tiny."""

import csv
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
    "device=cpu",
    "workers=0",
    "model.backbone=efficientnet_lite0",
    "model.weights=none",
    "seeds.max_side=48",
    "seeds.class_threshold=0.95",
    "cam.epochs=1",
    "cam.batch_size=4",
    "cam.crop_size=32",
    "cam.resize_long=[32,48]",
    "cam.scales=[1.0]",
    "cam.lr=0.01",
    "ibb.iterations=1",
    "ibb.epochs=1",
    "pseudo.refine=none",
    "report.thresholds=4",
    "segment.stage=-2",
    "segment.from_classifier=false",
    "segment.epochs=1",
    "segment.batch_size=4",
    "segment.crop_size=32",
    "segment.scales=[1.0]",
    "segment.max_side=48",
    "affinity.epochs=1",
    "affinity.batch_size=4",
    "affinity.crop_size=48",
    "affinity.max_side=48",
    "affinity.radius=4",
    "affinity.refine=none",
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
        words = [
            re.sub("|".join(map(re.escape, named)), lambda match: str(named[match.group()]), word) for word in words
        ]
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
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def drawn() -> list[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Images, masks and labels; two images of each of three classes."""
    kept = [scene for scene in scenes(0, 40, 48) if scene.labels in ((0,), (1,), (2,), (0, 1), (0, 2))]
    chosen = [scene for label in range(3) for scene in [s for s in kept if label in s.labels][:2]]
    return [(scene.image, scene.mask, [SHAPES_CLASSES[label] for label in scene.labels]) for scene in chosen]


def others(folder: Path) -> Path:
    folder.mkdir()
    for index, scene in enumerate(scenes(1, 2, 48)):
        Image.fromarray(scene.image).save(folder / f"new {index}.png")
    return folder


def expect_own_images(
    reader: Reader, ended: dict[str, Ended], classes: list[str], trained: int, evaluated: int
) -> None:
    """Everything that the section promises is there."""
    assert f"{trained} images" in ended["data.check"].out
    assert (reader.folder / "check/contact_sheet.jpg").is_file()
    assert len(list((reader.folder / "run/pseudo").rglob("*.png"))) == trained
    assert reader.figures()["n_images"] == evaluated
    assert set(reader.figures()["per_class"]) == {"background", *classes}
    masks = sorted((reader.folder / "out/masks").glob("*.png"))
    assert [path.stem for path in masks] == ["new 0", "new 1"]
    assert read_mask(masks[0]).shape == np.asarray(Image.open(reader.folder / "new/new 0.png")).shape[:2]
    assert (reader.folder / "out/index.html").is_file()


@pytest.mark.long
def test_a_folder_of_images_sorted_by_class(tmp_path, drawn):
    own = tmp_path / "own images"
    for index, (image, mask, labels) in enumerate(drawn):
        for folder, pixels in ((own, image), (own / "masks", mask)):
            if folder == own or index % 2:  # masks for some
                (folder / labels[0]).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / labels[0] / f"bild {index}.png")
    (own / "background").mkdir()
    Image.new("RGB", (48, 40), "green").save(own / "background/meadow.png")
    reader = Reader(tmp_path, {"FOLDER": own, "OTHER_IMAGES": others(tmp_path / "new")})
    classes = sorted({labels[0] for _, _, labels in drawn})
    values = [classes.index(name) + 1 for name in SHAPES_CLASSES if name in classes]
    for path in (own / "masks").rglob("*.png"):  # the drawn values are those of all classes of the demo
        mask = read_mask(path)
        Image.fromarray(np.select([mask == i + 1 for i in range(3)], values[:3], 0).astype(np.uint8)).save(path)
    expect_own_images(reader, reader.run_all("Your own images"), classes, trained=7, evaluated=3)


@pytest.mark.long
def test_a_csv_of_labels(tmp_path, drawn):
    own = tmp_path / "own"
    (own / "masks").mkdir(parents=True)
    names = sorted({label for _, _, labels in drawn for label in labels})
    rows = [["image", "labels"]]
    for index, (image, mask, labels) in enumerate(drawn):
        Image.fromarray(image).save(own / f"{index}.png")
        rows.append([f"{index}.png", ";".join(labels)])
        if index < 2:
            values = [0] + [names.index(name) + 1 if name in names else 0 for name in SHAPES_CLASSES]
            Image.fromarray(np.array(values, np.uint8)[mask]).save(own / "masks" / f"{index}.png")
    with (own / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    reader = Reader(tmp_path, {"FOLDER": own, "OTHER_IMAGES": others(tmp_path / "new")})
    expect_own_images(reader, reader.run_all("Your own images"), names, trained=6, evaluated=2)


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
    assert reader.figures()["n_images"] == count // 2
    assert len(reader.figures()["per_class"]) == 81
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
