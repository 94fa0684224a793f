"""Tiny data sets as tools write them, one for each row of the table in docs/data.md."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 8
CLASSES = ("cat", "dog")


def put(root: Path, *names: str) -> Path:
    """Small images, each of its own colour."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), tuple(hash(name).to_bytes(8, signed=True)[:3])).save(root / name)
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
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode())
    return root


def put_json(root: Path, name: str, document: object) -> Path:
    return put_text(root, name, json.dumps(document))


def labels_of(index) -> dict[str, set[str]]:
    """Image -> the names of its classes."""
    return {record.name: {index.class_names[label] for label in record.labels} for record in index.records}


def coco(*file_names: str) -> dict:
    """A file in COCO's format: the first half of the images shows cats, the others dogs."""
    shown = {"bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    half = len(file_names) / 2
    rows = [{"id": n, "image_id": n, "category_id": 1 + (n >= half), **shown} for n in range(len(file_names))]
    return {
        "info": {},
        "images": [{"id": n, "file_name": name, "width": SIZE, "height": SIZE} for n, name in enumerate(file_names)],
        "categories": [{"id": n, "name": name, "supercategory": "pets"} for n, name in enumerate(CLASSES, 1)],
        "annotations": rows,
    }


def images(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


def of_roboflow(part: str) -> dict[str, Any]:
    names = [f"{n}_jpg.rf.0{part}.jpg" for n in (1, 2)]
    document = coco(*names)
    document["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    return images(*(f"{part}/{name}" for name in names)) | {f"{part}/_annotations.coco.json": document}


def of_label_studio(number: int, *labels: str) -> dict:
    results = [{"result": [{"type": "choices", "value": {"choices": [label]}}]} for label in labels]
    return {"id": number, "annotations": results, "data": {"image": f"/data/upload/4/0a1b-{number}.jpg"}}


def of_cvat(number: int, name: str) -> str:
    return f"<annotation><filename>{number}.jpg</filename><object><name>{name}</name></object></annotation>"


PETS = [f"{name}_{n}" for name in CLASSES for n in (1, 10, 100)]
CHOICES = '/data/upload/4/0a1b-1.jpg,7,cat,1\n/data/upload/4/0a1c-2.jpg,8,"{""choices"": [""cat"", ""dog""]}",1\n'
COLOURS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
PARTS = ("train", "valid", "test")

# Tool -> path -> what is there: text, the value of a JSON file, or None: an image, or a mask where its path says so.
TREES: dict[str, dict[str, Any]] = {
    "ImageFolder": images(*(f"{part}/{name}/{n}.jpg" for part in ("train", "val") for name in CLASSES for n in (1, 2))),
    "images and masks": images("images/1.jpg", "images/2.jpg", "masks/1.png", "masks/2.png")
    | {"labels.csv": "image,labels\n1.jpg,cat\n2.jpg,dog\n"},
    "MVTec AD": images("train/good/000.png", "train/good/001.png")
    | images(*(f"test/{name}/000.png" for name in ("good", "crack", "hole")))
    | images("ground_truth/crack/000_mask.png", "ground_truth/hole/000_mask.png")
    | {"readme.txt": "MVTec AD"},
    "Oxford pets": images(*(f"images/{name}.jpg" for name in PETS))
    | images(*(f"annotations/trimaps/{name}.png" for name in PETS))
    | {"annotations/list.txt": "#Image CLASS-ID SPECIES BREED ID\ncat_1 1 1 1\n"},
    "Kaggle": images("train/0a1.jpg", "train/0b2.jpg", "train/0c3.jpg", "test/0d4.jpg")
    | {"train.csv": "id,class_names\n0a1,cat\n0b2,cat dog\n0c3,dog\n"},
    "Roboflow, COCO": of_roboflow("train")
    | of_roboflow("valid")
    | of_roboflow("test")
    | {"README.roboflow.txt": "exported"},
    "Roboflow, folder": images(*(f"{part}/{name}/1_jpg.rf.0{part}.jpg" for part in PARTS for name in CLASSES)),
    "Roboflow, multi-label": images(*(f"{part}/{name}.jpg" for part in PARTS[:2] for name in "ab"))
    | {f"{part}/_classes.csv": "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\n" for part in PARTS[:2]},
    "YOLO": images("train/images/a.jpg", "train/images/b.jpg", "valid/images/c.jpg")
    | {
        "train/labels/a.txt": "0 0.5 0.5 0.2 0.2\n",
        "train/labels/b.txt": "1 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.1 0.1\n",
        "valid/labels/c.txt": "",
        "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
    },
    "Label Studio, CSV": images("0a1b-1.jpg", "0a1c-2.jpg") | {"labels.csv": f"image,id,choice,annotator\n{CHOICES}"},
    "Label Studio, JSON": images("0a1b-1.jpg", "0a1b-2.jpg", "0a1b-3.jpg")
    | {"project.json": [of_label_studio(1, "cat"), of_label_studio(2, "dog"), of_label_studio(3)]},
    "Label Studio, COCO": images("images/0a1b-1.jpg", "images/0a1c-2.jpg")
    | {"result.json": coco("images/0a1b-1.jpg", "images/0a1c-2.jpg")},
    "CVAT, COCO": images("images/1.jpg", "images/2.jpg")
    | {"annotations/instances_default.json": coco("1.jpg", "2.jpg")},
    "CVAT, VOC": images("JPEGImages/1.jpg", "JPEGImages/2.jpg")
    | {"labelmap.txt": COLOURS, "ImageSets/Main/default.txt": "1\n2\n"}
    | {f"Annotations/{number}.xml": of_cvat(number, name) for number, name in enumerate(CLASSES, 1)},
}


def build(tool: str, root: Path) -> Path:
    """The data set as that tool writes it."""
    for name, content in TREES[tool].items():
        if content is None:
            is_mask = "mask" in name or "trimap" in name
            (put_masks if is_mask else put)(root, name)
        else:
            put_text(root, name, content if isinstance(content, str) else json.dumps(content))
    return root
