from data.folder import open_folder
from tests.data.layouts_of_tools import build, labels_of, of_label_studio, put, put_json, put_text
from tests.project import refused


def test_the_indices_of_yolo_are_those_of_its_names_and_boxes_without_area_and_with_scores_are_told(tmp_path):
    root = build("YOLO", tmp_path)
    put_text(root, "train/labels/b.txt", "2 0.5 0.5 0.2 0.2\n")
    put_text(root, "train/labels/a.txt", "1 0.5 0.5 0.2 0.2\n")
    put_text(root, "data.yaml", "names:\n  2: dog\n  1: cat\n")
    index = open_folder(root, "train")
    assert index.class_names == ("cat", "dog")
    assert labels_of(index) == {"train/images/a": {"cat"}, "train/images/b": {"dog"}}
    put_text(root, "train/labels/a.txt", "0 0.5 0.5 0.2 0.2\n")
    refused(r"a\.txt, line 1: expected the index of a class, 1\.\.2, and a box", open_folder, root, "train")
    root = build("YOLO", tmp_path)
    put_text(root, "train/labels/a.txt", "0 0.5 0.5 0 0\n1 0.5 0.5 0.2 0.2 0.31\n")
    put_text(root, "train/labels/b.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")  # an outline
    index = open_folder(root, "train")
    assert labels_of(index) == {"train/images/a": {"dog"}, "train/images/b": {"cat"}}
    assert "boxes without an area: 1" in " ".join(index.notes)
    assert "boxes with a score, as of a network: 1, first train/labels/a.txt, line 2" in " ".join(index.notes)


def test_names_of_yolo_that_differ_or_begin_with_background_move_no_index(tmp_path):
    root = put(tmp_path, "images/1.jpg", "images/2.jpg")
    for number in (1, 2):
        put_text(root, f"labels/{number}.txt", f"{number} 0.5 0.5 0.2 0.2\n")
    put_text(root, "classes.txt", "background\ncat\ndog\n")
    assert labels_of(open_folder(root)) == {"images/1": {"cat"}, "images/2": {"dog"}}
    put_text(root, "data.yaml", "names: [background, dog, cat]\n")
    message = r"data\.yaml and classes\.txt name different classes for YOLO's boxes; remove"
    refused(message, open_folder, root)
    (root / "classes.txt").unlink()
    put_text(root, "data.yaml", "names: [a, cat, cat]\n")
    refused("has two classes called 'cat'", open_folder, root)


def test_captions_beside_images_of_class_folders_are_no_boxes(tmp_path):
    put(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    put_text(tmp_path, "cat/1.txt", "a photo of a cat, 2024")
    put_text(tmp_path, "dog/1.txt", "")
    assert labels_of(open_folder(tmp_path)) == {"cat/1": {"cat"}, "cat/2": {"cat"}, "dog/1": {"dog"}}
    put_text(tmp_path, "cat/1.txt", "0 0.5 0.5 0.2 0.2\n")
    refused("has YOLO's files of boxes, and nothing names the classes", open_folder, tmp_path)
    put_text(tmp_path, "classes.txt", "lynx\n")
    index = open_folder(tmp_path)
    assert (index.class_names, "class folders are not read" in "".join(index.notes)) == (("lynx",), True)


def test_records_of_json_may_name_their_list_and_answers_to_two_questions_are_told(tmp_path):
    put(tmp_path, "1.jpg", "2.jpg")
    splits = ((1, "train"), (2, "val"))
    records = [{"file_name": f"{n}.jpg", "Class Name": "cat", "Split": split} for n, split in splits]
    put_json(tmp_path, "labels.json", records)
    assert [list(labels_of(open_folder(tmp_path, name))) for name in ("train", "val")] == [["1"], ["2"]]
    put(tmp_path, "1.jpg")
    answers = [{"type": "choices", "from_name": key, "value": {"choices": [key]}} for key in ("kind", "quality")]
    task = {"data": {"image": "1.jpg"}, "annotations": [{"result": answers}]}
    put_json(tmp_path, "labels.json", [task])
    assert "answers to different questions (kind, quality) are all read as classes" in open_folder(tmp_path).notes[0]
    put_json(tmp_path, "labels.json", [task | {"annotations": []}])
    refused(r"no image a label.*tasks .* whose annotations name no class: 1", open_folder, tmp_path)


def test_images_are_found_without_the_prefix_of_an_upload_where_this_is_unique(tmp_path):
    put(tmp_path, "00.jpg", "01.jpg")
    rows = "/data/upload/1/abcd1234-00.jpg,cat\n01234567-01.jpg,dog\n"
    put_text(tmp_path, "labels.csv", f"image,choice\n{rows}")
    index = open_folder(tmp_path)
    assert labels_of(index) == {"00": {"cat"}, "01": {"dog"}}
    assert "begin with 8 digits of Label Studio's uploads: 2, first '/data/upload/1/abcd1234-00.jpg'" in index.notes[-1]
    put(tmp_path, "more/00.jpg")
    refused(r"abcd1234-00\.jpg' may be 00\.jpg or more/00\.jpg", open_folder, tmp_path)
    put(tmp_path, "abcd1234-00.jpg")
    assert "abcd1234-00" in labels_of(open_folder(tmp_path))
    for name in ("abcd-01.jpg", "20240131-01.jpg"):
        put_text(tmp_path, "labels.csv", f"image,choice\n{name},cat\n")
        refused(f"there is no image '{name}'", open_folder, tmp_path)


def test_tasks_of_several_people_are_told_and_boxes_without_a_class_are_no_label(tmp_path):
    put(tmp_path, "0a1b-1.jpg", "0a1b-2.jpg", "0a1b-3.jpg")
    tasks = [of_label_studio(1, "cat", "dog"), of_label_studio(2, "cat", "cat"), of_label_studio(3)]
    tasks[2]["annotations"] = [{"result": [{"type": "rectangle", "value": {"x": 1, "y": 1, "width": 9, "height": 9}}]}]
    index = open_folder(tmp_path, labels=str(put_json(tmp_path, "tasks.json", tasks) / "tasks.json"))
    assert list(labels_of(index).values()) == [{"cat", "dog"}, {"cat"}]
    assert "several annotations with different labels: 1, first task 1" in " ".join(index.notes)
    assert "whose annotations name no class: 1, first task 3" in " ".join(index.notes)


def test_vectors_of_0_and_1_in_a_list_of_tasks_are_no_labels(tmp_path):
    put(tmp_path, "1.jpg", "2.jpg")
    rows = [{"image": "1.jpg", "labels": [0, 1, 2]}, {"image": "2.jpg", "labels": [2]}]
    index = open_folder(put_json(tmp_path, "labels.json", rows))
    assert labels_of(index) == {"1": {"0", "1", "2"}, "2": {"2"}}
    rows[1]["labels"] = [0, 1, 0]
    put_json(tmp_path, "labels.json", rows)
    refused(r"labels\.json, task 2: .* a 0 or 1 for each class, found \[0, 1, 0\]; give the", open_folder, tmp_path)
