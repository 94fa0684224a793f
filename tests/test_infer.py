"""infer.py: what it writes, what it skips, what it keeps, and how each kind of network is run."""

import os
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from urllib.parse import unquote

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image
from pycocotools.mask import decode

import infer
import utils.console as console
from data.artifacts import read_mask, read_seed
from exports.mask_sets import open_mask_set
from inference.bulk import Options, predict_images
from inference.images import output_names
from inference.loading import load_predictor
from tests.inference.stub import NAMES, Stub, predictions, save, save_three
from tests.pages.test_page import Page
from tests.project import call
from utils.errors import UserError
from utils.files import read_json
from utils.ignore import IGNORE

SIZES = {"a.jpg": (40, 60), "b/c.png": (48, 32), "rotated.jpg": (60, 40)}


@pytest.fixture(scope="module", params=["classifier", "segmenter"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def written(kind, checkpoints, tmp_path_factory) -> Path:
    """What one call writes with one kind of network: images in `in`, results in `out`."""
    folder = tmp_path_factory.mktemp(kind)
    words = ("--output", folder / "out", "--device", "cpu", "--export", "coco,maps,yolo")
    call("infer", "--input", save_three(folder / "in"), *words, "--model_path", checkpoints[kind]).well()
    return folder


class TestOutput:
    def test_everything_is_written_at_the_images_size_and_with_the_names_of_its_classes(self, written, kind):
        out = written / "out"
        report = predictions(out)
        assert {row["image"]: (row["height"], row["width"]) for row in report["images"]} == SIZES
        for row in report["images"]:
            mask = read_mask(out / row["mask"], NAMES)
            assert mask.shape == SIZES[row["image"]]
            assert mask.max() <= len(NAMES)
            assert Image.open(out / row["overlay"]).size == mask.shape[::-1]
            assert all(found["pixels"] == (mask == found["value"]).sum() for found in row["classes"])
            assert all(found["value"] == NAMES.index(found["name"]) + 1 for found in row["classes"])
            shares = sum(found["share"] for found in row["classes"]) + row["background_share"]
            assert shares == pytest.approx(1, abs=1e-4)
        assert report["network"]["kind"] == kind
        assert (out / "index.html").is_file()
        assert Image.open(out / "contact_sheet.jpg").width > 500
        for read, path in ((read_mask, "masks/a.png"), (read_seed, "maps/a.npz")):
            with pytest.raises(UserError, match="was made for the classes cat, dog, train"):
                read(written / "out" / path, ("dog", "cat", "train"))

    def test_masks_that_cannot_be_exported_are_told_before_an_image_is_predicted(self, images, infer_on, tmp_path):
        save(images / "a.png", (20, 20))
        for kind, message in (("yolo", "two images are named a but for"), ("voc", "takes masks of its own 20 classes")):
            ended = infer_on("segmenter", images, "--export", f"coco,{kind}")
            assert (ended.code, message in ended.err) == (2, True)
            assert not (tmp_path / "out/masks").exists()

    @pytest.mark.parametrize(
        "paths", ["a.jpg a.png", "a.jpg a.png a.jpg.jpg", "x/a.jpg y/a.jpg", "a.JPG A.png", "a.b.jpg"]
    )
    def test_names_are_different_and_lead_back(self, paths):
        names = output_names(paths.split())
        assert len({name.casefold() for name in names.values()}) == len(names) == len(paths.split())
        assert all(path.startswith(name) for path, name in names.items())

    def test_page_is_safe_and_its_links_lead_to_files(self, tmp_path):
        save(tmp_path / "in" / '<b>&"#?%20.png', (20, 30), 0)
        save(tmp_path / "in/sub dir" / '<b>&"#?%20ä.png', (20, 30), 1)
        predict_images(tmp_path / "in", tmp_path / "out", Stub(("<i>", "dog", "train")))
        page = Page(tmp_path / "out/index.html")
        assert not {"b", "i"} & set(page.tags)
        assert len(page.scripts) == 3  # items, the page, the editor of hints
        assert [len(item["links"]) for item in page.items] == [2, 2]
        links = [link for item in page.items for _, link in item["links"]]
        assert all((tmp_path / "out" / unquote(link)).is_file() for link in links)
        classes = [[row["name"] for row in entry["classes"]] for entry in predictions(tmp_path / "out")["images"]]
        assert [item["classes"] for item in page.items] == classes == [["<i>"], ["dog"]]

    def test_own_output_is_no_input(self, tmp_path):
        save(tmp_path / "in/a.png", (20, 30), 0)
        for output in ("in/out", "in/out", "in/other", "in"):
            predict_images(tmp_path / "in", tmp_path / output, Stub())
            assert [row["image"] for row in predictions(tmp_path / output)["images"]] == ["a.png"]
        with pytest.raises(UserError, match="no images"):
            predict_images(tmp_path / "in/out/masks", tmp_path / "in/out", Stub())
        predict_images(f"{tmp_path}/**/*.png", tmp_path / "in/out", Stub())
        assert [row["image"] for row in predictions(tmp_path / "in/out")["images"]] == ["in/a.png"]

    def test_ignored_pixels_stay_ignored(self, tmp_path):
        class Undecided(Stub):
            def predict(self, image, classes=None):
                mask = np.full(image.shape[:2], IGNORE, np.uint8)
                mask[0], mask[1] = 0, 1
                return replace(super().predict(image), mask=mask, classes=(2,))

        save(tmp_path / "in/a.png", (20, 30), 0)
        predict_images(tmp_path / "in/a.png", tmp_path / "out", Undecided())
        mask = read_mask(tmp_path / "out/masks/a.png")
        assert [np.unique(mask[row]).tolist() for row in (0, 1, 2)] == [[0], [3], [IGNORE]]
        assert predictions(tmp_path / "out")["images"][0]["unsure_share"] == pytest.approx(18 / 20)


class TestExport:
    def test_masks_in_other_formats(self, written):
        out = written / "out"
        coco = read_json(out / "coco.json")
        assert [row["file_name"] for row in coco["images"]] == list(SIZES)
        for row in coco["annotations"]:
            name = Path(coco["images"][row["image_id"] - 1]["file_name"]).with_suffix("")
            mask = read_mask(out / "masks" / f"{name}.png")
            assert np.array_equal(decode(row["segmentation"]) > 0, mask == row["category_id"])
        assert [path.stem for path in sorted((out / "yolo/labels").rglob("*.txt"))] == ["a", "c", "rotated"]
        for entry in predictions(out)["images"]:
            seed = read_seed(out / "maps" / Path(entry["image"]).with_suffix(".npz"))
            assert seed.size == (entry["height"], entry["width"])
            assert {value + 1 for value in seed.classes.tolist()} == {row["value"] for row in entry["classes"]}

    def test_a_segmenters_maps_are_its_probabilities(self, infer_on, images, tmp_path):
        settings = ["--set", "pseudo.refine=none", "--set", "segment.scales=[1.0]"]
        infer_on("segmenter", images / "a.jpg", "--export", "maps", *settings)
        seed, mask = read_seed(tmp_path / "out/maps/a.npz"), read_mask(tmp_path / "out/masks/a.png")
        cells = mask[2::4, 2::4]
        assert seed.maps.shape[1:] == cells.shape
        for number, maps in zip(seed.classes, seed.maps, strict=True):
            assert maps[cells == number + 1].mean() > maps[cells != number + 1].mean()
        assert (seed.maps.sum(axis=0) <= 1 + len(seed.maps) / 255).all()

    def test_maps_asked_for_later_are_made_then(self, tmp_path):
        save(tmp_path / "in/a.png", (20, 30), 1)
        calls = [predict_images(tmp_path / "in", tmp_path / "out", Stub(), Options(maps=maps)) for maps in (0, 1, 1, 0)]
        assert [summary.new for summary in calls] == [1, 1, 0, 0]
        assert read_seed(tmp_path / "out/maps/a.npz").classes.tolist() == [1]

    def test_maps_of_a_former_network_are_none_of_the_present_one(self, tmp_path):
        save(tmp_path / "in/a.png", (20, 30), 1)
        for names, maps in ((NAMES, True), (NAMES[::-1], False), (NAMES[::-1], True)):
            assert predict_images(tmp_path / "in", tmp_path / "out", Stub(names), Options(maps=maps)).new == 1
        assert read_seed(tmp_path / "out/maps/a.npz", NAMES[::-1]).classes.tolist() == [1]

    def test_a_mask_that_is_gone_is_named(self, tmp_path):
        for name in ("a", "b/c"):
            save(tmp_path / f"in/{name}.png", (20, 30), 0)
        predict_images(tmp_path / "in", tmp_path / "out", Stub())
        (tmp_path / "out/masks/b/c.png").unlink()
        with pytest.raises(UserError, match=r"masks/b/c\.png is not there; run infer\.py again"):
            open_mask_set(tmp_path / "out")


def test_unreadable_files_and_those_of_several_images_are_told_each_time(infer_on, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_level", console.NORMAL)  # put back afterwards
    images = tmp_path / "images"
    save(images / "a.jpg", (20, 30))
    (images / "text.jpg").write_text("no image")
    (images / "cut.jpg").write_bytes((images / "a.jpg").read_bytes()[:400])
    first, others = Image.open(images / "a.jpg"), [Image.new("RGB", (30, 20), (red, 9, 200)) for red in (40, 80)]
    for name in ("moving.gif", "pages.tif"):
        first.save(images / name, save_all=True, append_images=others)
    for option, done in product(([], ["--quiet"]), (False, True)):
        if not done:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        ended = infer_on("segmenter", images, *option).well()
        printed = ended.out + ended.err
        report = predictions(tmp_path / "out")
        listed = {row["image"]: row["reason"] for row in report["unreadable"]}
        assert set(listed) == {"text.jpg", "cut.jpg"}
        assert "not an image" in listed["text.jpg"]
        assert "truncated" in listed["cut.jpg"]
        assert all(reason in printed for reason in listed.values())
        assert "files hold several images: 2, first moving.gif (3); masks are of the first" in printed
        assert len(printed.splitlines()) == 3 if option else "2 unreadable" in printed, printed
        assert not (tmp_path / "out/masks/text.png").exists()
        assert len(report["images"]) == 3


def test_verbose_shows_where_a_mistake_was_noticed(infer_on, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_level", console.NORMAL)
    for option in ([], ["--verbose"]):
        ended = infer_on("segmenter", tmp_path / "none.jpg", *option)
        assert (ended.code, "Traceback" in ended.err, "error: " in ended.err) == (2, bool(option), True)


class TestTool:
    def test_images_folders_and_videos_in_one_call(self, checkpoints, images, tmp_path):
        with imageio.get_writer(tmp_path / "clip.mp4", format="FFMPEG", fps=5, macro_block_size=1) as writer:
            for _ in range(3):
                writer.append_data(np.full((32, 48, 3), 90, np.uint8))
        arguments = ["--input", images / "*.jpg", images / "b", tmp_path / "clip.mp4", "--output", tmp_path / "out"]
        arguments += ["--model_path", checkpoints["segmenter"], "--batch", "2", "--tile", "64", "--limit", "2"]
        printed = call("infer", *arguments).well().out
        assert [row["image"] for row in predictions(tmp_path / "out")["images"]] == ["a.jpg", "rotated.jpg"]
        network = f"segmenter of {len(NAMES)} classes ({', '.join(NAMES)}) from {checkpoints['segmenter']}"
        assert printed.startswith(network)
        assert "2 images predicted" in printed
        assert "videos/clip.mp4: 2 frames" in printed
        assert "videos/clip.mp4: 2 frames (done already)" in call("infer", *arguments).well().out

    def test_predict_gives_what_the_files_hold(self, written, checkpoints, kind):
        result = infer.predict(written / "in/a.jpg", checkpoints[kind], device="cpu")
        assert np.array_equal(result.mask, read_mask(written / "out/masks/a.png"))
        row = predictions(written / "out")["images"][0]
        expected = {found["name"]: (found["value"], found["score"], found["share"]) for found in row["classes"]}
        found = {one.name: (one.value, round(one.score, 4), round(one.share, 5)) for one in result.classes}
        assert found == expected
        for labels, names in ((["Train", "cat"], {"cat", "train"}), ("train", {"train"})):
            given = infer.predict(np.array(result.image), checkpoints[kind], labels=labels, settings="device=cpu")
            assert {found.name for found in given.classes} == names

    def test_values_of_another_range_are_told_and_quality_is_the_setting(
        self, infer_on, checkpoints, images, tmp_path, capsys
    ):
        ranged = "data.range=[0, 60000]"
        printed = infer_on("classifier", images / "a.jpg", "--set", ranged, "--quality", "fast").well()
        assert predictions(tmp_path / "out")["settings"]["infer"]["quality"] == "fast"
        infer.predict(images / "a.jpg", checkpoints["segmenter"], settings=[ranged])
        for says in (printed.out + printed.err, capsys.readouterr().out):
            assert "nearly black" in says
            assert "read with data.range=[0.0, 60000.0]; if" in says

    def test_predict_loads_a_network_once_and_a_changed_file_anew(self, checkpoints, tmp_path, monkeypatch):
        path, loaded = tmp_path / "network.pth", []
        load = lambda *args, **more: loaded.append(1) or load_predictor(*args, **more)  # noqa: E731
        monkeypatch.setattr(infer, "load_predictor", load)
        for kind, count in (("segmenter", 1), ("classifier", 2)):
            shutil.copy(checkpoints[kind], path)
            os.utime(path, ns=(count, count))
            for _ in range(2):
                infer.predict(np.zeros((40, 40, 3), np.uint8), path)
                assert len(loaded) == count

    def test_a_classifier_without_a_run_needs_no_affinity(self, checkpoints):
        image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        settings = ["affinity.kind=learned", "affinity.beta=3"]
        plain, other = (load_predictor(checkpoints["classifier"], overrides) for overrides in ([], settings))
        assert np.array_equal(plain.predict(image).mask, other.predict(image).mask)
        assert plain.settings == other.settings
