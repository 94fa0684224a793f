import io
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
from tests.project import refused
from utils.errors import UserError

CLASSES = ("cat", "dog", "train")
LABELS = {"p0": (0,), "p1": (1, 2), "p3": (0, 1), "p4": (1,)}  # of make_voc's list `train`


def labels_of(index) -> dict[str, tuple[int, ...]]:
    return {record.name: record.labels for record in index.records}


def opened(root: Path, list_name: str = "train", classes=CLASSES, **options):
    return open_voc(root, list_name, classes=classes, **options)


def list_file(root: Path, text: str, name: str = "mine") -> Path:
    path = root / "ImageSets/Segmentation" / f"{name}.txt"
    path.write_text(text, encoding="utf-8")
    return path


def renamed(root: Path, old: str, new: str) -> None:
    for suffix, folder in ((".jpg", "JPEGImages"), (".png", "SegmentationClass")):
        (root / folder / f"{old}{suffix}").rename(root / folder / f"{new}{suffix}")


def npy(value: object, protocol: int = 4) -> bytes:
    """A file of numpy with one object, pickled with any protocol."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(np.array(value, dtype=object), file, protocol)
    return file.getvalue()


class TestLabels:
    def test_are_the_same_from_every_source(self, make_voc):
        for kind in ("csv", "xml", "npy"):
            root = make_voc(6, labels=kind, folder=kind)
            index = opened(root)
            assert (index.class_names, labels_of(index)) == (CLASSES, LABELS)
            assert [record.image for record in index.records] == [root / f"JPEGImages/{name}.jpg" for name in LABELS]

    def test_classes_come_from_the_header_or_are_vocs_or_given(self, make_voc, tmp_path):
        root, other = make_voc(6, folder="a"), make_voc(3, classes=VOC_CLASSES[:3], labels="xml", folder="b")
        assert open_voc(root, "train").class_names == CLASSES
        assert open_voc(other, "train").class_names == VOC_CLASSES
        index = opened(root, classes=("train", "cat", "dog"))
        named = {name: {index.class_names[label] for label in labels} for name, labels in labels_of(index).items()}
        assert named == {name: {CLASSES[label] for label in labels} for name, labels in LABELS.items()}
        refused("only one has dog, frog", opened, root, classes=("cat", "frog", "train"))
        # A given file beats what lies in the root.
        (tmp_path / "other.csv").write_text("image,frog\n" + "".join(f"p{i},1\n" for i in range(6)))
        (root / "inside.csv").write_text("image,newt\n" + "".join(f"p{i},0\n" for i in range(6)))
        assert open_voc(root, "train", labels=str(tmp_path / "other.csv")).class_names == ("frog",)
        assert open_voc(root, "train", labels="inside.csv").class_names == ("newt",)

    def test_missing_labels_and_rows_are_named(self, make_voc):
        with pytest.raises(UserError, match=r"no image-level labels; expected Annotations.*data\.labels"):
            open_voc(make_voc(3, labels="none", folder="none"), "train")
        root = make_voc(3)
        list_file(root, "p0\np1\n")
        table = root / "image_labels.csv"
        table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if line[:2] != "p1"))
        refused(r"mine\.txt, line 2: image 'p1' has no row in .*image_labels\.csv", open_voc, root, "mine")


class TestLists:
    def test_paths_blanks_windows_lines_spaces_and_other_alphabets(self, make_voc, monkeypatch):
        root = make_voc(6)
        path = root / "ImageSets/Segmentation/train.txt"
        shutil.copy(path, root.parent / "copied.txt")
        monkeypatch.chdir(root.parent)
        for list_name in (str(path), "copied.txt", "ImageSets/Segmentation/train.txt"):  # from here and from the root
            assert labels_of(open_voc(root, list_name)) == LABELS
        list_file(root, "\ufeffp4 1\r\n/JPEGImages/p3.jpg /Aug/p3.png\r\n\r\nJPEGImages/p1.jpg\r\n  p0 \r\n")
        assert list(labels_of(open_voc(root, "mine"))) == ["p4", "p3", "p1", "p0"]
        table = root / "image_labels.csv"
        for old, new in (("p0", "my image 1"), ("p1", "große 犬"), ("p3", "p3 1")):
            renamed(root, old, new)
            table.write_text(table.read_text(encoding="utf-8").replace(f"{old},", f"{new},"), encoding="utf-8")
        list_file(root, "\ufeffmy image 1\r\n/JPEGImages/große 犬.jpg\r\np3 1.jpg\r\np4 -1\r\n")
        assert list(labels_of(open_voc(root, "mine"))) == ["my image 1", "große 犬", "p3 1", "p4"]

    def test_trainval_and_train_aug_follow_their_rules(self, make_voc):
        """The augmented list: SBD's train and val and VOC's train, without VOC's val."""
        root = make_voc(9)
        assert list(read_names(root, "trainval")) == [f"p{i}" for i in range(9)]
        refused(r"no list 'train_aug': put train_aug\.txt into .*SBD.*data\.download=true", open_voc, root, "train_aug")
        list_file(root, "p0\np1\n", "train")
        for folder in ("benchmark_RELEASE/dataset", "ImageSets/SBD"):
            (root / folder).mkdir(parents=True)
            (root / folder / "train.txt").write_text("p2\np7\np1\n")  # p2, p5 and p8 are VOC's val
            (root / folder / "val.txt").write_text("p5\np3\n")
            assert list(labels_of(open_voc(root, "train_aug"))) == ["p0", "p1", "p3", "p7"]
            shutil.rmtree(root / folder)
        list_file(root, "p4\n", "train_aug")
        assert list(read_names(root, "train_aug")) == ["p4"]

    def test_list_test_needs_no_labels_and_no_masks(self, make_voc):
        root = make_voc(4, labels="none")
        list_file(root, "p0\np1\n", "test")
        (root / "SegmentationClass/p1.png").unlink()
        index = open_voc(root, "test", masks=True)
        assert labels_of(index) == {"p0": (), "p1": ()}
        assert [record.mask is not None for record in index.records] == [True, False]
        write_labels(root, {"p0": [1]}, CLASSES, "xml")
        assert labels_of(opened(root, "test")) == {"p0": (1,), "p1": ()}

    @pytest.mark.parametrize("labels", ["csv", "npy"])
    def test_tables_of_labels_may_have_paths_and_suffixes_as_lists_may(self, make_voc, labels):
        root = make_voc(4, labels="none")
        for written in ("{}.jpg", "JPEGImages/{}.jpg", "D:\\VOC\\JPEGImages\\{}.jpg"):
            write_labels(root, {written.format(f"p{number}"): [number % 2] for number in range(4)}, CLASSES, labels)
            for name in ("train", "val"):
                expected = {image: (int(image[1]) % 2,) for image in read_names(root, name)}
                assert labels_of(opened(root, name)) == expected


class TestImages:
    def test_png_images_are_found_and_masks_only_where_asked_for(self, make_voc):
        root = make_voc(6)
        Image.open(root / "JPEGImages/p0.jpg").save(root / "JPEGImages/p0.png")
        (root / "JPEGImages/p0.jpg").unlink()
        assert open_voc(root, "train").records[0].image == root / "JPEGImages/p0.png"
        assert all(record.mask is None for name in ("train", "val") for record in open_voc(root, name).records)
        for record in open_voc(root, "val", masks=True).records:
            assert record.mask == root / "SegmentationClass" / f"{record.name}.png"
            assert set(np.unique(read_mask(record.mask))) - {0, 255} == {label + 1 for label in record.labels}

    def test_fingerprint_follows_labels_list_images_and_masks(self, make_voc):
        root = make_voc(6)
        first, with_truth = (open_voc(root, "train", masks=masks).fingerprint() for masks in (False, True))
        (root / "SegmentationClass/p0.png").write_bytes((root / "SegmentationClass/p1.png").read_bytes())
        assert open_voc(root, "train").fingerprint() == first
        assert open_voc(root, "train", masks=True).fingerprint() != with_truth
        assert open_voc(root, "val").fingerprint() != first
        write_labels(root, {f"p{i}": [0] for i in range(6)}, CLASSES, "csv")
        second = open_voc(root, "train").fingerprint()
        with (root / "JPEGImages/p0.jpg").open("ab") as file:
            file.write(b"0")
        assert len({first, second, open_voc(root, "train").fingerprint()}) == 3


class TestXml:
    def test_difficult_objects_count_and_parts_of_objects_do_not(self, make_voc):
        root = make_voc(3, labels="xml")
        part = "<object><name>dog</name><part><name>cat</name></part></object>"
        objects = VOC_OBJECT.format(name="train", difficult=1) + part
        (root / "Annotations/p0.xml").write_text(VOC_XML.format(name="p0", objects=objects))
        assert labels_of(opened(root))["p0"] == (1, 2)

    def test_objects_in_another_place_than_vocs_and_entities_are_refused(self, make_voc):
        path = make_voc(3, labels="xml") / "Annotations/p0.xml"
        whole, entities = path.read_text(), "<!DOCTYPE a [<!ENTITY a0 'cat'><!ENTITY a11 '&a0;&a0;'>]>"
        for text in (
            '<annotation xmlns="http://a"><object><name>cat</name></object></annotation>',
            "<Annotation><Object><Name>cat</Name></Object></Annotation>",
            "<annotation><objects><object><name>cat</name></object></objects></annotation>",
            "<annotation><object><class>cat</class></object></annotation>",
            "<annotation><item><name>cat</name><bndbox/></item></annotation>",
        ):
            path.write_text(text)
            refused(r"p0\.xml is not VOC's XML \(it has objects that are not annotation/", opened, path.parents[1])
        for doctype in (entities, "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", "<!DOCTYPE a>"):
            path.write_text(doctype + whole.replace("cat", "&a11;"))
            refused(r"p0\.xml is not VOC.s XML \(it declares a document type", opened, path.parents[1])

    def test_files_are_parsed_once_until_they_change(self, make_voc, monkeypatch):
        root = make_voc(3, labels="xml")
        parsed, parse = [], data.voc.ElementTree.fromstring
        monkeypatch.setattr(data.voc.ElementTree, "fromstring", lambda *given: (parsed.append(given), parse(*given))[1])
        assert opened(root) == opened(root)
        assert len(parsed) == 2
        objects = VOC_OBJECT.format(name="train", difficult=0) * 2
        (root / "Annotations/p0.xml").write_text(VOC_XML.format(name="p0", objects=objects))
        assert labels_of(opened(root))["p0"] == (2,)
        assert len(parsed) == 3

    def test_other_encodings_are_read_and_class_names_in_an_unknown_one_named_once(self, make_voc):
        root = make_voc(3, labels="xml")

        def write(declared: str, encoding: str, text: str, label: str = "cat") -> None:
            declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
            content = f"<annotation><folder>{text}</folder><object><name>{label}</name></object></annotation>"
            for name in ("p0", "p1"):
                (root / f"Annotations/{name}.xml").write_bytes((declaration + content).encode(encoding))

        declared = (("GBK", "gbk", "图"), ("gb2312", "gb2312", "猫"), ("Shift_JIS", "shift_jis", "図"))
        for given in (*declared, ("", "gbk", "图"), ("", "utf-16", "図")):
            write(*given)
            assert labels_of(opened(root))["p0"] == (0,)
        write("", "gbk", "", "狗")
        message = r"p0\.xml .*declares no encoding, is not UTF-8.*save it as UTF-8.*\(2 such\)"
        refused(message, opened, root, classes=("狗",))
        write("gbk", "gbk", "", "狗")
        assert labels_of(opened(root, classes=("狗",)))["p0"] == (0,)


class Builds:
    """Unpickling it calls something with arguments of the file's own."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


class TestNpy:
    """`cls_labels.npy` is a pickle, and a pickle is a program."""

    def test_of_any_make_and_with_number_keys(self, make_voc):
        """The field's tables have 2007000032 for 2007_000032."""
        root = make_voc(3, labels="none")
        kinds = (np.float32, np.int64, bool)
        vectors = {f"p{n}": np.array([n == 0, n != 1, 1], kind) for n, kind in enumerate(kinds)}
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            (root / "cls_labels.npy").write_bytes(npy(vectors | {"p2": [1, 0, 1.0]}, protocol))
            assert labels_of(opened(root)) == {"p0": (0, 1, 2), "p1": (2,)}
            assert labels_of(opened(root, "val")) == {"p2": (0, 2)}
        renamed(root, "p0", "2007_000032")
        list_file(root, "2007_000032\n")
        for key in (2007000032, np.int64(2007000032), "2007_000032"):
            (root / "cls_labels.npy").write_bytes(npy({key: np.array([0, 1, 1], np.float32)}))
            assert labels_of(opened(root, "mine")) == {"2007_000032": (1, 2)}

    def test_nothing_in_it_runs_and_numpy_itself_is_out_of_reach(self, make_voc, tmp_path):
        root = make_voc(3, labels="none")
        harm = Builds(os.system, f"touch {tmp_path / 'harm'}")
        for content in (harm, {"p0": harm}):
            (root / "cls_labels.npy").write_bytes(npy(content))
            refused(r"cls_labels\.npy: expected a dictionary.*system is not an array", opened, root)
        assert not (tmp_path / "harm").exists()
        built = (Builds(np.ndarray, (10**13,)), Builds(np.dtype, "O"), Builds(np.dtype, "f8,f8"))
        scores = (np.array([0.3, 0, 1]), np.array([np.nan, 0, 1]))
        for vector in (*built, [[1, 0, 1]] * 3, np.array([None] * 3), "101", np.ones(5), *scores):
            (root / "cls_labels.npy").write_bytes(npy({"p0": vector, "p1": vector}))
            refused(r"cls_labels\.npy: (expected a dictionary|image 'p0' has a vector)", opened, root)
