"""Layouts of other tools that another kind of data or another setting reads: the message names it.

A folder of own images is looked at before its folders are taken for classes; `refuse_foreign` knows what these tools
write.
"""

from pathlib import Path, PurePosixPath

from data.layouts import SPLITS, Layout, classes_in_names
from data.tool_labels import label_studio_tasks
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
        chosen = "train" if "train" in lists or not lists else lists[0]
        read_it = f"read it with --set data.kind=voc --set data.root={root} --set data.train_list={chosen}"
        raise UserError(f"{root} is in VOC's layout (JPEGImages); {read_it}")
    roboflow = sorted(path for path in tree.files if PurePosixPath(path).name == ROBOFLOW_COCO)
    if roboflow:
        raise _coco(tree.root, roboflow[0], [PurePosixPath(path).parent.as_posix() for path in roboflow])
    instances = sorted(path for path in tree.files if PurePosixPath(path).match("annotations/*.json"))
    if instances:
        root = tree.root / PurePosixPath(instances[0]).parent.parent
        raise _coco(root, instances[0], [PurePosixPath(path).stem.removeprefix("instances_") for path in instances])


def refuse_without_classes(tree: Tree, layout: Layout) -> UserError:
    """The error for images without class folders and without a table: it names the setting that reads them."""
    tables = sorted(path for path in tree.files if path.count("/") < 2 and path.lower().endswith((".csv", ".tsv")))
    tables.sort(key=lambda path: not path.endswith(f"/{ROBOFLOW_CSV}"))
    documents = sorted(path for path in tree.files if "/" not in path and path.lower().endswith(".json"))
    if tables and tables[0].endswith(f"/{ROBOFLOW_CSV}"):
        root = tree.root / PurePosixPath(tables[0]).parent
        found = f"has Roboflow's tables ({tables[0]}); read one with --set data.root={root} "
        found += f"--set data.labels={ROBOFLOW_CSV}"
    elif tables:
        found = f"has no class folders but the table {tables[0]}; read it with --set data.labels={tables[0]}"
    elif documents and label_studio_tasks(tree.root / documents[0]):
        found = f"has no class folders but {documents[0]}, a list as Label Studio exports it; read it with "
        found += f"--set data.labels={documents[0]}"
    elif documents:
        return _coco(tree.root, documents[0], [documents[0]])
    else:
        named = classes_in_names(layout.images)
        classes = sorted(set(named.values()))
        if len(named) >= MOST_NUMBERED * len(layout.images) and 1 < len(classes) <= len(named) / 2:
            found = f"has no class folders; its names look like CLASS_NUMBER, first '{PurePosixPath(min(named)).name}'"
            found += f": if the classes are {', '.join(classes[:4])}, ..., read them with --set data.labels=names"
        else:
            example = layout.images[0] if layout.images else "IMG_1.jpg"
            found = "says nothing about classes; expected one sub-folder of images a class (cat/, dog/, ...), or a file"
            found += f" {tree.root / 'labels.csv'} with the header 'image,labels' and rows such as '{example},cat;dog'"
    return UserError(f"{tree.root} {found}")


def _coco(root: Path, file: str, lists: list[str]) -> UserError:
    train = next((name for name in lists if SPLITS.get(name.casefold()) == "train" or "train" in name), lists[0])
    val = next((name for name in lists if SPLITS.get(name.casefold()) == "val" or "val" in name), "")
    return UserError(
        f"{root} has annotations in COCO's format ({file}); read them with --set data.kind=coco --set data.root={root} "
        f"--set data.train_list={train} --set data.val_list={val}"
    )
