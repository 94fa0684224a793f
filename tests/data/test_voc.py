import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.voc
from data.artifacts import read_mask
from data.voc import VOC_CLASSES, open_voc, read_names
from tests.conftest import VOC_OBJECT, VOC_XML, write_labels
from utils.errors import UserError

CLASSES = ("cat", "dog", "train")
LABELS = {"p0": (0,), "p1": (1, 2), "p3": (0, 1), "p4": (1,)}  # of make_voc's list `train`


def labels_of(index) -> dict[str, tuple[int, ...]]:
    return {record.name: record.labels for record in index.records}


def list_file(root: Path, text: str, name: str = "mine") -> Path:
    path = root / "ImageSets/Segmentation" / f"{name}.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "xml", "npy"])
def test_labels_are_the_same_from_every_source(make_voc, kind):
    root = make_voc(6, labels=kind)
    index = open_voc(root, "train", classes=CLASSES)
    assert index.class_names == CLASSES
    assert labels_of(index) == LABELS
    assert [record.image for record in index.records] == [root / "JPEGImages" / f"{name}.jpg" for name in LABELS]


def test_classes_come_from_the_header_or_are_vocs(make_voc):
    assert open_voc(make_voc(3, folder="a"), "train").class_names == CLASSES
    index = open_voc(make_voc(3, classes=VOC_CLASSES[:3], labels="xml", folder="b"), "train")
    assert index.class_names == VOC_CLASSES
    assert labels_of(index)["p1"] == (1, 2)


def test_data_classes_give_the_order_of_the_columns(make_voc):
    index = open_voc(make_voc(6), "train", classes=("train", "cat", "dog"))
    named = {name: {index.class_names[label] for label in labels} for name, labels in labels_of(index).items()}
    assert named == {name: {CLASSES[label] for label in labels} for name, labels in LABELS.items()}


def test_difficult_objects_count_and_parts_of_objects_do_not(make_voc):
    root = make_voc(3, labels="xml")
    part = "<object><name>dog</name><difficult>0</difficult><part><name>cat</name></part></object>"
    objects = VOC_OBJECT.format(name="train", difficult=1) + part
    (root / "Annotations/p0.xml").write_text(VOC_XML.format(name="p0", objects=objects))
    assert labels_of(open_voc(root, "train", classes=CLASSES))["p0"] == (1, 2)


def test_labels_file_beats_what_lies_in_the_root(make_voc, tmp_path):
    root = make_voc(6)
    (tmp_path / "other.csv").write_text("image,frog\n" + "".join(f"p{i},1\n" for i in range(6)))
    (root / "inside.csv").write_text("image,newt\n" + "".join(f"p{i},0\n" for i in range(6)))
    assert open_voc(root, "train", labels=str(tmp_path / "other.csv")).class_names == ("frog",)
    assert open_voc(root, "train", labels="inside.csv").class_names == ("newt",)


def test_npy_with_number_keys(make_voc):
    """The field's tables have 2007000032 for 2007_000032."""
    root = make_voc(3, labels="none")
    for suffix, folder in ((".jpg", "JPEGImages"), (".png", "SegmentationClass")):
        (root / folder / f"p0{suffix}").rename(root / folder / f"2007_000032{suffix}")
    list_file(root, "2007_000032\n")
    for key in (2007000032, np.int64(2007000032), "2007_000032"):
        np.save(root / "cls_labels.npy", {key: np.array([0, 1, 1], np.float32)}, allow_pickle=True)
        assert labels_of(open_voc(root, "mine", classes=CLASSES)) == {"2007_000032": (1, 2)}


class Malicious:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("wrapped", [False, True])
def test_malicious_npy_is_refused_and_does_not_run(make_voc, tmp_path, wrapped):
    root = make_voc(3, labels="none")
    harm = Malicious(f"touch {tmp_path / 'harm'}")
    np.save(root / "cls_labels.npy", {"p0": harm} if wrapped else harm, allow_pickle=True)
    with pytest.raises(UserError, match=r"cls_labels\.npy: expected a dictionary.*system is not an array"):
        open_voc(root, "train", classes=CLASSES)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_npy_of_any_make(make_voc, protocol):
    root = make_voc(3, labels="none")
    kinds = (np.float32, np.int64, bool)
    vectors = {f"p{n}": np.array([n == 0, n != 1, 1], kind) for n, kind in enumerate(kinds)}
    vectors["p2"] = [1, 0, 1.0]
    write_npy(root / "cls_labels.npy", vectors, protocol)
    assert [record.labels for record in open_voc(root, "train", classes=CLASSES).records] == [(0, 1, 2), (2,)]
    assert [record.labels for record in open_voc(root, "val", classes=CLASSES).records] == [(0, 2)]


def write_npy(path, value, protocol):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(np.array(value, dtype=object), file, protocol)


class Builds:
    """Unpickling it calls numpy with arguments of the file's own."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(
    "vector",
    [
        Builds(np.ndarray, (10**13,)),
        Builds(np.dtype, "O"),
        Builds(np.dtype, "f8,f8"),
        [[1, 0, 1]] * 3,
        np.array([None] * 3),
        "101",
    ],
)
def test_numpy_itself_is_out_of_reach(make_voc, vector, monkeypatch):
    root = make_voc(3, labels="none")
    write_npy(root / "cls_labels.npy", {"p0": vector, "p1": vector}, 4)
    with pytest.raises(UserError, match=r"cls_labels\.npy: (expected a dictionary|image 'p0' has a vector)"):
        open_voc(root, "train", classes=CLASSES)


@pytest.mark.parametrize("header", [b"{'descr': '|O', ", b"(", b"", b"\xff", b"'" * 3])
def test_npy_whose_header_is_no_header(make_voc, header):
    root = make_voc(3, labels="none")
    (root / "cls_labels.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match=r"cls_labels\.npy: expected a dictionary"):
        open_voc(root, "train", classes=CLASSES)


def test_damaged_npy_is_named(make_voc):
    root = make_voc(3, labels="npy")
    path = root / "cls_labels.npy"
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cls_labels\.npy"):
            open_voc(root, "train", classes=CLASSES)


def test_list_by_name_by_path_from_here_and_from_the_root(make_voc, monkeypatch):
    root = make_voc(6)
    expected = labels_of(open_voc(root, "train"))
    path = root / "ImageSets/Segmentation/train.txt"
    elsewhere = Path(shutil.copy(path, root.parent / "copied.txt"))
    monkeypatch.chdir(root.parent)
    for list_name in (str(path), str(elsewhere), "copied.txt", "ImageSets/Segmentation/train.txt"):
        assert labels_of(open_voc(root, list_name)) == expected


def test_list_of_paths_blanks_and_windows_lines(make_voc):
    root = make_voc(6)
    text = "\ufeffp4 1\r\n/JPEGImages/p3.jpg /SegmentationClassAug/p3.png\r\n\r\nJPEGImages/p1.jpg\r\n  p0  \r\n"
    list_file(root, text)
    assert [record.name for record in open_voc(root, "mine").records] == ["p4", "p3", "p1", "p0"]


def test_names_with_spaces_and_other_alphabets(make_voc):
    root = make_voc(6)
    for old, new in (("p0", "my image 1"), ("p1", "große 犬"), ("p3", "p3 1")):
        for suffix, folder in ((".jpg", "JPEGImages"), (".png", "SegmentationClass")):
            (root / folder / f"{old}{suffix}").rename(root / folder / f"{new}{suffix}")
        table = root / "image_labels.csv"
        table.write_text(table.read_text().replace(f"{old},", f"{new},"), encoding="utf-8")
    list_file(root, "\ufeffmy image 1\r\n/JPEGImages/große 犬.jpg\r\np3 1.jpg\r\np4 -1\r\n")
    names = [record.name for record in open_voc(root, "mine").records]
    assert names == ["my image 1", "große 犬", "p3 1", "p4"]


def test_trainval_and_train_aug_follow_their_rules(make_voc):
    """The augmented list: SBD's train and val and VOC's train, without VOC's val."""
    root = make_voc(9)
    assert list(read_names(root, "trainval")) == [f"p{i}" for i in range(9)]
    with pytest.raises(UserError, match=r"no list 'train_aug': put train_aug\.txt into .*SBD.*data\.download=true"):
        open_voc(root, "train_aug")
    list_file(root, "p0\np1\n", "train")
    for folder in ("benchmark_RELEASE/dataset", "ImageSets/SBD"):
        (root / folder).mkdir(parents=True)
        (root / folder / "train.txt").write_text("p2\np7\np1\n")  # p2, p5 and p8 are VOC's val
        (root / folder / "val.txt").write_text("p5\np3\n")
        assert [record.name for record in open_voc(root, "train_aug").records] == ["p0", "p1", "p3", "p7"]
        shutil.rmtree(root / folder)
    list_file(root, "p4\n", "train_aug")
    assert list(read_names(root, "train_aug")) == ["p4"]


def test_list_test_needs_no_labels_and_no_masks(make_voc):
    root = make_voc(4, labels="none")
    list_file(root, "p0\np1\n", "test")
    (root / "SegmentationClass/p1.png").unlink()
    index = open_voc(root, "test", masks=True)
    assert labels_of(index) == {"p0": (), "p1": ()}
    assert [record.mask is not None for record in index.records] == [True, False]
    write_labels(root, {"p0": [1]}, CLASSES, "xml")
    assert labels_of(open_voc(root, "test", classes=CLASSES)) == {"p0": (1,), "p1": ()}


def test_annotations_are_parsed_once_until_they_change(make_voc, monkeypatch):
    root = make_voc(3, labels="xml")
    parsed, parse = [], data.voc.ElementTree.fromstring
    monkeypatch.setattr(
        data.voc.ElementTree, "fromstring", lambda text, parser: (parsed.append(text), parse(text, parser))[1]
    )
    first = open_voc(root, "train", classes=CLASSES)
    assert open_voc(root, "train", classes=CLASSES) == first
    assert len(parsed) == 2
    objects = VOC_OBJECT.format(name="train", difficult=0) * 2
    (root / "Annotations/p0.xml").write_text(VOC_XML.format(name="p0", objects=objects))
    assert labels_of(open_voc(root, "train", classes=CLASSES))["p0"] == (2,)
    assert len(parsed) == 3


def test_png_images_are_found(make_voc):
    root = make_voc(3)
    Image.open(root / "JPEGImages/p0.jpg").save(root / "JPEGImages/p0.png")
    (root / "JPEGImages/p0.jpg").unlink()
    assert open_voc(root, "train").records[0].image == root / "JPEGImages/p0.png"


def test_masks_only_where_asked_for(make_voc):
    root = make_voc(6)
    assert all(record.mask is None for list_name in ("train", "val") for record in open_voc(root, list_name).records)
    index = open_voc(root, "val", masks=True)
    for record in index.records:
        assert record.mask == root / "SegmentationClass" / f"{record.name}.png"
        assert set(np.unique(read_mask(record.mask))) - {0, 255} == {label + 1 for label in record.labels}


def test_fingerprint_follows_labels_list_and_images(make_voc):
    root = make_voc(6)
    first = open_voc(root, "train").fingerprint()
    assert open_voc(root, "train").fingerprint() == first
    with_truth = open_voc(root, "train", masks=True).fingerprint()
    (root / "SegmentationClass/p0.png").write_bytes((root / "SegmentationClass/p1.png").read_bytes())
    assert open_voc(root, "train").fingerprint() == first
    assert open_voc(root, "train", masks=True).fingerprint() != with_truth
    assert open_voc(root, "val").fingerprint() != first
    write_labels(root, {f"p{i}": [0] for i in range(6)}, CLASSES, "csv")
    second = open_voc(root, "train").fingerprint()
    assert second != first
    with (root / "JPEGImages/p0.jpg").open("ab") as file:
        file.write(b"0")
    assert open_voc(root, "train").fingerprint() != second


def test_root_and_list_errors(make_voc, tmp_path):
    root = make_voc(3)
    with pytest.raises(UserError, match=r"data\.root .* has no folder JPEGImages"):
        open_voc(tmp_path, "train")
    with pytest.raises(UserError, match=r"no list 'trian'.*lists there: train, val"):
        open_voc(root, "trian")
    with pytest.raises(UserError, match=r"no list ''"):
        open_voc(root, "")


def test_missing_rows_and_images_are_named(make_voc):
    root = make_voc(3)
    list_file(root, "p0\np1\n")
    table = root / "image_labels.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if line[:2] != "p1"))
    with pytest.raises(UserError, match=r"mine\.txt, line 2: image 'p1' has no row in .*image_labels\.csv"):
        open_voc(root, "mine")
    (root / "JPEGImages/p0.jpg").unlink()
    with pytest.raises(UserError, match=r"train\.txt, line 1: there is no image .*p0\.jpg"):
        open_voc(root, "train")


def test_label_source_errors(make_voc):
    root = make_voc(3, labels="none")
    with pytest.raises(UserError, match=r"no image-level labels; expected Annotations.*data\.labels"):
        open_voc(root, "train")
    with pytest.raises(UserError, match=r"data\.labels: there is no file gone\.csv"):
        open_voc(root, "train", labels="gone.csv")
    (root / "labels.json").touch()
    with pytest.raises(UserError, match=r"labels\.json: expected a \.csv or a \.npy"):
        open_voc(root, "train", labels="labels.json")


def test_header_and_data_classes_must_agree(make_voc):
    with pytest.raises(UserError, match="only one of them has dog, frog"):
        open_voc(make_voc(3), "train", classes=("cat", "frog", "train"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.arange(3), "the array is of type int64"),
        ([1, 2], "expected a dictionary"),
        ({"p0": "cat"}, "expected a dictionary"),
        ({"p0": np.ones(5)}, r"'p0' has a vector of shape \(5,\), expected \(3,\)"),
    ],
)
def test_npy_errors(make_voc, content, message):
    root = make_voc(3, labels="none")
    array = content if isinstance(content, np.ndarray) else np.array(content, dtype=object)
    np.save(root / "cls_labels.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=rf"cls_labels\.npy: .*{message}"):
        open_voc(root, "train", classes=CLASSES)


def test_real_labels_are_the_classes_of_the_masks(shared_data):
    index = open_voc(shared_data / "voc12", "val", masks=True)
    assert len(index) == 117
    assert index.class_names == VOC_CLASSES
    assert min(index.label_counts().values()) >= 7
    for record in index.records[::5]:
        assert set(np.unique(read_mask(record.mask))) - {0, 255} <= {label + 1 for label in record.labels}


LAUGHS = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))


@pytest.mark.parametrize(
    "doctype",
    [f"<!DOCTYPE a [<!ENTITY a0 'cat'>{LAUGHS}]>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", "<!DOCTYPE a>"],
)
def test_annotations_that_declare_entities_are_refused(make_voc, doctype):
    root = make_voc(3, labels="xml")
    path = root / "Annotations/p0.xml"
    path.write_text(doctype + path.read_text().replace("cat", "&a11;"))
    with pytest.raises(UserError, match=r"p0\.xml is not XML \(it declares a document type"):
        open_voc(root, "train", classes=CLASSES)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("GBK", "gbk"), ("gb2312", "gb2312"), ("", "gbk"), ("", "utf-16"), ("Shift_JIS", "shift_jis")],
)
def test_annotations_in_other_encodings_are_read(make_voc, declared, encoding):
    root = make_voc(3, labels="xml")
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    text = f"{declaration}<annotation><folder>図</folder><object><name>cat</name></object></annotation>"
    if encoding == "gb2312":
        text = text.replace("図", "猫")
    (root / "Annotations/p0.xml").write_bytes(text.replace("図", "图" if encoding == "gbk" else "図").encode(encoding))
    assert labels_of(open_voc(root, "train", classes=CLASSES))["p0"] == (0,)


def test_class_names_in_an_unknown_encoding_are_named_once(make_voc):
    root = make_voc(3, labels="xml")
    for name in ("p0", "p1"):
        text = "<annotation><object><name>狗</name></object></annotation>"
        (root / f"Annotations/{name}.xml").write_bytes(text.encode("gbk"))
    with pytest.raises(UserError, match=r"p0\.xml .*declares no encoding, is not UTF-8.*save it as UTF-8.*\(2 such\)"):
        open_voc(root, "train", classes=("狗",))
    text = '<?xml version="1.0" encoding="gbk"?><annotation><object><name>狗</name></object></annotation>'
    for name in ("p0", "p1"):
        (root / f"Annotations/{name}.xml").write_bytes(text.encode("gbk"))
    assert labels_of(open_voc(root, "train", classes=("狗",)))["p0"] == (0,)
