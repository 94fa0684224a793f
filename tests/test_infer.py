"""infer.py: what it writes, what it skips, what it keeps, and how each kind of network is asked."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.mask import decode

import infer
import utils.console as console
from data.artifacts import read_mask, read_seed, seed_size
from data.transforms import normalise
from exports.mask_sets import open_mask_set
from inference.bulk import predict_pictures
from inference.classifier import apart
from inference.loading import load_predictor
from inference.output_folder import ClassValues
from inference.pictures import output_names, read_labels
from inference.predictor import IGNORE, Prediction, resize_mask
from inference.sources import find_pictures
from inference.video import video_names
from models.classifier import build_classifier
from models.segmenter import build_segmenter, class_probabilities
from stages.networks import save_network
from tests.utils.test_page import Page
from utils.config_file import load_config
from utils.errors import UserError, run_script

NAMES = ("cat", "dog", "train")
QUICK = ["model.backbone=efficientnet_lite0", "cam.scales=[1.0]", "cam.flip=false", "ibb.iterations=1", "segment.stage=2",
         "segment.scales=[1.0, 0.5]"]  # fmt: skip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A classifier and a segmenter with random weights, three classes each."""
    folder = tmp_path_factory.mktemp("checkpoints")
    cfg = load_config(None, overrides=QUICK)
    torch.manual_seed(0)
    networks = {
        "classifier": build_classifier("efficientnet_lite0", len(NAMES), "none"),
        "segmenter": build_segmenter("efficientnet_lite0", len(NAMES) + 1, "none", cfg.segment.stage),
    }
    torch.nn.init.normal_(networks["segmenter"].head[-1].weight)  # else one class wins everywhere
    for kind, network in networks.items():
        save_network(folder / f"{kind}.pth", kind, network, NAMES, cfg, {})
    return {kind: folder / f"{kind}.pth" for kind in networks}


@pytest.fixture
def pictures(tmp_path) -> Path:
    """a.jpg (60 x 40), b/c.png (32 x 48, grey), rotated.jpg (seen as 40 x 60)."""
    folder = tmp_path / "pictures"
    save(folder / "a.jpg", (40, 60))
    save(folder / "b/c.png", (48, 32), mode="L")
    save(folder / "rotated.jpg", (40, 60), orientation=6)
    return folder


@pytest.fixture
def script(monkeypatch, capsys):
    """A function that runs infer.py with arguments -> (exit code, what it printed)."""

    def run(*arguments: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["infer.py", *map(str, arguments)])
        code = run_script(infer.main)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@dataclass
class Stub:
    """A predictor without a network: the class is the picture's first red value, over its upper half."""

    class_names: tuple[str, ...] = NAMES
    settings: dict[str, Any] = field(default_factory=lambda: {"threshold": 0.3})
    about: dict[str, Any] = field(default_factory=lambda: {
        "kind": "classifier", "path": "x.pth", "weights": "w", "backbone": "b", "classes": 3, "score": "probability"})  # fmt: skip
    asked: list[Any] = field(default_factory=list)
    fails_at: int | None = None

    def predict(self, image: np.ndarray, classes: list[int] | None = None) -> Prediction:
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(classes)
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[: len(mask) // 2] = 1
        return Prediction(mask, tuple(classes or [int(image[0, 0, 0])]), tuple([0.5] * len(classes or [0])))


def save(path: Path, size: tuple[int, int], red: int | None = None, mode: str = "RGB", orientation: int = 1) -> None:
    """A picture of `size` (H, W); with `red`, of that one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    if red is not None:
        pixels[:] = red, 0, 0
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).convert(mode).save(path, **({"exif": exif} if orientation != 1 else {}))


def predictions(output: Path) -> dict[str, Any]:
    return json.loads((output / "predictions.json").read_text(encoding="utf-8"))


def times(output: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file() and path.name != ".lock"}


class TestOutput:
    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    def test_everything_is_written_at_the_pictures_size(self, script, checkpoints, pictures, tmp_path, kind):
        code, printed = script("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints[kind])
        assert code == 0, printed
        sizes = {"a": (40, 60), "b/c": (48, 32), "rotated": (60, 40)}
        for name, size in sizes.items():
            mask = read_mask(tmp_path / "out/masks" / f"{name}.png")
            assert mask.shape == size
            assert mask.max() <= len(NAMES)
            assert Image.open(tmp_path / "out/overlays" / f"{name}.jpg").size == size[::-1]
        report = predictions(tmp_path / "out")
        assert [(row["picture"], row["height"], row["width"]) for row in report["pictures"]] == [
            ("a.jpg", 40, 60), ("b/c.png", 48, 32), ("rotated.jpg", 60, 40)]  # fmt: skip
        for row in report["pictures"]:
            mask = read_mask(tmp_path / "out" / row["mask"])
            assert all(found["pixels"] == (mask == found["value"]).sum() for found in row["classes"])
            assert all(found["value"] == NAMES.index(found["name"]) + 1 for found in row["classes"])
            assert sum(found["share"] for found in row["classes"]) + row["background_share"] == pytest.approx(
                1, abs=1e-4
            )
        assert report["network"]["kind"] == kind
        assert (tmp_path / "out/index.html").is_file()
        assert Image.open(tmp_path / "out/contact_sheet.jpg").width > 500

    def test_one_picture_is_enough(self, pictures, tmp_path):
        predict_pictures(pictures / "a.jpg", tmp_path / "out", Stub())
        assert (tmp_path / "out/masks/a.png").is_file()

    def test_same_stems_do_not_overwrite_each_other(self, tmp_path):
        for red, name in enumerate(("a.jpg", "a.png", "b.png")):
            save(tmp_path / "in" / name, (20, 30), red)
        predict_pictures(tmp_path / "in", tmp_path / "out", Stub())
        values = {name: read_mask(tmp_path / "out/masks" / f"{name}.png").max() for name in ("a.jpg", "a.png", "b")}
        assert values["a.png"] == 2
        assert values["b"] == 3

    @pytest.mark.parametrize(
        "paths",
        [["a.jpg", "a.png"], ["a.jpg", "a.png", "a.jpg.jpg"], ["x/a.jpg", "y/a.jpg"], ["a.JPG", "A.png"], ["a.b.jpg"]],
    )
    def test_names_are_different_and_lead_back(self, paths):
        names = output_names(paths)
        assert len({name.casefold() for name in names.values()}) == len(paths)
        assert all(path.startswith(name) for path, name in names.items())

    def test_page_is_safe_and_its_links_lead_to_files(self, tmp_path):
        name = '<b>&"#?%20.png'
        save(tmp_path / "in" / name, (20, 30), 0)
        save(tmp_path / "in/sub dir/ä.png", (20, 30), 1)
        predict_pictures(tmp_path / "in", tmp_path / "out", Stub(("<i>", "dog", "train")))
        page = Page(tmp_path / "out/index.html")
        assert not {"b", "i"} & set(page.tags)
        assert len(page.scripts) == 2
        links = [link for item in page.items for _, link in item["links"]]
        assert len(links) == 4
        assert all((tmp_path / "out" / unquote(link)).is_file() for link in links)
        assert [item["classes"] for item in page.items] == [
            [row["name"] for row in entry["classes"]] for entry in predictions(tmp_path / "out")["pictures"]
        ]

    def test_own_output_is_no_input(self, tmp_path):
        save(tmp_path / "in/a.png", (20, 30), 0)
        for output in ("in/out", "in/out", "in/other", "in"):
            predict_pictures(tmp_path / "in", tmp_path / output, Stub())
            assert [row["picture"] for row in predictions(tmp_path / output)["pictures"]] == ["a.png"]

    def test_own_masks_are_no_input_even_if_asked_for(self, tmp_path):
        save(tmp_path / "in/a.png", (20, 30), 0)
        predict_pictures(tmp_path / "in", tmp_path / "out", Stub())
        with pytest.raises(UserError, match="no pictures"):
            predict_pictures(tmp_path / "out/masks", tmp_path / "out", Stub())

    def test_unsure_pixels_stay_unsure(self, tmp_path):
        class Unsure(Stub):
            def predict(self, image, classes=None):
                mask = np.full(image.shape[:2], IGNORE, np.uint8)
                mask[0], mask[1] = 0, 1
                return Prediction(mask, (2,), (0.5,))

        save(tmp_path / "in/a.png", (20, 30), 0)
        predict_pictures(tmp_path / "in", tmp_path / "out", Unsure())
        mask = read_mask(tmp_path / "out/masks/a.png")
        assert [np.unique(mask[row]).tolist() for row in (0, 1, 2)] == [[0], [3], [IGNORE]]
        assert predictions(tmp_path / "out")["pictures"][0]["unsure_share"] == pytest.approx(18 / 20)

    def test_masks_of_others_are_not_overwritten(self, tmp_path):
        save(tmp_path / "data/images/a.png", (20, 30), 0)
        save(tmp_path / "data/masks/a.png", (20, 30), mode="L")
        before = (tmp_path / "data/masks/a.png").read_bytes()
        with pytest.raises(UserError, match="not written by infer"):
            predict_pictures(tmp_path / "data/images", tmp_path / "data", Stub())
        assert (tmp_path / "data/masks/a.png").read_bytes() == before


class TestExport:
    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    def test_masks_in_other_formats(self, script, checkpoints, pictures, tmp_path, kind):
        arguments = ("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints[kind])
        code, printed = script(*arguments, "--export", "coco,maps,yolo")
        assert code == 0, printed
        coco = json.loads((tmp_path / "out/coco.json").read_text(encoding="utf-8"))
        assert [row["file_name"] for row in coco["images"]] == ["a.jpg", "b/c.png", "rotated.jpg"]
        for row in coco["annotations"]:
            name = Path(coco["images"][row["image_id"] - 1]["file_name"]).with_suffix("")
            mask = read_mask(tmp_path / "out/masks" / f"{name}.png")
            assert np.array_equal(decode(row["segmentation"]) > 0, mask == row["category_id"])
        assert [path.stem for path in sorted((tmp_path / "out/yolo/labels").rglob("*.txt"))] == ["a", "c", "rotated"]
        for entry in predictions(tmp_path / "out")["pictures"]:
            seed = read_seed(tmp_path / "out/maps" / Path(entry["picture"]).with_suffix(".npz"))
            assert seed.size == (entry["height"], entry["width"])
            assert {value + 1 for value in seed.classes.tolist()} == {row["value"] for row in entry["classes"]}

    def test_a_segmenters_maps_are_its_probabilities(self, script, checkpoints, pictures, tmp_path):
        script("--input", pictures / "a.jpg", "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"],
               "--export", "maps", "--set", "pseudo.refine=none", "--set", "segment.scales=[1.0]")  # fmt: skip
        seed, mask = read_seed(tmp_path / "out/maps/a.npz"), read_mask(tmp_path / "out/masks/a.png")
        cells = mask[2::4, 2::4]
        assert seed.maps.shape[1:] == cells.shape
        for number, maps in zip(seed.classes, seed.maps, strict=True):
            assert maps[cells == number + 1].mean() > maps[cells != number + 1].mean()
        assert (seed.maps.sum(axis=0) <= 1 + len(seed.maps) / 255).all()

    def test_maps_asked_for_later_are_made_then(self, pictures, tmp_path):
        stub = Stub()
        stub.predict = lambda image, classes=None: Prediction(
            np.zeros(image.shape[:2], np.uint8),
            (1,),
            (0.5,),
            np.full((1, *seed_size(*image.shape[:2])), 0.4, np.float32),
        )
        predict_pictures(pictures, tmp_path / "out", stub)
        assert predict_pictures(pictures, tmp_path / "out", stub, maps=True).new == 3
        assert read_seed(tmp_path / "out/maps/b/c.npz").classes.tolist() == [1]
        assert predict_pictures(pictures, tmp_path / "out", stub, maps=True).new == 0
        assert predict_pictures(pictures, tmp_path / "out", stub).new == 0

    def test_a_mask_that_is_gone_is_named(self, script, checkpoints, pictures, tmp_path):
        script("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"])
        (tmp_path / "out/masks/b/c.png").unlink()
        with pytest.raises(UserError, match=r"masks/b/c\.png is not there; run infer\.py again"):
            open_mask_set(tmp_path / "out")

    def test_an_unknown_format_is_said_before_anything_is_done(self, script, checkpoints, pictures, tmp_path):
        code, printed = script("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"],
                               "--export", "cocoa")  # fmt: skip
        assert (code, "no format 'cocoa'; expected some of coco, coco-polygons, yolo, voc, maps" in printed) == (
            2,
            True,
        )
        assert not (tmp_path / "out").exists()


class TestUnreadable:
    def test_is_skipped_and_listed(self, script, checkpoints, pictures, tmp_path):
        (pictures / "text.jpg").write_text("no picture")
        whole = (pictures / "a.jpg").read_bytes()
        (pictures / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        code, printed = script(
            "--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"]
        )
        assert code == 0
        listed = {row["picture"]: row["reason"] for row in predictions(tmp_path / "out")["unreadable"]}
        assert set(listed) == {"text.jpg", "cut.jpg"}
        assert "not a picture" in listed["text.jpg"]
        assert "truncated" in listed["cut.jpg"]
        assert "2 unreadable" in printed
        assert not (tmp_path / "out/masks/text.png").exists()
        assert len(predictions(tmp_path / "out")["pictures"]) == 3

    def test_is_all_that_quiet_says(self, script, checkpoints, pictures, tmp_path, monkeypatch):
        monkeypatch.setattr(console, "_level", console.NORMAL)  # put back afterwards
        (pictures / "text.jpg").write_text("no picture")
        arguments = ("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"])
        code, printed = script(*arguments, "--quiet")
        assert code == 0
        assert len(printed.splitlines()) == 1
        assert "text.jpg" in printed
        assert len(predictions(tmp_path / "out")["pictures"]) == 3
        assert "3 done already" in script(*arguments)[1]

    def test_nothing_readable_is_a_mistake(self, tmp_path):
        (tmp_path / "text.jpg").write_text("no picture")
        with pytest.raises(UserError, match="not one picture can be read"):
            predict_pictures(tmp_path, tmp_path / "out", Stub())


class TestMistakes:
    @pytest.mark.parametrize(("option", "shown"), [((), False), (("--verbose",), True)])
    def test_verbose_shows_where_a_mistake_was_noticed(self, script, tmp_path, monkeypatch, option, shown):
        monkeypatch.setattr(console, "_level", console.NORMAL)
        code, printed = script("--input", tmp_path / "none.jpg", "--output", tmp_path / "out", *option)
        assert code == 2
        assert ("Traceback" in printed) == shown
        assert "error: " in printed

    def test_exit_code_and_message(self, script, checkpoints, pictures, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "labels.csv").write_text("image,labels\na.jpg,trian\n")
        network = ("--model_path", checkpoints["segmenter"])
        for arguments, expected in [
            (("--input", tmp_path / "empty", *network), "no pictures"),
            (("--input", tmp_path / "nothing", *network), "no such file or folder"),
            (("--input", pictures, "--model_path", tmp_path / "nothing.pth"), "nothing.pth"),
            (("--input", pictures, *network, "--labels", tmp_path / "labels.csv"), "did you mean 'train'"),
            (("--input", pictures, *network, "--labels", tmp_path / "none.csv"), "none.csv"),
            (("--input", pictures, *network, "--classes", "cta"), "did you mean 'cat'"),
            (("--input", pictures, *network, "--set", "pseudo.treshold=0.3"), "pseudo.threshold"),
            (("--input", pictures, *network, "--device", "nonsense"), "nonsense"),
            (("--input", pictures, *network, "--limit", "-1"), "--limit"),
        ]:
            code, printed = script("--output", tmp_path / "out", *arguments)
            assert code == 2, printed
            assert expected in printed
            assert "Traceback" not in printed


class TestResume:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        for red in range(3):
            save(tmp_path / "in" / f"p{red}.png", (20, 30), red)
        return tmp_path

    def test_the_second_time_nothing_is_done(self, script, checkpoints, pictures, tmp_path):
        arguments = ("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints["segmenter"])
        script(*arguments)
        before = times(tmp_path / "out")
        code, printed = script(*arguments)
        assert code == 0
        assert "0 pictures predicted, 3 done already" in printed
        assert times(tmp_path / "out") == before

    def test_only_what_has_changed_is_redone(self, folder):
        predict_pictures(folder / "in", folder / "out", Stub())
        save(folder / "in/p1.png", (22, 30), 2)
        (folder / "out/masks/p2.png").unlink()
        summary = predict_pictures(folder / "in", folder / "out", Stub())
        assert (summary.new, summary.kept) == (2, 1)
        assert predictions(folder / "out")["pictures"][1]["height"] == 22

    @pytest.mark.parametrize(
        "other", [Stub(settings={"threshold": 0.4}), Stub(("a", "b", "c")), Stub(about=Stub().about | {"weights": "v"})]
    )
    def test_another_network_or_setting_redoes_all(self, folder, other):
        predict_pictures(folder / "in", folder / "out", Stub())
        assert predict_pictures(folder / "in", folder / "out", other).new == 3

    def test_a_new_label_redoes_its_picture(self, folder):
        predict_pictures(folder / "in", folder / "out", Stub())
        (folder / "labels.csv").write_text("image,labels\np1,train\n")
        stub = Stub()
        assert predict_pictures(folder / "in", folder / "out", stub, folder / "labels.csv").new == 1
        assert stub.asked == [[2]]

    def test_interrupted_and_gone_on_with_is_as_in_one_go(self, tmp_path):
        names = tuple(f"class {number}" for number in range(300))
        for place, red in enumerate((7, 90, 7, 250, 3)):
            save(tmp_path / "in" / f"p{place}.png", (20, 30), red)
        predict_pictures(tmp_path / "in", tmp_path / "whole", Stub(names))
        with pytest.raises(KeyboardInterrupt):
            predict_pictures(tmp_path / "in", tmp_path / "parts", Stub(names, fails_at=2))
        assert predict_pictures(tmp_path / "in", tmp_path / "parts", Stub(names)).kept == 2
        for place in range(5):
            paths = [tmp_path / part / "masks" / f"p{place}.png" for part in ("whole", "parts")]
            assert paths[0].read_bytes() == paths[1].read_bytes()
        assert predictions(tmp_path / "whole")["pictures"] == predictions(tmp_path / "parts")["pictures"]

    def test_other_pictures_of_the_folder_are_counted(self, folder):
        predict_pictures(folder / "in", folder / "out", Stub())
        (folder / "in/p0.png").unlink()
        summary = predict_pictures(folder / "in", folder / "out", Stub())
        assert (summary.new, summary.kept, summary.others) == (0, 2, 1)
        assert len(predictions(folder / "out")["pictures"]) == 2


class TestClassValues:
    NAMES = tuple(f"class {number}" for number in range(300))

    def test_a_few_classes_keep_the_networks_order(self, tmp_path):
        assert [ClassValues(tmp_path, NAMES).value(index) for index in (2, 0, 1)] == [3, 1, 2]

    def test_many_get_values_as_they_occur_and_keep_them(self, tmp_path):
        assert [ClassValues(tmp_path, self.NAMES).value(280), ClassValues(tmp_path, self.NAMES).value(5)] == [1, 2]
        again = ClassValues(tmp_path, self.NAMES)
        assert [again.value(index) for index in (5, 280, 0)] == [2, 1, 3]
        rows = json.loads((tmp_path / "classes.json").read_text())["classes"]
        assert [(row["value"], row["name"]) for row in rows] == [(1, "class 280"), (2, "class 5"), (3, "class 0")]

    def test_another_networks_values_are_not_taken_over(self, tmp_path):
        ClassValues(tmp_path, self.NAMES).value(280)
        assert ClassValues(tmp_path, tuple(reversed(self.NAMES))).value(5) == 1

    def test_what_no_mask_can_hold_is_unsure_and_said(self, tmp_path):
        values = ClassValues(tmp_path, self.NAMES)
        assert [values.value(index) for index in range(254)] == list(range(1, 255))
        assert values.value(254) == IGNORE
        save(tmp_path / "in/a.png", (20, 30), 255)
        summary = predict_pictures(tmp_path / "in", tmp_path, Stub(self.NAMES))
        assert summary.without_value == ["class 255"]
        assert set(np.unique(read_mask(tmp_path / "masks/a.png"))) == {0, IGNORE}

    def test_masks_whose_table_was_lost_are_redone(self, tmp_path):
        for place, red in enumerate((9, 4)):
            save(tmp_path / "in" / f"p{place}.png", (20, 30), red)
        predict_pictures(tmp_path / "in", tmp_path / "out", Stub(self.NAMES))
        (tmp_path / "out/classes.json").unlink()
        assert predict_pictures(tmp_path / "in", tmp_path / "out", Stub(self.NAMES)).new == 2


class TestLabels:
    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    @pytest.mark.parametrize(
        "table", ["image,labels\na.jpg,Dog;train\nc,\n", "image,train,cat,dog\na,1,0,1\nb/c.png,0,0,0\n"]
    )
    def test_given_classes_are_the_only_ones(self, script, checkpoints, pictures, tmp_path, kind, table):
        (tmp_path / "labels.csv").write_text(table)
        code, printed = script("--input", pictures, "--output", tmp_path / "out", "--model_path", checkpoints[kind],
                               "--labels", tmp_path / "labels.csv")  # fmt: skip
        assert code == 0, printed
        rows = {row["picture"]: row for row in predictions(tmp_path / "out")["pictures"]}
        assert {found["name"] for found in rows["a.jpg"]["classes"]} == {"dog", "train"}
        assert set(np.unique(read_mask(tmp_path / "out/masks/a.png"))) <= {0, 2, 3}
        assert not read_mask(tmp_path / "out/masks/b/c.png").any()
        assert [rows[name]["labels"] for name in ("a.jpg", "b/c.png", "rotated.jpg")] == ["given", "given", "predicted"]

    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    def test_no_other_than_the_allowed_classes_are_found(self, checkpoints, kind):
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        found = load_predictor(checkpoints[kind], allowed=["train"]).predict(image)
        assert set(found.classes) <= {2}

    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            ("", "is empty"),
            ("a.jpg,cat\n", "expected a header"),
            ("image,labels\na.jpg,cat,dog\n", "separate labels with ';'"),
            ("image,labels\na,cat\na.jpg,dog\n", "has a row already"),
            ("image,labels\nsame,cat\n", "may be"),
            ("image,labels\nzzz.jpg,cat\n", "none of its 1 rows"),
            ("image,cat,dog\na.jpg,1,yes\n", "expected 0 or 1"),
            ("image,cat,hog\na.jpg,1,1\n", "did you mean 'dog'"),
        ],
    )
    def test_mistakes_name_file_and_line(self, pictures, tmp_path, table, expected):
        save(pictures / "x/same.jpg", (20, 20))
        save(pictures / "y/same.jpg", (20, 20))
        (tmp_path / "labels.csv").write_text(table)
        with pytest.raises(UserError, match=expected) as raised:
            read_labels(tmp_path / "labels.csv", find_pictures([pictures], tmp_path / "out"), NAMES)
        assert "labels.csv" in str(raised.value)

    def test_an_exact_path_wins_over_a_name(self, tmp_path):
        save(tmp_path / "a.jpg", (20, 20))
        save(tmp_path / "sub/a.jpg", (20, 20))
        (tmp_path / "labels.csv").write_text("image,labels\na.jpg,cat\n./sub/a.jpg,dog\n")
        found = read_labels(tmp_path / "labels.csv", find_pictures([tmp_path], tmp_path / "out"), NAMES)
        assert found == {"a.jpg": [0], "sub/a.jpg": [1]}


class TestPredictors:
    def test_segmenter_is_the_argmax_of_its_probabilities(self, checkpoints):
        predictor = load_predictor(checkpoints["segmenter"], ["pseudo.refine=none"])
        image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        network = predictor.network
        tensor = normalise(torch.from_numpy(image).permute(2, 0, 1), network.backbone.mean, network.backbone.std)
        expected = class_probabilities(network, tensor, (1.0, 0.5), True, (64, 96)).argmax(dim=0).numpy()
        found = predictor.predict(image)
        values = np.array([0, *(index + 1 for index in found.classes)])
        assert len(found.classes) > 1
        assert np.array_equal(values[found.mask], expected)

    def test_settings_of_a_checkpoint_yield_to_those_said(self, checkpoints):
        assert load_predictor(checkpoints["classifier"]).settings["pseudo"]["refine"] == "par"
        said = load_predictor(checkpoints["classifier"], ["pseudo.refine=none", "seeds.max_side=100"])
        assert said.settings["pseudo"]["refine"] == "none"
        assert said.max_side == 100

    def test_a_classifier_that_holds_all_for_unlikely_shows_nothing(self, checkpoints):
        predictor = load_predictor(checkpoints["classifier"])
        assert predictor.choose(None, torch.tensor([-3.0, -2.0, -4.0])) == []
        assert predictor.choose(None, torch.tensor([-3.0, -1.0, -4.0])) == [1]
        assert predictor.choose(None, torch.tensor([3.0, -1.0, 4.0])) == [0, 2]

    @pytest.mark.parametrize("size", [(1, 1), (3, 700), (33, 31)])
    def test_any_size_of_picture(self, checkpoints, size):
        image = np.full((*size, 3), 90, np.uint8)
        for path in checkpoints.values():
            assert load_predictor(path).predict(image).mask.shape == size

    def test_packaged_classifier_steps_in_and_says_so(self, script, tmp_path, monkeypatch):
        save(tmp_path / "in/a.jpg", (64, 80))
        monkeypatch.chdir(tmp_path)
        code, printed = script("--input", "in", "--set", "seeds.max_side=64", "--set", "ibb.enabled=false")
        assert code == 0, printed
        assert "packaged ImageNet classifier" in printed
        found = predictions(tmp_path / "out")["pictures"][0]["classes"]
        assert 1 <= len(found) <= 3
        assert [row["value"] for row in sorted(found, key=lambda row: row["value"])] == list(range(1, len(found) + 1))
        assert predictions(tmp_path / "out")["network"]["classes"] == 1000


def test_maps_that_lie_upon_each_other_count_once():
    maps = torch.zeros(4, 10, 10)
    maps[0, :5], maps[1, :4], maps[2, 6:], maps[3] = 1, 0.9, 0.8, 0.3  # the last lies nowhere
    assert apart(maps) == [0, 2, 3]


def test_a_mask_keeps_its_values_and_areas_at_another_size():
    mask = np.zeros((20, 30), np.uint8)
    mask[:10], mask[10:, 15:] = 7, IGNORE
    large = resize_mask(mask, (63, 95))
    assert large.shape == (63, 95)
    assert set(np.unique(large)) == {0, 7, IGNORE}
    for value in (0, 7, IGNORE):
        assert (large == value).mean() == pytest.approx((mask == value).mean(), abs=0.03)
    assert np.array_equal(resize_mask(mask, mask.shape), mask)


def test_names_of_any_bytes_are_taken(tmp_path):
    path = tmp_path / "in" / os.fsdecode(b"caf\xe9.png")
    try:
        save(path, (20, 30), 0)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    predict_pictures(tmp_path / "in", tmp_path / "out", Stub())
    assert len(predictions(tmp_path / "out")["pictures"]) == 1


class TestTool:
    def test_pictures_folders_and_videos_in_one_call(self, script, checkpoints, pictures, tmp_path):
        with imageio.get_writer(tmp_path / "clip.mp4", format="FFMPEG", fps=5, macro_block_size=1) as writer:
            for _ in range(3):
                writer.append_data(np.full((32, 48, 3), 90, np.uint8))
        arguments = ("--input", pictures / "*.jpg", pictures / "b", tmp_path / "clip.mp4", "--output", tmp_path / "out",
                     "--model_path", checkpoints["segmenter"], "--batch", 2, "--tile", 64, "--limit", 2)  # fmt: skip
        code, printed = script(*arguments)
        assert code == 0, printed
        assert [row["picture"] for row in predictions(tmp_path / "out")["pictures"]] == ["a.jpg", "rotated.jpg"]
        assert "2 pictures predicted" in printed
        assert "videos/clip.mp4: 2 frames" in printed
        code, printed = script(*arguments)
        assert (code, "videos/clip.mp4: 2 frames (done already)" in printed) == (0, True)

    def test_only_the_folder_itself(self, script, checkpoints, pictures, tmp_path):
        script(
            "--input",
            pictures,
            "--no-recursive",
            "--output",
            tmp_path / "out",
            "--model_path",
            checkpoints["segmenter"],
        )
        assert [row["picture"] for row in predictions(tmp_path / "out")["pictures"]] == ["a.jpg", "rotated.jpg"]

    def test_videos_of_one_name_do_not_overwrite_each_other(self):
        assert video_names([Path("a/x.mp4"), Path("b/X.avi"), Path("y.mp4")]) == ["x", "X (2)", "y"]

    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    def test_predict_says_what_the_files_say(self, script, checkpoints, pictures, tmp_path, kind):
        script(
            "--input",
            pictures / "a.jpg",
            "--output",
            tmp_path / "out",
            "--model_path",
            checkpoints[kind],
            "--device",
            "cpu",
        )
        result = infer.predict(pictures / "a.jpg", checkpoints[kind], device="cpu")
        assert np.array_equal(result.mask, read_mask(tmp_path / "out/masks/a.png"))
        (row,) = predictions(tmp_path / "out")["pictures"]
        said = {found["name"]: (found["value"], found["score"], found["share"]) for found in row["classes"]}
        assert {
            found.name: (found.value, round(found.score, 4), round(found.share, 5)) for found in result.classes
        } == said
        given = infer.predict(np.array(result.image), checkpoints[kind], labels=["Train", "cat"])
        assert {found.name for found in given.classes} == {"cat", "train"}

    def test_predict_loads_a_network_once_and_a_changed_file_anew(self, checkpoints, tmp_path, monkeypatch):
        path = tmp_path / "network.pth"
        shutil.copy(checkpoints["segmenter"], path)
        loaded = []
        monkeypatch.setattr(
            infer, "load_predictor", lambda *args, **options: loaded.append(1) or load_predictor(*args, **options)
        )
        image = np.zeros((40, 40, 3), np.uint8)
        for _ in range(2):
            infer.predict(image, path)
        assert loaded == [1]
        shutil.copy(checkpoints["classifier"], path)
        os.utime(path, ns=(1, 1))
        infer.predict(image, path)
        assert loaded == [1, 1]

    def test_a_classifier_does_not_ask_for_affinity(self, checkpoints, pictures):
        said = ["affinity.kind=learned", "affinity.beta=3"]
        image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        plain, other = (load_predictor(checkpoints["classifier"], overrides) for overrides in ([], said))
        assert np.array_equal(plain.predict(image).mask, other.predict(image).mask)
        assert plain.settings == other.settings
