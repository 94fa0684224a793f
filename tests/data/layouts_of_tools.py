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
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), (len(name) % 256, number % 256, hash(name) & 255)).save(path)
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
    (root / name).write_bytes(text.encode())
    return root


def put_json(root: Path, name: str, document: object) -> Path:
    """A JSON file."""
    return put_text(root, name, json.dumps(document))


def labels_of(index) -> dict[str, set[str]]:
    """Image -> the names of its classes."""
    return {record.name: {index.class_names[label] for label in record.labels} for record in index.records}


def coco(*file_names: str) -> dict:
    """A file in COCO's format: the first half of the images shows cats, the others dogs."""
    shown = {"bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    half = len(file_names) / 2
    return {
        "info": {},
        "images": [{"id": n, "file_name": name, "width": SIZE, "height": SIZE} for n, name in enumerate(file_names)],
        "categories": [{"id": n, "name": name, "supercategory": "pets"} for n, name in enumerate(CLASSES, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + (n >= half), **shown} for n in range(len(file_names))
        ],
    }


def image_folder(root: Path) -> None:
    put(root, *(f"{part}/{name}/{n}.jpg" for part in ("train", "val") for name in CLASSES for n in (1, 2)))


def images_and_masks(root: Path) -> None:
    put(root, "images/1.jpg", "images/2.jpg")
    put_masks(root, "masks/1.png", "masks/2.png")
    put_text(root, "labels.csv", "image,labels\n1.jpg,cat\n2.jpg,dog\n")


def mvtec(root: Path) -> None:
    put(root, "train/good/000.png", "train/good/001.png", *(f"test/{n}/000.png" for n in ("good", "crack", "hole")))
    put_masks(root, "ground_truth/crack/000_mask.png", "ground_truth/hole/000_mask.png")
    put_text(root, "readme.txt", "MVTec AD")


def oxford_pets(root: Path) -> None:
    names = [f"{name}_{n}" for name in CLASSES for n in (1, 10, 100)]
    put(root, *(f"images/{name}.jpg" for name in names))
    put_masks(root, *(f"annotations/trimaps/{name}.png" for name in names))
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
    def task(number: int, *labels: str) -> dict:
        results = [{"result": [{"type": "choices", "value": {"choices": [label]}}]} for label in labels]
        return {"id": number, "annotations": results, "data": {"image": f"/data/upload/4/0a1b-{number}.jpg"}}

    put(root, "0a1b-1.jpg", "0a1b-2.jpg", "0a1b-3.jpg")
    put_json(root, "project.json", [task(1, "cat"), task(2, "dog"), task(3)])


def label_studio_coco(root: Path) -> None:
    put(root, "images/0a1b-1.jpg", "images/0a1c-2.jpg")
    put_json(root, "result.json", coco("images/0a1b-1.jpg", "images/0a1c-2.jpg"))


def cvat_coco(root: Path) -> None:
    put(root, "images/1.jpg", "images/2.jpg")
    put_json(root, "annotations/instances_default.json", coco("1.jpg", "2.jpg"))


def cvat_voc(root: Path) -> None:
    put(root, "JPEGImages/1.jpg", "JPEGImages/2.jpg")
    names = "background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    put_text(root, "labelmap.txt", f"# label:color_rgb:parts:actions\n{names}")
    put_text(root, "ImageSets/Main/default.txt", "1\n2\n")
    for number, name in enumerate(CLASSES, 1):
        text = f"<annotation><filename>{number}.jpg</filename><object><name>{name}</name></object></annotation>"
        put_text(root, f"Annotations/{number}.xml", text)


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
