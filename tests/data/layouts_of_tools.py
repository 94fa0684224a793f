"""Tiny data sets as tools write them: a builder for each row of the table in docs/data.md."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 8
CLASSES = ("cat", "dog")


def put(root: Path, *names: str) -> Path:
    """Small images, each of its own colour."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(hash(name) >> shift & 255 for shift in (0, 8, 16))
        Image.new("RGB", (SIZE, SIZE), colour).save(path)
    return root


def put_masks(root: Path, *names: str) -> Path:
    """Grey masks, the left half of value 1."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[:, : SIZE // 2] = 1
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / name)
    return root


def put_text(root: Path, name: str, text: str) -> Path:
    """A text file."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root


def coco(*file_names: str, crowd: int = 0) -> dict:
    """A file in COCO's format: the first half of the images shows cats, the others dogs."""
    box = [0, 0, 4, 0, 4, 4, 0, 4]
    return {
        "info": {},
        "images": [
            {"id": number, "file_name": name, "width": SIZE, "height": SIZE} for number, name in enumerate(file_names)
        ],
        "categories": [
            {"id": number + 1, "name": name, "supercategory": "pets"} for number, name in enumerate(CLASSES)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 1 + (2 * number >= len(file_names)),
                "bbox": [0, 0, 4, 4],
                "area": 16,
                "iscrowd": crowd,
                "segmentation": [box],
            }
            for number in range(len(file_names))
        ],
    }


def put_json(root: Path, name: str, document: object) -> Path:
    """A JSON file."""
    return put_text(root, name, json.dumps(document))


def image_folder(root: Path) -> None:
    put(root, *(f"{part}/{name}/{n}.jpg" for part in ("train", "val") for name in CLASSES for n in (1, 2)))


def images_and_masks(root: Path) -> None:
    put(root, "images/1.jpg", "images/2.jpg")
    put_masks(root, "masks/1.png", "masks/2.png")
    put_text(root, "labels.csv", "image,labels\n1.jpg,cat\n2.jpg,dog\n")


def mvtec(root: Path) -> None:
    put(
        root, "train/good/000.png", "train/good/001.png", "test/good/000.png", "test/crack/000.png", "test/hole/000.png"
    )
    put_masks(root, "ground_truth/crack/000_mask.png", "ground_truth/hole/000_mask.png")
    put_text(root, "readme.txt", "MVTec AD")


def oxford_pets(root: Path) -> None:
    put(root, *(f"images/{name}_{n}.jpg" for name in ("cat", "dog") for n in (1, 10, 100)))
    put_masks(root, *(f"annotations/trimaps/{name}_{n}.png" for name in ("cat", "dog") for n in (1, 10, 100)))
    put_text(root, "annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID\ncat_1 1 1 1\n")


def kaggle_table(root: Path) -> None:
    put(root, "train/0a1.jpg", "train/0b2.jpg", "train/0c3.jpg", "test/0d4.jpg")
    put_text(root, "train.csv", "id,class_names\n0a1,cat\n0b2,cat dog\n0c3,dog\n")


def roboflow_coco(root: Path) -> None:
    for part in ("train", "valid", "test"):
        names = [f"{n}_jpg.rf.0{part}.jpg" for n in (1, 2)]
        put(root / part, *names)
        document = coco(*names)
        document["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
        put_json(root / part, "_annotations.coco.json", document)
    put_text(root, "README.roboflow.txt", "exported")


def roboflow_folder(root: Path) -> None:
    put(root, *(f"{part}/{name}/1_jpg.rf.0{part}.jpg" for part in ("train", "valid", "test") for name in CLASSES))


def roboflow_classes(root: Path) -> None:
    for part in ("train", "valid"):
        put(root / part, "a.jpg", "b.jpg")
        put_text(root / part, "_classes.csv", "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\n")


def yolo(root: Path) -> None:
    put(root, "train/images/a.jpg", "train/images/b.jpg", "valid/images/c.jpg")
    put_text(root, "train/labels/a.txt", "0 0.5 0.5 0.2 0.2\n")
    put_text(root, "train/labels/b.txt", "1 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.1 0.1\n")
    put_text(root, "valid/labels/c.txt", "")
    put_text(root, "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")


def label_studio_csv(root: Path) -> None:
    put(root, "0a1b-1.jpg", "0a1c-2.jpg")
    rows = '/data/upload/4/0a1b-1.jpg,7,cat,1\n/data/upload/4/0a1c-2.jpg,8,"{""choices"": [""cat"", ""dog""]}",1\n'
    put_text(root, "labels.csv", "image,id,choice,annotator\n" + rows)


def label_studio_json(root: Path) -> None:
    put(root, "0a1b-1.jpg", "0a1c-2.jpg", "0a1d-3.jpg")
    tasks = [
        {
            "id": number,
            "annotations": [{"was_cancelled": False, "result": [{"type": "choices", "value": {"choices": [label]}}]}],
            "data": {"image": f"/data/upload/4/{name}.jpg"},
        }
        for number, (name, label) in enumerate((("0a1b-1", "cat"), ("0a1c-2", "dog")))
    ]
    tasks.append({"id": 9, "annotations": [], "data": {"image": "/data/upload/4/0a1d-3.jpg"}})
    put_json(root, "project.json", tasks)


def label_studio_coco(root: Path) -> None:
    put(root, "images/0a1b-1.jpg", "images/0a1c-2.jpg")
    put_json(root, "result.json", coco("images/0a1b-1.jpg", "images/0a1c-2.jpg"))


def cvat_coco(root: Path) -> None:
    put(root, "images/1.jpg", "images/2.jpg")
    put_json(root, "annotations/instances_default.json", coco("1.jpg", "2.jpg"))


def cvat_voc(root: Path) -> None:
    put(root, "JPEGImages/1.jpg", "JPEGImages/2.jpg")
    put_text(
        root, "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    )
    put_text(root, "ImageSets/Main/default.txt", "1\n2\n")
    for name, label in (("1", "cat"), ("2", "dog")):
        text = f"<annotation><filename>{name}.jpg</filename><object><name>{label}</name></object></annotation>"
        put_text(root, f"Annotations/{name}.xml", text)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "ImageFolder": image_folder,
    "images and masks": images_and_masks,
    "MVTec AD": mvtec,
    "Oxford pets": oxford_pets,
    "Kaggle": kaggle_table,
    "Roboflow, COCO": roboflow_coco,
    "Roboflow, folder": roboflow_folder,
    "Roboflow, multi-label": roboflow_classes,
    "YOLO": yolo,
    "Label Studio, CSV": label_studio_csv,
    "Label Studio, JSON": label_studio_json,
    "Label Studio, COCO": label_studio_coco,
    "CVAT, COCO": cvat_coco,
    "CVAT, VOC": cvat_voc,
}
