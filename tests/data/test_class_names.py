from data.class_names import notes_on_names
from data.coco_file import CocoRules
from data.index import open_index
from data.settings import DataSettings
from data.voc import VOC_CLASSES
from tests.data.layouts_of_tools import put

NOTHING = (
    "no_crack|No Finding|not-cat|OK|good|healthy|defect-free|negative|no_label|un cut|00_background|Negatives|NoRust|"
    "uncrack|notumor|keine|other|i.O.|fehlerfrei|ohne_Riss|FAUX|sans défaut|正常|без дефекта|257.clutter|bottle_good|"
    "BACKGROUND_Google|Apple___healthy|Healthy leaf|normal_tissue"
)


def test_words_for_nothing_are_told_with_the_setting_that_makes_them_none(tmp_path):
    for name in NOTHING.split("|"):
        (note,) = notes_on_names((name, "crack"), str(tmp_path / name))
        remedy = f"{name} will be trained as an object like others; if images of '{name}' show none of the classes"
        assert remedy in note
        assert f"--set 'data.background={name}'" in note
        assert CocoRules(background=name).is_background(name)
        root = put(tmp_path / name, f"{name}/1.png", "crack/1.png")
        for background, told in (("background", True), (name, False)):
            index = open_index(DataSettings(kind="folder", root=str(root), background=background), "all")
            notes = " ".join(index.notes)
            assert (remedy in notes, f"--set 'data.background={name}'" in notes) == (told, told)
        assert index.class_names == ("crack",)
    assert CocoRules(background="background").is_background("_background_")


def test_names_that_look_like_one_are_told(tmp_path):
    pairs = (("hot dog", "hot-dog"), ("01", "1"), *(("cat", name) for name in ("Cat", "cats", "c\u0430t", "cat\u200b")))
    for names in pairs:
        assert "differ in nothing but capitals" in " ".join(notes_on_names(names, "x"))
    assert "cat and c\\u0430t differ" in next(notes_on_names(("cat", "c\u0430t"), "x"))
    for zero, one in (("0", "1"), ("0.0", "1.0")):
        assert f"{zero} will be trained as an object" in next(notes_on_names((zero, one), "x"))
    assert "0 will be trained as an object" in next(notes_on_names(("-1", "0", "1"), "x"))
    assert "-1 will be trained as an object like others; if it is none" in " ".join(notes_on_names(("-1", "0"), "x"))
    names = ("cat", "total", "?", "defect_count", "reviewed", "To check", "is_labelled", "checker", "score")
    assert "total, ?, defect_count, reviewed, To check, is_labelled will be" in next(notes_on_names(names, "x"))
    for text in ("patient_1,patient_2,cat", "7,8", "SN4 defect,SN5 defect", "2024-01-05,2024-01-06"):
        assert "differ in numbers alone, as patients" in next(notes_on_names(text.split(","), "x"))
    numbers = dict.fromkeys(map(str, range(1, 13)), 2)  # in natural order
    put(tmp_path, *(f"{number}/{image}.png" for number in numbers for image in "ab"))
    index = open_index(DataSettings(kind="folder", root=str(tmp_path)), "all")
    assert list(index.label_counts().items()) == list(numbers.items())
    assert "differ in numbers alone" in " ".join(index.notes)
    for name in (".", "_rejected", "IMG", "backup 2023", "New Folder"):
        told = next(notes_on_names((name, "a"), "x"))
        assert f"{name} will be trained as an object like others; if it is none" in told
    for name in ("cat+dog", "cat and dog", "cat_dog", "both"):
        assert f"{name} will be trained as a class of its own" in next(notes_on_names(("cat", "dog", name), "x"))
    words = ["goods,nose,freedom,кот,ток", "+,-", "type1,type2", "Grade 0,Grade 1"]
    words.append("hot dog,dog,node,north,fire_images,unhealthy,abnormal,goods lift")
    for names in (VOC_CLASSES, ("a1", "b1", "b2", "c"), *(text.split(",") for text in words)):
        assert list(notes_on_names(names, "x")) == []
