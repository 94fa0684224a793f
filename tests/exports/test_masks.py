"""Exported masks, read back by pycocotools, by our own COCO reader, from YOLO's lines and from the server's archive."""

import contextlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from data.artifacts import read_mask, voc_palette, write_mask
from data.polygons import fill_polygons
from data.voc import VOC_CLASSES
from exports.mask_sets import MaskSet, open_mask_set
from exports.masks import export_masks
from inference.bulk import predict_images
from inference.output_folder import ClassValues
from tests.data.test_polygons import iou
from tests.inference.stub import Stub, save
from tests.project import call
from utils.errors import UserError

NAMES = ("cat", "dög", "train")


def example_mask(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """A ring, a line one pixel wide, single pixels, a block and a band of 255; other places for each seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    far = np.hypot(rows - 28, columns - 30 - seed)
    mask = np.zeros((height, width), np.uint8)
    mask[(far < 20) & (far > 9)] = 1
    mask[5 + seed, 2:70] = 2
    mask[40:55, 55:75] = 3
    mask[38:40, 55:75] = 255
    mask[tuple(random.integers(0, (height, width), (5, 2)).T)] = 2
    return mask


@pytest.fixture
def masks(tmp_path) -> MaskSet:
    """Three masks; the second is of an image without objects."""
    folder = tmp_path / "masks"
    for number, name in enumerate(("a", "b", "deep/ü c")):
        write_mask(folder / f"{name}.png", example_mask(number) * (name != "b"))
    return open_mask_set(folder, NAMES)


def file_names_of(coco: COCO) -> list[str]:
    return [image["file_name"] for image in coco.imgs.values()]


def load_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize(("kind", "least"), [("coco", 1.0), ("coco-polygons", 0.97)])
def test_pycocotools_reads_the_same_pixels(masks, tmp_path, kind, least):
    path = tmp_path / "out" / f"{kind.replace('-', '_')}.json"
    ignored = f"{100 * 2 * 40 / (3 * 60 * 80):.1f} % of the pixels are 255 and have no class"
    assert export_masks(masks, [kind], path.parent) == f"{kind}: 3 images, 6 annotations, {path}; {ignored}"
    coco = load_coco(path)
    assert {number: category["name"] for number, category in coco.cats.items()} == dict(enumerate(NAMES, 1))
    assert file_names_of(coco) == ["a.jpg", "b.jpg", "deep/ü c.jpg"]
    assert len(coco.anns) == 6
    for entry, (number, image) in zip(masks.masks, coco.imgs.items(), strict=True):
        mask = read_mask(entry.path)
        assert (image["height"], image["width"]) == mask.shape
        annotations = coco.imgToAnns[number]
        assert [row["category_id"] for row in annotations] == sorted(set(np.unique(mask).tolist()) - {0, 255})
        for row in annotations:
            region = mask == row["category_id"]
            assert kind == "coco" or all(len(polygon) >= 6 for polygon in row["segmentation"])
            assert iou(coco.annToMask(row) > 0, region) >= least
            rows, columns = region.nonzero()
            left, top = columns.min(), rows.min()
            assert row["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
            assert (row["area"], row["iscrowd"]) == (region.sum(), 0)


def read_yolo(path: Path, height: int, width: int) -> np.ndarray:
    """A label file as a mask of YOLO's classes + 1."""
    mask = np.zeros((height, width), np.uint8)
    for line in path.read_text(encoding="utf-8").splitlines():
        number, *shares = line.split()
        points = np.array(shares, np.float64).reshape(-1, 2)
        assert ((points >= 0) & (points <= 1)).all()
        mask[fill_polygons([points * (width, height)], height, width)] = int(number) + 1
    return mask


def test_lines_of_yolo_hold_the_same_pixels_and_labels_of_other_classes_are_not_mixed_with_them(masks, tmp_path):
    export_masks(masks, ["yolo"], tmp_path)
    for entry in masks.masks:
        truth = read_mask(entry.path)
        found = read_yolo(tmp_path / f"yolo/labels/{entry.name}.txt", *truth.shape)
        assert set(np.unique(found)) == set(np.unique(truth)) - {255}
        for value in set(np.unique(truth).tolist()) - {0, 255}:
            assert iou(found == value, truth == value) >= 0.97
    assert (tmp_path / "yolo/labels/b.txt").read_text() == ""
    about = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))
    assert about["names"] == {0: "cat", 1: "dög", 2: "train"}
    fewer = MaskSet({1: "dog", 2: "cat", 3: "train"}, masks.masks[:1])
    with pytest.raises(UserError, match=r"holds 2 files of other images and other classes, first b\.txt"):
        export_masks(fewer, ["yolo"], tmp_path)
    export_masks(masks._replace(masks=masks.masks[:1]), ["yolo"], tmp_path)
    twice = MaskSet({1: "cat"}, tuple(masks.masks[0]._replace(image=name) for name in ("a.jpg", "a.png")))
    with pytest.raises(UserError, match=r"two images are named a but for their suffix.*rename"):
        export_masks(twice, ["yolo"], tmp_path / "other")


def test_an_archive_is_as_the_voc_server_takes_it(tmp_path):
    truth = {f"2008_00000{number}.png": example_mask(number) for number in (1, 4)}
    for name, mask in truth.items():
        write_mask(tmp_path / "in" / name, mask)
    export_masks(open_mask_set(tmp_path / "in", VOC_CLASSES), ["voc"], tmp_path)
    with tarfile.open(tmp_path / "voc_server.tgz", "r:gz") as archive:
        for member, (name, mask) in zip(archive, truth.items(), strict=True):
            assert member.name == f"results/VOC2012/Segmentation/comp6_test_cls/{name}"
            image = Image.open(archive.extractfile(member))
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), np.where(mask == 255, 0, mask))
            assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3)[:21], voc_palette()[:21])


def test_the_command_takes_file_names_from_the_images(masks, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    write_mask(tmp_path / "masks/.trash/a.png", np.zeros((4, 4)))  # hidden, so no mask
    (images / "deep").mkdir(parents=True)
    for name in ("a.PNG", "b.jpeg", "deep/ü c.webp"):
        (images / name).touch()
    options = ("--export", "coco,yolo", "--classes", "cat,dög,train", "--output", out, "--images", images)
    assert call("exports.masks", tmp_path / "masks", *options).well().out.count("3 images") == 2
    assert sorted(path.name for path in out.iterdir()) == ["coco.json", "yolo"]
    assert file_names_of(load_coco(out / "coco.json")) == ["a.PNG", "b.jpeg", "deep/ü c.webp"]


def test_an_image_is_the_only_one_of_its_name_and_of_its_masks_size(tmp_path):
    write_mask(tmp_path / "masks/a.png", np.ones((30, 20)))
    for number, (expected, images) in enumerate(
        [
            ("several images, a.jpg and a.png, are of mask", {"a.jpg": (30, 20), "a.png": (30, 20)}),
            ("a.jpg has 40 x 60 pixels, its mask .*a.png 20 x 30", {"a.jpg": (60, 40)}),
            ("a.jpg has 30 x 20 pixels, its mask .*a.png 20 x 30", {"a.jpg": (20, 30)}),
        ]
    ):
        for name, size in images.items():
            save(tmp_path / f"{number}/{name}", size)
        with pytest.raises(UserError, match=expected):
            open_mask_set(tmp_path / "masks", NAMES, tmp_path / f"{number}")
    with pytest.raises(UserError, match="there is no image of mask"):  # but for the mask itself
        open_mask_set(tmp_path / "masks", NAMES, tmp_path / "masks")
    save(tmp_path / "turned/a.jpg", (20, 30), orientation=6)
    assert open_mask_set(tmp_path / "masks", NAMES, tmp_path / "turned").masks[0].image == "a.jpg"


def test_classes_are_those_that_the_masks_were_written_with(tmp_path):
    write_mask(tmp_path / "out/masks/a.png", np.zeros((4, 4)), class_names=("cat", "dog"))
    with pytest.raises(UserError, match=r"class 'cat' at value 1, not 2; .*--classes cat,dog"):
        open_mask_set(tmp_path / "out/masks", ("dog", "cat"))
    assert open_mask_set(tmp_path / "out/masks", ("cat", "hund")).class_names == {1: "cat", 2: "hund"}
    (tmp_path / "out/predictions.json").touch()
    with pytest.raises(UserError, match=r"which classes its masks have.*; give .*out, which infer\.py wrote"):
        open_mask_set(tmp_path / "out/masks")


def test_a_write_that_fails_leaves_nothing(masks, tmp_path):
    masks.masks[-1].path.write_bytes(b"damaged")
    damaged = "cannot be decoded"
    for kind, message in (("coco", damaged), ("coco-polygons", damaged), ("voc", "of its own 20 classes")):
        with pytest.raises(UserError, match=message):
            export_masks(masks, [kind], tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_masks_of_one_network_never_get_the_class_names_of_another(tmp_path):
    save(tmp_path / "in/a.png", (20, 30), 1)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    ClassValues(tmp_path / "out", ("bus", "car", "dog"))  # as a call that was stopped leaves it
    with pytest.raises(UserError, match=r"the class 'dog' of predictions.json has another value.*run infer\.py again"):
        open_mask_set(tmp_path / "out")


def test_names_in_predictions_stay_in_the_folder(tmp_path):
    write_mask(tmp_path / "masks/a.png", np.zeros((4, 4)))
    row = {"image": "a.jpg", "mask": "masks/a.png"}
    (tmp_path / "classes.json").write_text('{"classes": [{"value": 1, "name": "cat"}]}')
    (tmp_path / "predictions.json").write_text(json.dumps({"images": [row]}))
    export_masks(open_mask_set(tmp_path), ["yolo"], tmp_path / "made")
    for name in ("../x.jpg", "/tmp/x.jpg", "a/../../x.jpg", "C:x.jpg", "x\0.jpg", "", 3, None):
        for key in row:
            (tmp_path / "predictions.json").write_text(json.dumps({"images": [row | {key: name}]}))
            with pytest.raises(UserError, match=r"is not a whole output of infer\.py"):
                open_mask_set(tmp_path)
