from unittest.mock import ANY

from data.faults import refuse
from data.folder import open_folder
from data.label_table import LabelTable, read_label_table
from tests.data.layouts_of_tools import put
from tests.project import refused


def read(folder, text: str, known: tuple[str, ...] = ()) -> LabelTable:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return read_label_table(folder / "labels.csv", known, refuse)


def labels_of(folder, *cells: str, known: tuple[str, ...] = ()):
    """The labels of each row, and the notes."""
    quoted = [cell.replace('"', '""') for cell in cells]
    text = "image,labels\n" + "".join(f'{number}.jpg,"{cell}"\n' for number, cell in enumerate(quoted))
    table = read(folder, text, known)
    return [row.labels for row in table.rows], " ".join(table.notes)


def test_cells_of_several_labels_are_read_where_their_parts_are_classes_and_quotes_and_empty_cells(tmp_path):
    for both in ("cat;dog", "cat, dog", "cat|dog", "cat dog", "cat/dog", "cat + dog", "cat, dog|cat"):
        assert labels_of(tmp_path, "cat", "dog", both) == ([{"cat"}, {"dog"}, {"cat", "dog"}], "")
        assert labels_of(tmp_path, both, known=("dog", "cat")) == ([{"cat", "dog"}], "")
    for both in ("['cat', 'dog']", '["cat", "dog"]', "[cat, dog]", "{'cat', 'dog'}", '{"choices": ["cat", "dog"]}'):
        assert labels_of(tmp_path, both) == ([{"cat", "dog"}], "")
    polygon = '[{"points": [[12.5, 3], [4, 5]], "closed": true, "polygonlabels": ["cat"], "original_width": 32}]'
    brush = '[{"format": "rle", "rle": [0, 1, 33], "brushlabels": ["cat", "dog"]}]'
    assert labels_of(tmp_path, polygon, brush, "[]")[0] == [{"cat"}, {"cat", "dog"}, set()]  # no number is a class
    found, notes = labels_of(tmp_path, "'cat'", '"dog"', "", "nan", "None", "[]")
    assert found == [{"cat"}, {"dog"}, set(), set(), set(), set()]
    assert "cells that are read as no label: 3" in notes
    assert labels_of(tmp_path, "none", known=("none",))[0] == [{"none"}]
    assert labels_of(tmp_path, "NA", "ka", "na") == ([set(), {"ka"}, {"na"}], ANY)  # R's missing value, and a syllable
    assert labels_of(tmp_path, "golden retriever", "poodle") == ([{"golden retriever"}, {"poodle"}], "")
    found, notes = labels_of(tmp_path, "hot dog", "dog")
    assert found == [{"hot dog"}, {"dog"}]
    assert "read as one class, though other labels have some of their words: 1, first hot dog" in notes
    assert "other labels have some of their words: 2" in labels_of(tmp_path, "clear primary", "haze primary")[1]


def test_what_may_be_several_labels_or_a_vector_is_named(tmp_path):
    for odd in ("fox|hen", "fox, hen"):
        refused(r"labels\.csv, line 3: separate labels .* found 'fox.*data\.classes", labels_of, tmp_path, "cat", odd)
    words = ("a", "b", "c", "d")
    pairs = [f"{first} {second}" for first in words for second in words if first < second]
    refused(r"look like several, separated by spaces.*data\.classes=\[a, b, c, \.\.\.\]", labels_of, tmp_path, *pairs)
    assert labels_of(tmp_path, *pairs, known=words)[0][0] == {"a", "b"}
    for cells in (("[1, 0, 1]", "[0, 0, 1]", ""), ("[1. 0. 1.]", "[0. 1. 0.]"), ("1 0", "0 1")):
        refused(r"line 2: the labels look like a 0 or 1 for each class.*image,cat,dog", labels_of, tmp_path, *cells)
    for counts in ('{"cat": 2, "dog": 1}', "{'cat': 0.9}", '{"cat": true}'):
        refused("line 3: separate labels with ';', found '{", labels_of, tmp_path, "cat", counts)
        refused("line 3: separate labels with ';', found '{", labels_of, tmp_path, "cat", counts, known=("cat", "dog"))
    assert labels_of(tmp_path, "cat", '{"choices": []}')[0] == [{"cat"}, set()]
    assert labels_of(tmp_path, "[1, 0]", "[1]", known=("0", "1"))[0] == [{"0", "1"}, {"1"}]
    assert labels_of(tmp_path, "0 1", "0", "1")[0] == [{"0", "1"}, {"0"}, {"1"}]


def test_a_column_of_lists_divides_the_images_and_is_no_class(tmp_path):
    put(tmp_path, *(f"{number}.jpg" for number in range(5)))
    splits = ("train", "Valid", "test", "train", "")
    for header, cells in (("class", "cat"), ("cat,dog", "1,0")):
        rows = "".join(f"{number}.jpg,{split},{cells}\n" for number, split in enumerate(splits))
        table = read(tmp_path, f"image,Split,{header}\n{rows}")
        assert [row.labels for row in table.rows] == [{"cat"}] * 5
        assert ([row.split for row in table.rows], table.notes) == (["train", "val", "test", "train", ""], [])
        for name, expected in (("train", ["0", "3"]), ("val", ["1"]), ("all", ["0", "1", "2", "3", "4"])):
            assert [record.name for record in open_folder(tmp_path, name).records] == expected


LIST_EXPECTED, NOT_SHOWN = "expected train, val or test", "so the label of this row is not"
UNUSED, OBJECTS = "columns that are not used", "rows of objects are the labels of 2 images"
RUNS = "1,3,1 5\n1,4,\n1,2,7 3\n2,1,-1\n2,1,NaN\n"
BOXES = "a,cat,train,1,5\nb,dog,val,1,5\na,dog,train,2,9\na,fox,train,0,0\n"


def test_tables_of_people_and_tools(tmp_path):
    """Each row as its image, labels and list; then the notes."""
    for text, expected in (
        ("id;class\n1;cat\n", ["1 cat"]),
        ("filename\tspecies\n1\tcat\n", ["1 cat"]),
        ("image_id,breed\n1,cat\n", ["1 cat"]),
        ("image,cat,dog\n1,1,0\n2,0.0,True\n3,,\n", ["1 cat", "2 dog", "3", "rows of empty cells: 1, first 3"]),
        ("image,box,can\n1,1,0\n2,0,1\n", ["1 box", "2 can"]),
        ("sep=;\r\nimage;labels;;\r\n1;cat;;\r\n", ["1 cat"]),
        ("Image Index,Finding Labels\n1,cat|dog\n2,cat\n3,dog\n", ["1 cat dog", "2 cat", "3 dog"]),
        ("fname,labels,is_valid\n1,cat,True\n2,dog,False\n", ["1 cat val", "2 dog train", "divides the images"]),
        ("image,cat,dog,is_train\n1,1,0,0\n2,0,1,1\n", ["1 cat val", "2 dog train", "divides the images"]),
        (
            "image,label,x,data_split\n1,cat,6,Train\n2,dog,7,test\n",
            ["1 cat train", "2 dog test", "divides", "first x"],
        ),
        ("image,label,vehicle\n1,cat,train\n2,dog,car\n", ["1 cat", "2 dog", f"{UNUSED}: 1, first vehicle"]),
        ("image,vehicle\n1,train\n2,train\n", ["1 train", "2 train"]),
        ("id,image,label\n0,2.jpg,cat\n", ["2.jpg cat", f"{UNUSED}: 1, first id"]),
        ("image,file_name,label\na,2.jpg,cat\n", ["a cat", f"{UNUSED}: 1, first file_name"]),
        ("image,label,Dataset\n1,cat,Test\n2,dog,val\n", ["1 cat test", "2 dog val"]),
        ("image,defect\n1,yes\n2,no\n", ["1 defect", "2"]),
        ("image,defect\n1,y\n2,N\n", ["1 defect", "2"]),
        ("image,crack,hole\n1,t,f\n2,f,t\n", ["1 crack", "2 hole"]),
        ("image_id,label\n1,0\n2,3\n3,-1\n", ["1 0", "2 3", "3 -1"]),
        ("image,labels\n1,0\n2,3\n", ["1 0", "2 3"]),
        ("image,cat,dog,is_training\n1,1,0,0\n2,0,1,1\n", ["1 cat val", "2 dog train", "divides the images"]),
        ("image,label,is_validation\n1,cat,n\n2,dog,y\n", ["1 cat train", "2 dog val", "divides the images"]),
        ("image,label\n1,-\n2,#N/A\n3,cat\n", ["1", "2", "3 cat", "cells that are read as no label: 2"]),
        ("image,class,split,width\n1,cat,left,4\n", ["1 cat", "columns that are not used: 2, first split"]),
        ("ImageID,LabelName,Confidence\n1,cat,1\n2,dog,0.4\n", ["1 cat", "2 dog", "not used: 1, first Confidence"]),
        (f"ImageId,ClassId,EncodedPixels\n{RUNS}", ["1 2 3", "2", f"{UNUSED}: 1", f"5 {OBJECTS}"]),
        (
            f"filename,class,split,xmin,xmax\n{BOXES}",
            ["a cat dog train", "b dog val", f"{UNUSED}: 2, first xmax", f"4 {OBJECTS}"],
        ),
    ):
        table = read(tmp_path, text)
        rows = [" ".join([row.image, *sorted(row.labels), row.split]).strip() for row in table.rows]
        assert rows == expected[: len(rows)]
        assert len(table.notes) == len(expected) - len(rows)
        assert all(part in note for part, note in zip(expected[len(rows) :], table.notes, strict=True))


CAPTIONS = "".join(f"{number},a dog with {number} cats\n" for number in range(20))


def test_columns_that_are_no_labels_are_refused(tmp_path):
    for text, message in (
        (
            "image,file_name,label\n0,2.jpg,cat\n1,3.jpg,dog\n",
            r"'image' \(first '0'\) and 'file_name' \(first '2.jpg'\) may both name the images; remove the column",
        ),
        ("image,labels,label_2\n1,cat,dog\n", r"'label_2' looks like further labels beside 'labels'.*separated by ';'"),
        ("image,label,Split\n1,cat,train\n2,cat,dev\n", f"line 3: {LIST_EXPECTED} in the column 'Split', found"),
        (
            "ImageID,LabelName,Confidence\n1,cat,1\n2,dog,0\n",
            f"line 3: the column 'Confidence' is 0, {NOT_SHOWN} in the",
        ),
        ("image;label;score\n1;cat;0,0\n", "the column 'score' is 0,0, so the label of this row is not in the image"),
        ("image,class,value\n1,cat,1\n1,dog,0\n", "line 3: the column 'value' is 0, so the label of this row is not"),
        ("image,label,label\n1,cat,dog\n", "the column 'label' looks like further labels"),
        ("image,defect_count\n1,0\n2,3\n", "the column 'defect_count' holds numbers; if these are classes"),
        ("image,label\n1,0.5\n2,cat\n", "2 different labels, such as '0.5'; expected classes"),
        ("image,label\n1,cat:0.9;dog:0.1\n", "2 different labels, such as 'cat:0.9'"),
        ("image,label\n1,#REF!\n2,cat\n", "2 different labels, such as '#REF!'"),
        ("image,mask\n1,masks/1.png\n", "such as 'masks/1.png'"),
        (f"image,text\n{CAPTIONS}", "20 rows have 20 different labels, such as 'a dog.*classes of many images each"),
        ("image,cat,dog,train,Test\n1,1,0,1,0\n2,0,1,0,1\n", "the column 'train' looks like one of lists, and would"),
        ("image,cat,dog,Validation\n1,1,0,1\n2,0,1,0\n", "the column 'Validation' looks like one of lists, and"),
        ("image;labels\n1;cat;dog\n", "line 2: expected 2 cells .*found 3; write labels of one cell in quotes"),
        (",image,cat,dog\n0,1,1,0\n", "expected different classes in the header, .*; name or remove columns without"),
        ("image,cat,dog,partition\n1,1,0,\n2,0,1,\n", "the column 'partition' looks like one of lists, and would be a"),
        ("image,cat,dog,Fold\n1,1,0,\n2,0,1,\n", "the column 'Fold' looks like one of lists, and would be a"),
        ("image,cat,dog,is_valid\n1,1,0,\n2,0,1,\n", "the column 'is_valid' looks like one of lists, and would be a"),
    ):
        refused(message, read, tmp_path, text)
