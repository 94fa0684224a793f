"""Layouts of other tools that another kind of data or another setting reads: the message names it.

A folder of own images is looked at before its folders are taken for classes; `refuse_foreign` knows what these tools
write.
"""

from pathlib import Path, PurePosixPath

from data.coco_file import read_list
from data.layouts import SPLITS, Layout, classes_in_names
from data.tree import Tree
from utils.errors import UserError

ROBOFLOW_COCO, ROBOFLOW_CSV = "_annotations.coco.json", "_classes.csv"
MOST_NUMBERED = 0.9  # from this part of the images on, names such as Abyssinian_100 are taken for a system


def refuse_foreign(tree: Tree) -> None:
    """Refuse the layouts of VOC and COCO, and of the tools that write them.

    Raises:
        UserError: it is one of them; the message names the settings that read it.
    """
    voc = next((path for path in tree.folders if path.rpartition("/")[2] == "JPEGImages"), None)
    if voc is not None:
        root = (tree.root / voc).parent
        lists = sorted(path.stem for path in (root / "ImageSets").glob("*/*.txt"))
        chosen = "" if "train" in lists or not lists else f" --set data.train_list={lists[0]}"
        raise UserError(
            f"{root} is in VOC's layout (JPEGImages); read it with --set data.kind=voc --set data.root={root}"
            f"{chosen or ' --set data.train_list=train'}"
        )
    roboflow = sorted(path for path in tree.files if PurePosixPath(path).name == ROBOFLOW_COCO)
    if roboflow:
        raise _coco(tree.root, roboflow[0], [PurePosixPath(path).parent.as_posix() for path in roboflow])
    instances = sorted(path for path in tree.files if PurePosixPath(path).match("annotations/*.json"))
    if instances:
        root = tree.root / PurePosixPath(instances[0]).parent.parent
        names = [PurePosixPath(path).stem.removeprefix("instances_") for path in instances]
        raise _coco(root, instances[0], names)


def refuse_without_classes(tree: Tree, layout: Layout) -> UserError:
    """The error for images without class folders and without a table: it names the setting that reads them."""
    tables = sorted(path for path in tree.files if path.count("/") < 2 and path.lower().endswith((".csv", ".tsv")))
    roboflow = [path for path in tables if PurePosixPath(path).name == ROBOFLOW_CSV and "/" in path]
    if roboflow:
        root = tree.root / PurePosixPath(roboflow[0]).parent
        return UserError(
            f"{tree.root} has Roboflow's tables ({roboflow[0]}); read one with --set data.root={root} "
            f"--set data.labels={ROBOFLOW_CSV}"
        )
    if tables:
        return UserError(
            f"{tree.root} has no class folders but the table {tables[0]}; read it with --set data.labels={tables[0]}"
        )
    documents = sorted(path for path in tree.files if "/" not in path and path.lower().endswith(".json"))
    if documents and read_list(tree.root / documents[0]):
        return UserError(
            f"{tree.root} has no class folders but {documents[0]}, a list as Label Studio exports it; read it with "
            f"--set data.labels={documents[0]}"
        )
    if documents:
        return _coco(tree.root, documents[0], [documents[0]])
    named = classes_in_names(layout.images)
    if len(named) >= MOST_NUMBERED * len(layout.images) and 1 < len(set(named.values())) <= len(named) / 2:
        return UserError(
            f"{tree.root} has no class folders; its names look like CLASS_NUMBER, first "
            f"'{PurePosixPath(min(named)).name}': if the classes are {', '.join(sorted(set(named.values()))[:4])}, "
            "..., read them with --set data.labels=names"
        )
    example = layout.images[0] if layout.images else "IMG_1.jpg"
    return UserError(
        f"{tree.root} says nothing about classes; expected one sub-folder of images a class (cat/, dog/, ...), or a "
        f"file {tree.root / 'labels.csv'} with the header 'image,labels' and rows such as '{example},cat;dog'"
    )


def _coco(root: Path, file: str, lists: list[str]) -> UserError:
    train = next((name for name in lists if SPLITS.get(name.casefold()) == "train" or "train" in name), lists[0])
    val = next((name for name in lists if SPLITS.get(name.casefold()) == "val" or "val" in name), "")
    return UserError(
        f"{root} has annotations in COCO's format ({file}); read them with --set data.kind=coco --set data.root={root} "
        f"--set data.train_list={train} --set data.val_list={val}"
    )
